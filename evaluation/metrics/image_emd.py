"""Distances of images as piles of charge: exact transport on the pixel grid, and bounds.

Both images are scaled to unit charge. Moving a share of it by d pixels costs d times the share.
This is the distance of the neighbours in arXiv:2307.13687, Fig. 13-15, there in float32.
"""

import bisect
import itertools
from dataclasses import dataclass

import numpy as np
import ot
import tqdm
from scipy.spatial.distance import cdist

from evaluation.metrics.distances import Neighbours

_MOST_PIVOTS = 10_000_000
_BLOCK = 512  # images
_DIAGONAL_STEP_PX = 0.5**0.5


@dataclass(frozen=True, eq=False)
class EmdIndex:
    """Images ``[N, H, W]`` with what gives lower bounds of their distances to other images."""

    images: np.ndarray
    profiles: np.ndarray  # float32 [N, P], see `profiles`
    is_lit: np.ndarray  # [N] bool; images without charge are at no distance

    def __len__(self) -> int:
        return len(self.images)


def image_emd(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact distance in pixels of two images ``[H, W]``, each at unit charge.

    Raises:
        ValueError: images of two sizes, without charge, or with pixels that are no charge.
        RuntimeError: the solver gave up.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"images {first.shape} and {second.shape} must be [H, W] of one size")
    check_charges(np.stack([first, second]))
    first, second = (image.astype(np.float64) for image in (first, second))
    scales = float(first.sum()), float(second.sum())
    if 0.0 in scales:
        raise ValueError(f"total charges are {scales}: an image without charge has no distance")
    # The cost is a metric, so the charge that both have in a pixel may stay there: what is left to
    # move is less, and whole numbers lose nothing in this form.
    surplus = first * scales[1] - second * scales[0]
    sources, sinks = np.argwhere(surplus > 0), np.argwhere(surplus < 0)
    if not (len(sources) and len(sinks)):
        return 0.0  # rounding of fractions may leave one side a rest
    supply, demand = surplus[surplus > 0], -surplus[surplus < 0]
    total = supply.sum()
    cost = cdist(sources, sinks)
    moved, log = ot.emd2(
        supply / total, demand / demand.sum(), cost, numItermax=_MOST_PIVOTS, log=True
    )
    if log["warning"] is not None:
        raise RuntimeError(f"no optimum of {cost.shape} pixels after {_MOST_PIVOTS} pivots")
    return float(moved) * float(total / scales[0] / scales[1])


def emd_index(images: np.ndarray) -> EmdIndex:
    """Prepare images ``[N, H, W]`` for searches.

    Raises:
        ValueError: pixels that are no charge.
    """
    blocks = [
        profiles(images[start : start + _BLOCK]).astype(np.float32)
        for start in range(0, len(images), _BLOCK)
    ]
    is_lit = images.any(axis=(1, 2))
    return EmdIndex(images, np.concatenate(blocks), is_lit)


def profiles(images: np.ndarray) -> np.ndarray:
    """Return the cumulative charge of ``[N, H, W]`` images along four directions, ``[N, P]``.

    The cumulative sums at unit charge along columns, rows and both diagonals lie one after the
    other, each times the distance of two neighbours. On the grid nothing is lost by binning: the
    absolute differences of two images sum to the 1-D Wasserstein distance of their projections.

    Raises:
        ValueError: pixels that are no charge.
    """
    check_charges(images)
    images = images.astype(np.float64)
    total = images.sum(axis=(1, 2))[:, None]
    total[total == 0] = 1.0
    sums = (
        (images.sum(axis=1), 1.0),
        (images.sum(axis=2), 1.0),
        (_diagonal_sums(images), _DIAGONAL_STEP_PX),
        (_diagonal_sums(images[:, :, ::-1]), _DIAGONAL_STEP_PX),
    )
    return np.concatenate([np.cumsum(s, axis=1) / total * step for s, step in sums], axis=1)


