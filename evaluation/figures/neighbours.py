"""Figures of nearest images: panels like arXiv:2307.13687, Fig. 13-15, and distances."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures.figure import DPI, Comparison, Drawn, Figures
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.compute import seed_of
from evaluation.metrics.distances import Neighbours, nearest_by_l2
from evaluation.metrics.image_emd import EmdIndex, emd_index, nearest_by_emd

_DOTS = 2  # a pixel
_COUNT = 5  # neighbours, as published
_GAP_PX, _TEXT_PX, _SIDE_PX = 4, 14, 30  # around an image, above it, and left of a row
_BINS = 40
_BACKGROUND = "#d0d4d8"
_COLOURS = {"real": "#9aa3ad", "generated": "#1f6fb4"}

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Pool:
    """Images to search, with an index that makes the search quick."""

    images: ImageSet
    index: EmdIndex
    is_own: bool  # the queries are of this set, and not their own neighbours


def figures(comparison: Comparison) -> Figures:
    """Return the figures of neighbours and of memorisation, if there are such metrics."""
    drawing: Figures = {}
    if comparison.has("neighbours"):
        seed = seed_of("neighbours", comparison.seed)
        for pair in comparison.pairs:
            drawing[f"neighbours_{pair.generated.name}"] = partial(draw, pair, seed)
    if comparison.has("memorisation"):
        for pair in comparison.pairs:
            if pair.train is not None:
                sets = (pair.generated, pair.real, pair.train)
                name = f"train_distances_{pair.generated.name}"
                drawing[name] = partial(draw_train_distances, *sets)
    return drawing


def draw(pair: Pair, seed: int) -> Drawn:
    """Draw the neighbours of a track and a shower image among training and generated images.

    Without SSNet labels two random images stand for them, without training images the real ones.
    """
    generated, train = pair.generated, pair.train
    order = np.random.default_rng([seed, 4]).permutation(len(generated))
    lit = order[generated.images[order].any(axis=(1, 2))]
    chosen = list(lit[:2])
    if generated.is_track is not None:
        kinds = (lit[generated.is_track[lit] == kind] for kind in (True, False))
        chosen = [places[0] for places in kinds if len(places)]
    return draw_neighbours(generated, chosen, pair.real if train is None else train)


def draw_neighbours(
    generated: ImageSet, chosen: list[int], pool: ImageSet, *, count: int = _COUNT
) -> Drawn:
    """Draw the images nearest to some generated ones, by pixels and by exact transport of charge.

    The queries are the generated images at the places ``chosen``. Their neighbours, ``count`` of
    each kind, are searched in ``pool``, like the training images, and in the generated set itself.
    Each image is on its own grey scale. Where both sets have SSNet labels, a row of the neighbours
    of the query's class, which is what the paper shows, stands above that of all.

    Returns:
        The figure, and for each query what was found at which distance.
    """
    pools = [
        _Pool(pool, emd_index(pool.images), is_own=False),
        _Pool(generated, emd_index(generated.images), is_own=True),
    ]
    rows_of = {int(place): list(_rows(generated, int(place), pools, count)) for place in chosen}
    sheets = [
        _sheet(generated.images[place], rows, pools, count) for place, rows in rows_of.items()
    ]
    heights, width = [len(sheet) for sheet, _ in sheets], sheets[0][0].shape[1]
    size = np.array([width, sum(heights)]) * _DOTS / DPI
    figure = Figure(figsize=tuple(size), facecolor=_BACKGROUND)
    top = sum(heights)
    for (sheet, texts), height, place in zip(sheets, heights, rows_of, strict=True):
        top -= height
        axes = figure.add_axes((0, top / sum(heights), 1, height / sum(heights)), frameon=False)
        axes.set(xticks=[], yticks=[])
        axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for x, y, text, size in [(4, 8, f"{generated.name} {place}", 10), *texts]:
            axes.text(x, y, text, fontsize=size, va="center")
    listed = [{"query": place, "rows": rows} for place, rows in rows_of.items()]
    return figure, {"generated": generated.name, "pool": pool.name, "queries": listed}


def draw_train_distances(generated: ImageSet, real: ImageSet, train: ImageSet) -> Drawn:
    """Draw how far generated and real images are from the nearest training image, by pixels."""
    distances = {
        role: nearest_by_l2(image_set.images, train.images, count=1).distances[:, 0]
        for role, image_set in (("real", real), ("generated", generated))
    }
    edges = np.linspace(0.0, max(d.max() for d in distances.values()) or 1.0, _BINS + 1)
    counts = {role: np.histogram(d, edges)[0] for role, d in distances.items()}
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for image_set, (role, values) in zip((real, generated), counts.items(), strict=True):
        axes.stairs(
            values / len(image_set),
            edges,
            label=image_set.name,
            color=_COLOURS[role],
            fill=role == "real",
        )
    axes.set(xlabel="|x - y| to the nearest training image (0..255 each pixel)")
    axes.set(ylabel="fraction of images", xlim=(0, None))
    axes.legend(frameon=False)
    lists = {role: values.tolist() for role, values in counts.items()}
    return figure, {"edges": edges.tolist(), "counts": lists, "training_images": len(train)}


def _rows(generated: ImageSet, place: int, pools: list[_Pool], count: int) -> Iterator[Row]:
    """Yield the neighbours of one image: a row for each set and class."""
    for number, pool in enumerate(pools):
        places = np.arange(len(pool.images))
        if pool.is_own:
            places = np.delete(places, place)
        parts = [places]
        if generated.is_track is not None and pool.images.is_track is not None:
            alike = pool.images.is_track[places] == generated.is_track[place]
            parts = [places[alike], places[~alike]]
        searched = [_search(generated.images[place], pool, part, count) for part in parts]
        kinds = [("all", [_nearest(pairs, count) for pairs in zip(*searched, strict=True)])]
        if len(parts) > 1:
            kinds.insert(0, ("same class", searched[0]))
        for kind, (pixels, charge) in kinds:
            yield {
                "pool": number,
                "name": pool.images.name,
                "among": kind,
                "l2": _plain(pixels),
                "emd_px": _plain(charge),
            }


def _search(
    image: np.ndarray, pool: _Pool, among: np.ndarray, count: int
) -> tuple[Neighbours, Neighbours]:
    """Return the neighbours by pixels and by transport; empty if there is nothing to search."""
    none = Neighbours(np.empty(0, np.int64), np.empty(0))
    pixels, charge = none, none
    if len(among):
        every = nearest_by_l2(image[None], pool.images.images, count=count, among=among)
        pixels = Neighbours(every.places[0], every.distances[0])
    if pool.index.is_lit[among].any():
        charge = nearest_by_emd(image, pool.index, count=count, among=among)
    return pixels, charge


def _nearest(parts: tuple[Neighbours, ...], count: int) -> Neighbours:
    """Merge the nearest images of several searches, so that no transport is solved twice."""
    places = np.concatenate([part.places for part in parts])
    distances = np.concatenate([part.distances for part in parts])
    order = np.lexsort([places, distances])[:count]
    return Neighbours(places[order], distances[order], sum(part.solves for part in parts))


def _plain(neighbours: Neighbours) -> dict[str, Any]:
    return {
        "places": neighbours.places.tolist(),
        "distances": neighbours.distances.tolist(),
        "solves": neighbours.solves,
    }


def _sheet(
    query: np.ndarray, rows: list[Row], pools: list[_Pool], count: int
) -> tuple[np.ndarray, list[tuple[float, float, str, int]]]:
    """Return a sheet of the query (twice as large) and its neighbours, and the texts on it."""
    height, width = query.shape
    step_y, step_x = height + _GAP_PX + 2 * _TEXT_PX, width + _GAP_PX
    left = 2 * width + 2 * _GAP_PX + _SIDE_PX
    block = count * step_x + _SIDE_PX
    rows_height = len(rows) * step_y
    sheet = np.full((max(rows_height, 2 * height + 2 * _TEXT_PX), left + 2 * block), np.nan)
    sheet[_TEXT_PX : _TEXT_PX + 2 * height, _GAP_PX : _GAP_PX + 2 * width] = np.kron(
        _grey(query), np.ones((2, 2))
    )
    texts = []
    for number, row in enumerate(rows):
        top = number * step_y + 2 * _TEXT_PX
        for start, kind, unit in ((left, "l2", ""), (left + block, "emd_px", " px")):
            label = f"{'L2' if kind == 'l2' else 'EMD'}, {row['name']}, {row['among']}"
            texts.append((start, top - 1.5 * _TEXT_PX, label, 9))
            for k, (place, distance) in enumerate(
                zip(row[kind]["places"], row[kind]["distances"], strict=True)
            ):
                x = start + k * step_x
                image = pools[row["pool"]].images.images[place]
                sheet[top : top + height, x : x + width] = _grey(image)
                texts.append((x, top - _TEXT_PX / 2, f"{distance:.4g}{unit}", 8))
    return sheet, texts


def _grey(image: np.ndarray) -> np.ndarray:
    return image / max(float(image.max()), 1.0)
