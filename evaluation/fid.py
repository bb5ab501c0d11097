"""Frechet distance between features of two sets of images (FID), at any n and dimension.

For n images of features with covariance S the distance is too large by about a / n, where a grows
with the trace and the effective dimension of S: the published 10,000 images of 8192 features
give mostly that. ``fid_infinity`` removes it, ``pca_fid`` avoids it, a floor shows it.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse.linalg

from evaluation.frechet import frechet_distance, frechet_of_places
from evaluation.result import Result
from evaluation.subsampling import as_rows, equal_batches, parts_stderr, reduced_size

PAPER_IMAGES = 10_000
_FEWEST_SIZES = 3  # of which a line has a residual


def fid(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    n: int | None = None,
    name: str = "fid/full",
    stderr: bool = True,
) -> Result:
    """Return the Frechet distance between features of n images, with the error over parts.

    Args:
        real: features ``[N, F]``.
        generated: features ``[M, F]``.
        seed: of the choice of images.
        n: images of each set; as many as both have if it is None.
        name: id of the definition.
        stderr: whether to compute it: ten distances of a tenth of the images.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(n or max(len(real), len(generated)), len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    error = parts_stderr(frechet_distance, first, second, seed=seed) if stderr else None
    note = note if n else ""
    return Result(name, frechet_distance(first, second), error, n=size, note=note)


def fid_paper(real: np.ndarray, generated: np.ndarray, *, seed: int) -> Result:
    """Return the FID as arXiv:2307.13687, Table 4: on 10,000 images of each set."""
    return fid(real, generated, seed=seed, n=PAPER_IMAGES, name="fid/paper")


def extrapolate(
    metric: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    sizes: list[int],
    *,
    seed: int,
) -> tuple[float, np.ndarray]:
    """Return where ``metric`` goes as 1 / n goes to zero, along a line, and its values ``[K]``.

    At each size it is the mean over all disjoint subsets that fit. Drawing with replacement, as
    others do, would keep most of the bias: repeated images shrink the covariance.
    """
    values = [
        np.mean([metric(*pair) for pair in equal_batches(x, y, size, seed=seed)]) for size in sizes
    ]
    slope_and_limit = np.polynomial.polynomial.polyfit(1.0 / np.array(sizes), values, 1)
    return float(slope_and_limit[0]), np.array(values)


def _sizes(n: int, count: int) -> list[int]:
    """Return ``count`` sizes from n / 5 to n at equal steps of 1 / n."""
    return [round(1.0 / inverse) for inverse in np.linspace(5.0 / n, 1.0 / n, count)]


def fid_infinity(
    real: np.ndarray, generated: np.ndarray, *, seed: int, sizes: int = 5, stderr: bool = True
) -> Result:
    """Return the FID extrapolated to infinitely many images; it may come out slightly negative.

    The line in 1 / n holds from about as many images as features on; with fewer a note says so.

    Args:
        real: features ``[N, F]``.
        generated: features ``[M, F]``.
        seed: of the subsets.
        sizes: number of sizes, from a fifth of the images to all of them.
        stderr: whether to compute it: ten extrapolations of a tenth of the images.
    """
    real, generated = as_rows(real, generated, least=25)
    if sizes < _FEWEST_SIZES:
        raise ValueError(f"{sizes} sizes do not show a line: give at least {_FEWEST_SIZES}")
    n = min(len(real), len(generated))
    real, generated = equal_batches(real, generated, n, count=1, seed=seed)[0]

    def limit(x: np.ndarray, y: np.ndarray) -> float:
        if len(x) > x.shape[1]:
            return extrapolate(frechet_distance, x, y, _sizes(len(x), sizes), seed=seed)[0]
        places = np.arange(len(x))
        distance = frechet_of_places(x, y)
        return extrapolate(distance, places, places, _sizes(len(x), sizes), seed=seed)[0]

    smallest, features = _sizes(n, sizes)[0], real.shape[1]
    short = f"the line is fitted from {smallest} images on, fewer than the {features} features"
    return Result(
        "fid/infinity",
        limit(real, generated),
        parts_stderr(limit, real, generated, seed=seed) if stderr else None,
        n=n,
        note=short if smallest < features else "",
    )


def principal_axes(features: np.ndarray, components: int) -> np.ndarray:
    """Return the axes ``[F, components]`` of largest variance of features ``[N, F]``.

    Raises:
        ValueError: if the features do not span that many.
    """
    if not 0 < components < min(features.shape):
        raise ValueError(
            f"{components} principal components need more images and features than that, got "
            f"{features.shape[0]} images of {features.shape[1]} features"
        )
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    start = np.random.default_rng(0).standard_normal(min(centred.shape))
    return scipy.sparse.linalg.svds(centred, components, v0=start)[2].T


def pca_fid(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    components: int = 64,
    basis: np.ndarray | None = None,
) -> Result:
    """Return the FID of the leading principal components: stable at a few thousand images.

    Args:
        real: features ``[N, F]``.
        generated: features ``[M, F]``.
        seed: of the choice of images.
        components: how many.
        basis: features ``[K, F]`` that set the axes, those of the training images; fix them for
            all comparisons. The real ones if it is None.
    """
    real, generated = as_rows(real, generated)
    axes = principal_axes(real if basis is None else as_rows(basis, real)[0], components)
    found = fid(
        real.astype(np.float64) @ axes, generated.astype(np.float64) @ axes, seed=seed, name=""
    )
    source = "real images" if basis is None else "a third set"
    return dataclasses.replace(found, metric=f"fid/pca{components}", note=f"axes of {source}")
