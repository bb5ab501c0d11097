"""What SSNet says about the images of a set: labels, votes, certainties, and features on demand.

It is read from files of ``evaluation.label`` or computed in chunks, each of which is kept.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tqdm

from evaluation.ssnet.network import BACKGROUND, CLASSES, SHOWER, TRACK
from evaluation.ssnet.scores import (
    SCORE_BINS,
    ScoreFn,
    Scores,
    batch_size,
    blocks,
    count_votes,
    lit,
    score_function,
)
from evaluation.ssnet.weights import Weights
from sgm_jax.data import from_array
from sgm_jax.data.arrays import read_npy
from sgm_jax.data.hdf5 import Dataset, read_tables
from sgm_jax.run.parts import Parts

Table = dict[str, np.ndarray]  # by name, one entry an image

_READ_ROWS = 1024
_CHUNK = 2048  # images between two writes: a kill costs half a minute at most
_COPIED = ("is_track", "is_track_lit", "num_track", "num_shower")
_AXES = {"lit_pixels": 2, "certainty": 3}
MISSING = (
    "no SSNet labels of all sets: leave out --nossnet, name weights with --ssnet if the package "
    "has none, or give --labels_real, --labels_generated, ... of evaluation.label"
)


@dataclass(frozen=True, eq=False)
class Segments:
    """A table of every image, and the features behind it where they were kept.

    ``is_track [n]`` is always there; ``is_track_lit``, ``num_track``, ``num_shower``,
    ``shower_pixels``, ``track_pixels`` and ``certainty [n]`` and ``scores [n, 3, 50]``, counts of
    the scores of lit pixels, may be missing in labels that another program made.
    """

    table: Table
    origin: str  # of the weights: their SHA-256, or what is known of them
    rows: np.ndarray  # [n] of ``stored``
    stored: np.ndarray | None = None  # [N, F] features, as a rule on disk

    def take(self, rows: np.ndarray) -> "Segments":
        """Return the segments of some of the images; features are not read."""
        table = {name: values[rows] for name, values in self.table.items()}
        return replace(self, table=table, rows=self.rows[rows])

    def features(self) -> np.ndarray:
        """Read the features, float32 ``[n, F]`` in the published order: channel, row, column."""
        return np.asarray(self.stored[self.rows], np.float32)


def read_labels(path: Path, images: np.ndarray, rows: np.ndarray, count: int) -> Segments:
    """Read ``labels.h5`` of ``evaluation.label``, and ``features.npy`` beside it if it is there.

    The images ``[n, H, W]`` lie at rising ``rows`` of a labelled set of ``count`` images.

    Raises:
        FileNotFoundError: nothing at ``path``.
        ValueError: no labels, damaged ones, or those of another number of images.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}: give labels.h5 of python -m evaluation.label")
    tables = read_tables(path, (*_COPIED, "lit_pixels", "certainty"))
    table = _read_table(tables, path, rows, count)
    if "certainty" in tables:
        table["certainty"] = _read_certainty(tables["certainty"], path, images, rows)
    stored = None
    if path.with_name("features.npy").is_file():
        stored = read_npy(path.with_name("features.npy"))
        _check_count(path.with_name("features.npy"), len(stored), count)
    return Segments(table, _origin(path), rows, stored)


def given_labels(is_track: np.ndarray, rows: np.ndarray, count: int) -> Segments:
    """Return labels, bool ``[count]``, that the caller has, for images at rising ``rows [n]``.

    Raises:
        ValueError: labels of another number of images.
    """
    if is_track.shape != (count,):
        raise ValueError(f"labels of shape {is_track.shape} for {count} images: give one for each")
    return Segments({"is_track": is_track.astype(bool)[rows]}, "labels that were given", rows)


def segmenter(weights: Weights, *, features: bool) -> Callable[[np.ndarray, str, Parts], Segments]:
    """Compile SSNet and return a function that labels images; it keeps ``features`` if asked to.

    The function takes images ``[n, H, W]``, the name of their set and the parts that are done
    already. Features, 33 kB for an image of 64 x 64 pixels, stay in their folder.
    """
    score = score_function(weights.net, weights.variables)

    def segment(images: np.ndarray, name: str, parts: Parts) -> Segments:
        # Tables made without features do not stand in for those with them.
        prefix = f"ssnet/{name}/{'features' if features else 'labels'}"
        stored = parts.path(f"{prefix}/features.npy") if features else None
        size = batch_size(weights.net)
        tables = []
        with tqdm.tqdm(total=len(images), unit="img", desc=f"SSNet ({name})") as bar:
            for chunk in _chunks(len(images), size):
                part = f"{prefix}/{chunk.start:08d}.npz"
                if parts.missing([part]):
                    parts.save(part, _score_chunk(images, chunk, score, stored, size=size))
                tables.append(parts.load(part))
                bar.update(chunk.stop - chunk.start)
        table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
        rows = np.arange(len(images))
        return Segments(table, weights.sha256, rows, stored and np.load(stored, mmap_mode="r"))

    return segment


