"""Exact nearest neighbours of images: by pixels and by the transport of their charge."""

import bisect
from typing import NamedTuple

import numpy as np

from evaluation.metrics.distances import squared_distances
from evaluation.metrics.image_emd import EmdIndex, image_emd, lower_bounds

_BLOCK = 1024  # images


class Neighbours(NamedTuple):
    """The nearest images, the nearest first; of equally near ones the first in their set."""

    places: np.ndarray  # in the set
    distances: np.ndarray
    solves: int = 0  # transport problems solved to find them


def nearest_by_l2(
    queries: np.ndarray,
    pool: np.ndarray,
    *,
    count: int = 5,
    among: np.ndarray | None = None,
    own: bool = False,
) -> Neighbours:
    """Find the images nearest by |x - y| of the pixels: ``[Q, k]`` each.

    Args:
        queries: images ``[Q, H, W]``.
        pool: images ``[N, H, W]``.
        count: neighbours of each; all there are if those are fewer.
        among: places in the pool that may be found; all if it is None.
        own: whether the queries are the pool; then none is its own neighbour.

    Raises:
        ValueError: images of two sizes, or none to be found.
    """
    if queries.shape[1:] != pool.shape[1:]:
        raise ValueError(f"images {queries.shape[1:]} and those to find {pool.shape[1:]}")
    among = np.arange(len(pool)) if among is None else np.sort(among)
    count = min(count, len(among) - own)
    if count < 1:
        raise ValueError(f"no neighbours to find among {len(among)} images: give more")
    places = np.empty((len(queries), count), np.int64)
    squared = np.empty((len(queries), count))
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows = np.arange(start, min(start + _BLOCK, len(queries))) if own else None
        squared[block], places[block] = _nearest_of(queries[block], pool, among, count, rows)
    return Neighbours(places, np.sqrt(squared))


def nearest_by_emd(
    image: np.ndarray, index: EmdIndex, *, count: int = 5, among: np.ndarray | None = None
) -> Neighbours:
    """Find the images nearest by exact transport of charge: at most ``count``.

    Images are solved in the order of their lower bounds, until the next bound is larger than the
    largest distance to keep: no other can be nearer then.

    Args:
        image: ``[H, W]``.
        index: of the images to search; those without charge are never found.
        count: neighbours.
        among: places in the index that may be found; all if it is None.

    Raises:
        ValueError: an image of another size or without charge, or none to be found.
    """
    among = np.arange(len(index)) if among is None else np.sort(among)
    bounds = lower_bounds(image, index)[among]
    if np.isinf(bounds).all():
        raise ValueError(f"no neighbours to find: none of {len(among)} images has charge")
    found: list[tuple[float, int]] = []
    solves = 0
    for at in np.argsort(bounds, kind="stable"):
        if np.isinf(bounds[at]) or (len(found) == count and bounds[at] > found[-1][0]):
            break
        place = int(among[at])
        bisect.insort(found, (image_emd(image, index.images[place]), place))
        del found[count:]
        solves += 1
    distances, places = np.array(found).reshape(-1, 2).T
    return Neighbours(places.astype(np.int64), distances, solves)


def _nearest_of(
    queries: np.ndarray, pool: np.ndarray, among: np.ndarray, count: int, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances and places ``[Q, k]`` of the nearest to a block of queries."""
    best = np.full((len(queries), count), np.inf)
    places = np.full((len(queries), count), -1)
    rows = _flat(queries)
    for start in range(0, len(among), _BLOCK):
        some = among[start : start + _BLOCK]
        squared = squared_distances(rows, _flat(pool[some]))
        if own is not None:
            squared[own[:, None] == some] = np.inf
        best, places = _merge(
            np.concatenate([best, squared], axis=1),
            np.concatenate([places, np.broadcast_to(some, squared.shape)], axis=1),
            count,
        )
    return best, places


def _merge(squared: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` smallest of each row in their order, the leftmost of equal ones."""
    picked = np.empty((len(squared), count), np.int64)
    left = squared.copy()
    rows = np.arange(len(squared))
    for k in range(count):
        picked[:, k] = left.argmin(axis=1)
        left[rows, picked[:, k]] = np.inf
    return (
        np.take_along_axis(squared, picked, axis=1),
        np.take_along_axis(places, picked, axis=1),
    )


def _flat(images: np.ndarray) -> np.ndarray:
    """Return images as rows; 8-bit ones as float32, which holds them and is multiplied faster."""
    rows = images.reshape(len(images), -1)
    return rows.astype(np.float32) if rows.dtype == np.uint8 else rows
