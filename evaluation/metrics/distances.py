"""Euclidean distances of pixels between all pairs of images, and to the nearest ones."""

from typing import NamedTuple

import numpy as np

_BLOCK = 1024  # images
_EXACT_FLOAT32 = 2.0**24  # whole numbers up to here, and so their sums, have no rounding


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return |x - y|^2 of all pairs of rows ``[N, D]`` and ``[M, D]`` as float64 ``[N, M]``.

    The matrix product in |x|^2 + |y|^2 - 2 x y is computed in float64, or in half the time in
    float32 if that changes nothing: for images of whole pixel values that are not too bright. Then
    equal rows are at distance zero exactly.
    """
    alone = y is x
    x, y = np.asarray(x), np.asarray(y)
    norms = [np.einsum("nd,nd->n", rows, rows, dtype=np.float64) for rows in (x, y)]
    # No partial sum of a product of rows without negative entries exceeds both squared norms.
    small = all(norm.max(initial=0.0) < _EXACT_FLOAT32 for norm in norms)
    whole = small and all((rows >= 0).all() and (rows == np.rint(rows)).all() for rows in (x, y))
    dtype = np.float32 if whole else np.float64
    x = x.astype(dtype, copy=False)
    # The product of an array with itself is symmetric: NumPy does half of it.
    product = x @ (x if alone else y.astype(dtype, copy=False)).T
    squared = product.astype(np.float64, copy=False)
    squared *= -2.0
    squared += norms[0][:, None]
    squared += norms[1]
    return np.maximum(squared, 0.0, out=squared)


class Neighbours(NamedTuple):
    """The nearest images, the nearest first; equally near images in the order of their set."""

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
    """Find the images nearest to ``[Q, H, W]`` by |x - y| of the pixels: ``[Q, k]`` each.

    At most ``count`` are found for each, of the places ``among`` the pool ``[N, H, W]``, all if it
    is None. If the queries are the pool (``own``), none is its own neighbour.

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


def _nearest_of(
    queries: np.ndarray, pool: np.ndarray, among: np.ndarray, count: int, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances and places ``[Q, k]`` of the nearest to a block of queries."""
    best = np.full((len(queries), count), np.inf)
    places = np.full((len(queries), count), -1)
    rows = _flat(queries)
    for start in range(0, len(among), _BLOCK):
        block = among[start : start + _BLOCK]
        squared = squared_distances(rows, _flat(pool[block]))
        if own is not None:
            squared[own[:, None] == block] = np.inf
        best, places = _merge(
            np.concatenate([best, squared], axis=1),
            np.concatenate([places, np.broadcast_to(block, squared.shape)], axis=1),
            count,
        )
    return best, places


def _merge(squared: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` smallest values of each row, rising; of equal ones the leftmost."""
    picked = np.empty((len(squared), count), np.int64)
    left = squared.copy()
    rows = np.arange(len(squared))
    for k in range(count):
        picked[:, k] = left.argmin(axis=1)
        left[rows, picked[:, k]] = np.inf
    return (np.take_along_axis(squared, picked, axis=1), np.take_along_axis(places, picked, axis=1))


def _flat(images: np.ndarray) -> np.ndarray:
    """Return images as rows. 8-bit ones become float32, which is exact and multiplies faster."""
    rows = images.reshape(len(images), -1)
    return rows.astype(np.float32) if rows.dtype == np.uint8 else rows
