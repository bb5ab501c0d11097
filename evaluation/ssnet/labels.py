"""Label images with SSNet: in a stream, as ``evaluation.label`` writes it, or in memory."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tqdm

from evaluation.ssnet.network import BACKGROUND
from evaluation.ssnet.scores import (
    Histograms,
    Scores,
    batch_size,
    blocks,
    count_votes,
    lit,
    score_function,
)
from evaluation.ssnet.weights import Weights, open_weights
from sgm_jax.data import Images, from_array
from sgm_jax.run.files import write_json
from sgm_jax.run.lock import open_hdf5
from sgm_jax.run.workdir import provenance

_READ_ROWS = 256
_CHUNK_ROWS = 32
_MEANINGS = {
    "pixel_label": "class of largest score: 0 background, 1 shower, 2 track",
    "certainty": "the largest score, at most 0.999",
    "is_track": "the paper's rule: more votes for track than for shower among all pixels",
    "num_track": "votes for track among all pixels",
    "num_shower": "votes for shower among all pixels",
    "is_track_lit": "more votes for track than for shower among lit pixels",
    "num_track_lit": "votes for track among lit pixels",
    "num_shower_lit": "votes for shower among lit pixels",
    "lit_pixels": "lit pixels of each class of largest score: background, shower, track",
}


def label(images: Images, weights: Weights, out: Path, *, features: bool) -> dict[str, Any]:
    """Label a set into the new folder ``out``; return the summary.

    Memory does not grow with the number of images.

    Raises:
        ValueError: if ``out`` already exists.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} already exists, and nothing is overwritten; choose another --out")
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    histograms = Histograms()
    with open_hdf5(draft / "labels.h5", "w") as tables:
        _label_blocks(images, weights, tables, draft, histograms=histograms, features=features)
        is_track = tables["is_track"][:]
        is_track_lit = tables["is_track_lit"][:]
    _split(images, is_track, draft)
    np.savez_compressed(draft / "histograms.npz", **histograms.arrays)
    summary = {
        "images": len(images),
        "source": images.source,
        "track_fraction": float(is_track.mean()),
        "track_fraction_lit_pixels": float(is_track_lit.mean()),
        "normalisation": weights.net.normalisation,
        "batch_size": batch_size(weights.net),
        "weights_sha256": weights.sha256,
        "images_fingerprint": images.fingerprint,
        "provenance": provenance(),
    }
    write_json(draft / "summary.json", summary)
    draft.rename(out)
    return summary


def pixel_labels(images: np.ndarray, weights: Weights | None = None) -> np.ndarray:
    """Return the class that SSNet gives each pixel, for Python.

    Args:
        images: ``[N, H, W]`` or ``[N, H, W, 1]`` on the scale 0..255.
        weights: the package's if not given.

    Returns:
        uint8 ``[N, H, W]``: 0 background, which unlit pixels always are, 1 shower, 2 track.

    Raises:
        ValueError: if these are no such images.
    """
    weights = open_weights(None) if weights is None else weights
    opened = from_array(images, num_channels=1, image_size=None, source="images")
    score = score_function(weights.net, weights.variables)
    scored = blocks(opened, score, batch_size=batch_size(weights.net))
    return np.concatenate(
        [
            np.where(lit(opened[rows]), part.scores.argmax(axis=-1), BACKGROUND).astype(np.uint8)
            for rows, part in scored
        ]
    )


def _label_blocks(
    images: Images,
    weights: Weights,
    tables: h5py.File,
    folder: Path,
    *,
    histograms: Histograms,
    features: bool,
) -> None:
    score = score_function(weights.net, weights.variables)
    kept = None
    with tqdm.tqdm(total=len(images), unit="img", desc="label") as bar:
        for rows, scored in blocks(images, score, batch_size=batch_size(weights.net)):
            columns = _columns(images[rows], scored, histograms)
            for name, values in columns.items():
                if name not in tables:
                    _create(tables, name, len(images), values)
                tables[name][rows] = values
            if features:
                flat = scored.flat_features()
                if kept is None:
                    kept = _new_array(folder / "features.npy", (len(images), flat.shape[1]))
                kept[rows] = flat
            bar.update(len(scored.scores))


def _columns(images: np.ndarray, scored: Scores, histograms: Histograms) -> dict[str, np.ndarray]:
    """Return everything that is kept of a block, by name."""
    is_lit = lit(images)
    every, among = count_votes(scored.scores), count_votes(scored.scores, is_lit)
    return {
        "pixel_label": scored.scores.argmax(axis=-1).astype(np.uint8),
        "certainty": scored.scores.max(axis=-1).astype(np.float16),
        "is_track": every.is_track,
        "num_track": every.num_track,
        "num_shower": every.num_shower,
        "is_track_lit": among.is_track,
        "num_track_lit": among.num_track,
        "num_shower_lit": among.num_shower,
        "lit_pixels": histograms.add(scored.scores, is_lit).astype(np.int32),
    }


def _create(tables: h5py.File, name: str, count: int, values: np.ndarray) -> None:
    options = {}
    if values.ndim > 2:
        rows = min(_CHUNK_ROWS, count)
        options = {"chunks": (rows, *values.shape[1:]), "compression": "gzip", "shuffle": True}
    table = tables.create_dataset(
        name, (count, *values.shape[1:]), values.dtype, track_times=False, **options
    )
    table.attrs["meaning"] = _MEANINGS[name]


def _split(images: Images, is_track: np.ndarray, folder: Path) -> None:
    """Write track and shower images to files of their own."""
    name = Path(images.source.partition("::")[0]).stem
    height, width = images.shape[1:3]
    for kind, chosen in (("tracks", is_track), ("showers", ~is_track)):
        rows = np.flatnonzero(chosen)
        path = folder / f"{name}_{kind}.npy"
        array = _new_array(path, (len(rows), height, width))
        for start in range(0, len(rows), _READ_ROWS):
            part = rows[start : start + _READ_ROWS]
            array[start : start + len(part)] = images[part][..., 0]


def _new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array that is the content of a new .npy file."""
    if 0 in shape:
        np.save(path, np.empty(shape, np.float32))
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
