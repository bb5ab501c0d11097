"""What is measured once on every image of a set, and kept on disk so that a kill costs little."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tqdm

from evaluation.images.segments import Segments, Table, mean_certainty, score_counts
from evaluation.images.sets import ImageSet
from evaluation.ssnet.network import BACKGROUND, SHOWER, TRACK
from evaluation.ssnet.rules import count_votes, lit
from evaluation.ssnet.scores import ScoreFn, Scores, batch_size, blocks, score_function
from evaluation.ssnet.weights import Weights
from sgm_jax.data import from_array

_CHUNK = 2048  # images between two writes: a kill costs half a minute at most


def measured(one: ImageSet, measure: Callable[[np.ndarray], Table], cache: Path) -> ImageSet:
    """Return the set with its observables, read from ``cache`` if they are there already."""
    if not cache.is_file():
        _keep(cache, measure(one.images))
    return replace(one, table=_read(cache))


def segmented(
    sets: dict[str, ImageSet], weights: Weights, folder: Path, *, features: bool
) -> dict[str, ImageSet]:
    """Return the sets, by role, with what SSNet says of those that it has not seen.

    Args:
        sets: by role, the name of their files.
        weights: of SSNet.
        folder: keeps what is done, and gives what it has already; features stay there, on disk.
        features: whether to keep those, 33 kB for an image of 64 x 64 pixels.
    """
    segment = segmenter(weights, features=features)
    return {role: segment(one, folder / role) for role, one in sets.items()}


def segmenter(weights: Weights, *, features: bool) -> Callable[[ImageSet, Path], ImageSet]:
    """Return a function of a set and its folder that does the same, compiled once for all sets."""
    score = score_function(weights.net, weights.variables)

    def segment(one: ImageSet, folder: Path) -> ImageSet:
        if one.segments is not None:
            return one
        return one.labelled(_segments(one, weights, score, folder, features=features))

    return segment


def _segments(
    one: ImageSet, weights: Weights, score: ScoreFn, folder: Path, *, features: bool
) -> Segments:
    # Tables made without features do not stand in for those with them.
    folder = folder / ("features" if features else "labels")
    folder.mkdir(parents=True, exist_ok=True)
    size = batch_size(weights.net)
    tables = []
    with tqdm.tqdm(total=len(one), unit="img", desc=f"SSNet ({one.name})") as bar:
        for chunk in _chunks(len(one), size):
            kept = folder / f"{chunk.start:08d}.npz"
            if not kept.is_file():
                table = _score(one, chunk, score, folder, size=size, features=features)
                _keep(kept, table)
            tables.append(_read(kept))
            bar.update(chunk.stop - chunk.start)
    table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    stored = np.load(folder / "features.npy", mmap_mode="r") if features else None
    return Segments(table, weights.sha256, np.arange(len(one)), stored)


def _chunks(total: int, size: int) -> list[slice]:
    """Cut a set so that the batches, and their companions, are those of the whole set."""
    step = max(_CHUNK // size, 1) * size
    starts = list(range(0, total, step))
    if len(starts) > 1 and total - starts[-1] < size:
        starts.pop()  # its last batch reaches back
    return [slice(*ends) for ends in zip(starts, [*starts[1:], total], strict=True)]


def _score(
    one: ImageSet,
    chunk: slice,
    score: ScoreFn,
    folder: Path,
    *,
    size: int,
    features: bool,
) -> Table:
    """Return the table of a chunk of a set; write its features."""
    images = from_array(one.images[chunk], num_channels=1, image_size=None, source=one.name)
    parts, stored = [], None
    for rows, found in blocks(images, score, batch_size=size):
        parts.append(_columns(images[rows], found))
        if features:
            flat = found.flat_features()
            if stored is None:
                stored = _open_features(folder / "features.npy", (len(one), flat.shape[1]))
            stored[chunk.start + rows.start : chunk.start + rows.stop] = flat
    if stored is not None:
        stored.flush()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _columns(images: np.ndarray, found: Scores) -> Table:
    """Return all that is kept of a batch, by name; see `Segments`."""
    is_lit = lit(images)
    every, among = count_votes(found.scores), count_votes(found.scores, is_lit)
    winner = np.where(is_lit, found.scores.argmax(axis=-1), BACKGROUND)
    return {
        "is_track": every.is_track,
        "is_track_lit": among.is_track,
        "num_track": every.num_track,
        "num_shower": every.num_shower,
        "shower_pixels": (winner == SHOWER).sum(axis=(1, 2)),
        "track_pixels": (winner == TRACK).sum(axis=(1, 2)),
        "certainty": mean_certainty(found.scores.max(axis=-1), is_lit),
        "scores": score_counts(found.scores, is_lit),
    }


def _open_features(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return float32 rows that are the content of a .npy file."""
    mode = "r+" if path.is_file() else "w+"
    return np.lib.format.open_memmap(path, mode=mode, dtype=np.float32, shape=shape)


def _keep(path: Path, table: Table) -> None:
    """Write a table whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name("draft-" + path.name)
    np.savez_compressed(draft, **table)
    draft.replace(path)


def _read(path: Path) -> Table:
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}