def lower_bounds(image: np.ndarray, index: EmdIndex) -> np.ndarray:
    """Return lower bounds ``[N]`` of the distances of an ``image`` to the images of an index.

    A projection never increases the distance of two pixels, so its 1-D transport is a lower bound.
    The largest of four directions is taken. Images without charge are at infinity.

    Raises:
        ValueError: an image of another size, without charge, or with pixels that are no charge.
    """
    height, width = index.images.shape[1:]
    if image.shape != (height, width):
        raise ValueError(f"image {image.shape} and those it is compared with {height, width}")
    if not image.any():
        raise ValueError("the image has no charge, so nothing is near to it: leave it out")
    profile = profiles(image[None])[0].astype(np.float32)
    starts = np.cumsum([0, width, height, height + width - 1])
    bounds = np.empty(len(index), np.float32)
    for start in range(0, len(index), _BLOCK):
        apart = np.abs(index.profiles[start : start + _BLOCK] - profile)
        bounds[start : start + _BLOCK] = np.add.reduceat(apart, starts, axis=1).max(axis=1)
    # Float32 rounds each of the at most h + w terms, which may be as large as one step, and each
    # partial sum; less these errors the bound holds.
    rounding = (height + width) * np.float32(2.0**-23)
    bounds = np.maximum(bounds * (1 - rounding) - rounding, 0.0)
    return np.where(index.is_lit, bounds, np.float32(np.inf))


def nearest_by_emd(
    image: np.ndarray, index: EmdIndex, *, count: int = 5, among: np.ndarray | None = None
) -> Neighbours:
    """Find the images nearest to ``[H, W]`` by exact transport of charge: at most ``count``.

    Images are solved in the order of their lower bounds, until the next bound is larger than the
    largest distance to keep: then no other image can be nearer. Only the places ``among`` the index
    are searched, all if it is None; images without charge are never found.

    Raises:
        ValueError: an image of another size or without charge, or none to be found.
    """
    among = np.arange(len(index)) if among is None else np.sort(among)
    bounds = lower_bounds(image, index)[among]
    if np.isinf(bounds).all():
        raise ValueError(f"no neighbours to find: none of {len(among)} images has charge")
    nearest: list[tuple[float, int]] = []
    solves = 0
    for at in np.argsort(bounds, kind="stable"):
        if np.isinf(bounds[at]) or (len(nearest) == count and bounds[at] > nearest[-1][0]):
            break
        place = int(among[at])
        bisect.insort(nearest, (image_emd(image, index.images[place]), place))
        del nearest[count:]
        solves += 1
    distances, places = np.array(nearest).reshape(-1, 2).T
    return Neighbours(places.astype(np.int64), distances, solves)


def emd_matrix(images: np.ndarray) -> np.ndarray:
    """Return the exact distances in pixels of all pairs of ``[N, H, W]`` images, ``[N, N]``.

    Raises:
        ValueError: an image without charge, or with pixels that are no charge.
    """
    matrix = np.zeros((len(images), len(images)))
    pairs = list(itertools.combinations(range(len(images)), 2))
    for i, j in tqdm.tqdm(pairs, unit="pair", desc="image EMD", leave=False):
        matrix[i, j] = matrix[j, i] = image_emd(images[i], images[j])
    return matrix


def projected_matrix(images: np.ndarray) -> np.ndarray:
    """Return the projected distances, at most the exact ones, of all pairs of images ``[N, N]``.

    Raises:
        ValueError: an image without charge, or with pixels that are no charge.
    """
    index = emd_index(images)
    bounds = np.stack([lower_bounds(image, index) for image in images]).astype(np.float64)
    return np.maximum(bounds, bounds.T)


def check_charges(images: np.ndarray) -> None:
    """Refuse pixels that are no charge.

    Raises:
        ValueError: NaN, infinite or negative pixels.
    """
    if images.dtype.kind in "ub":
        return
    bad = ~(np.isfinite(images) & (images >= 0))
    if bad.any():
        count = int(bad.any(axis=(1, 2)).sum())
        raise ValueError(
            f"{count} of {len(images)} images hold negative, infinite or NaN pixels, which are no "
            "charge: leave them out"
        )


def _diagonal_sums(images: np.ndarray) -> np.ndarray:
    """Return the sums of ``[N, H, W]`` over pixels of equal row + column, ``[N, H + W - 1]``."""
    count, height, width = images.shape
    # Rows that are h longer lie one place further right each when cut one place shorter.
    padded = np.zeros((count, height, width + height))
    padded[:, :, :width] = images
    length = width + height - 1
    sheared = padded.reshape(count, -1)[:, : height * length].reshape(count, height, length)
    return sheared.sum(axis=1)