def score_counts(scores: np.ndarray, is_lit: np.ndarray) -> np.ndarray:
    """Count the scores ``[B, H, W, 3]`` of the lit pixels of each image by class and by value.

    Returns:
        int32 ``[B, 3, 50]``; the bins are those of arXiv:2307.13687 on 0..1.
    """
    image = np.nonzero(is_lit)[0][:, None]
    value = np.floor(scores[is_lit].astype(np.float64) * SCORE_BINS).astype(np.int64)
    place = (image * len(CLASSES) + np.arange(len(CLASSES))) * SCORE_BINS + value
    total = len(scores) * len(CLASSES) * SCORE_BINS
    counts = np.bincount(place.ravel(), minlength=total).astype(np.int32)
    return counts.reshape(len(scores), len(CLASSES), SCORE_BINS)


def mean_certainty(certainty: np.ndarray, is_lit: np.ndarray) -> np.ndarray:
    """Return the mean largest score ``[B]`` of the lit pixels ``[B, H, W]``; NaN without any."""
    count = is_lit.sum(axis=(1, 2))
    total = (certainty.astype(np.float64) * is_lit).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _read_table(tables: dict[str, Dataset], path: Path, rows: np.ndarray, count: int) -> Table:
    if "is_track" not in tables:
        raise ValueError(f"{path} has no is_track; make it with python -m evaluation.label")
    for name, values in tables.items():
        _check_count(f"{path}::{name}", len(values), count)
        if len(values.shape) != _AXES.get(name, 1):
            raise ValueError(f"{path}::{name} has the shape {values.shape}; make the file again")
    table = {name: tables[name][:][rows] for name in _COPIED if name in tables}
    table["is_track"] = table["is_track"].astype(bool)
    if "lit_pixels" in tables:
        pixels = tables["lit_pixels"][:][rows]
        if pixels.shape[1] != len(CLASSES):
            raise ValueError(f"{path}::lit_pixels counts {pixels.shape[1]} classes, not 3")
        table |= {"shower_pixels": pixels[:, 1], "track_pixels": pixels[:, 2]}
    return table


def _check_count(path: Path | str, labelled: int, count: int) -> None:
    if labelled != count:
        raise ValueError(f"{path} labels {labelled} images, but the set has {count}")


def _read_certainty(
    stored: Dataset, path: Path, images: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return the mean certainty of each image. The file is read once, from front to back."""
    if stored.shape[1:] != images.shape[1:]:
        sizes = ["x".join(map(str, shape[1:])) for shape in (stored.shape, images.shape)]
        raise ValueError(f"{path} labels images of {sizes[0]} pixels, but the set has {sizes[1]}")
    means = np.empty(len(rows))
    for start in range(0, len(stored), _READ_ROWS):
        here = slice(*np.searchsorted(rows, (start, start + _READ_ROWS)))
        if here.start < here.stop:
            block = stored[start : start + _READ_ROWS][rows[here] - start]
            means[here] = mean_certainty(block, lit(images[here][..., None]))
    return means


def _origin(path: Path) -> str:
    """Return the SHA-256 of the weights that made the labels, from the summary beside them."""
    try:
        return json.loads(path.with_name("summary.json").read_text())["weights_sha256"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return f"unknown weights of {path}"


def _chunks(total: int, size: int) -> list[slice]:
    """Cut a set into chunks that have the same batches as the whole set."""
    step = max(_CHUNK // size, 1) * size
    starts = list(range(0, total, step))
    if len(starts) > 1 and total - starts[-1] < size:
        starts.pop()  # its last batch reaches back
    return [slice(*ends) for ends in zip(starts, [*starts[1:], total], strict=True)]


def _score_chunk(
    images: np.ndarray, chunk: slice, score: ScoreFn, stored: Path | None, *, size: int
) -> Table:
    """Return the table of a chunk of the images; write its features to ``stored``."""
    opened = from_array(images[chunk], num_channels=1, image_size=None, source="images")
    parts, kept = [], None
    for rows, scores in blocks(opened, score, batch_size=size):
        parts.append(_columns(opened[rows], scores))
        if stored is not None:
            flat = scores.flat_features()
            if kept is None:
                kept = _open_features(stored, (len(images), flat.shape[1]))
            kept[chunk.start + rows.start : chunk.start + rows.stop] = flat
    if kept is not None:
        kept.flush()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _columns(images: np.ndarray, block: Scores) -> Table:
    """Return everything that is kept of a batch, by name; see `Segments`."""
    is_lit = lit(images)
    every, among = count_votes(block.scores), count_votes(block.scores, is_lit)
    winner = np.where(is_lit, block.scores.argmax(axis=-1), BACKGROUND)
    return {
        "is_track": every.is_track,
        "is_track_lit": among.is_track,
        "num_track": every.num_track,
        "num_shower": every.num_shower,
        "shower_pixels": (winner == SHOWER).sum(axis=(1, 2)),
        "track_pixels": (winner == TRACK).sum(axis=(1, 2)),
        "certainty": mean_certainty(block.scores.max(axis=-1), is_lit),
        "scores": score_counts(block.scores, is_lit),
    }


def _open_features(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Open a .npy file of float32 rows, which is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "r+" if path.is_file() else "w+"
    return np.lib.format.open_memmap(path, mode=mode, dtype=np.float32, shape=shape)
