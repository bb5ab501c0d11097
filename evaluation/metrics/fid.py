"""The metrics ``fid/``: Frechet distance of the features of two sets, at any n and dimension.

With n images, the distance is too large by about a / n. This bias grows with the trace and the
effective dimension of the covariance of the features: with the published 10,000 images of 8192
features it is most of the value. ``fid/infinity`` removes it, ``fid/pca64`` avoids it, and the
floor shows it.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from evaluation.images.sets import Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Metric, Result, cut_alike, on_features, with_origin
from evaluation.metrics.resampling import (
    as_rows,
    equal_batches,
    parts_stderr,
    permutation_p,
    reduced_size,
    shuffled_labels,
)

PAPER_IMAGES = 10_000
_COMPONENTS = 64
_SIZES = 5  # numbers of images that the line of fid/infinity is fitted at


def fid(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    n: int | None = None,
    name: str = "fid/full",
    stderr: bool = True,
) -> Result:
    """Return the Frechet distance between features ``[N, F]`` and ``[M, F]``, with the error.

    It is of n images of each set chosen by ``seed``, or of as many as both have if n is None. The
    error is from ten distances of a tenth of the images.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(n or max(len(real), len(generated)), len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    error = parts_stderr(frechet_distance, first, second, seed=seed) if stderr else None
    note = note if n else ""
    return Result(name, frechet_distance(first, second), error, n=size, note=note)


def extrapolate(
    metric: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    sizes: list[int],
    *,
    seed: int,
) -> tuple[float, np.ndarray]:
    """Return the limit of ``metric`` for 1 / n to zero, along a line, and its values ``[K]``.

    At each size it is the mean over all disjoint subsets that fit. Drawing with replacement, as
    others do, would keep most of the bias: repeated images shrink the covariance.
    """
    values = [
        np.mean([metric(*pair) for pair in equal_batches(x, y, size, seed=seed)]) for size in sizes
    ]
    slope_and_limit = np.polynomial.polynomial.polyfit(1.0 / np.array(sizes), values, 1)
    return float(slope_and_limit[0]), np.array(values)


def _sizes(n: int) -> list[int]:
    """Return the sizes from n / 5 to n at equal steps of 1 / n."""
    return [round(1.0 / inverse) for inverse in np.linspace(5.0 / n, 1.0 / n, _SIZES)]


def fid_infinity(
    real: np.ndarray, generated: np.ndarray, *, seed: int, stderr: bool = True
) -> Result:
    """Return the FID of features ``[N, F]`` and ``[M, F]`` extrapolated to infinitely many images.

    It may come out slightly negative. The line in 1 / n is fitted from a fifth of the images to all
    of them, and holds from about as many images as features on; with fewer a note says so. The
    error is from ten extrapolations of a tenth of the images.
    """
    real, generated = as_rows(real, generated, least=25)
    n = min(len(real), len(generated))
    real, generated = equal_batches(real, generated, n, count=1, seed=seed)[0]

    def limit(x: np.ndarray, y: np.ndarray) -> float:
        sizes = _sizes(len(x))
        if len(x) > x.shape[1]:
            return extrapolate(frechet_distance, x, y, sizes, seed=seed)[0]
        places = np.arange(len(x))
        return extrapolate(frechet_of_places(x, y), places, places, sizes, seed=seed)[0]

    smallest, features = _sizes(n)[0], real.shape[1]
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


def direct_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the FID as published (arXiv:2307.13687, Table 4) and that of all images.

    Both are the same number if there are at most as many images as published.
    """
    without_error = {"stderr": False}
    compute = on_features(fid, n=PAPER_IMAGES, name="fid/paper", floor_options=without_error)
    (paper,) = compute(pair, budget, seed)
    if paper.n < PAPER_IMAGES:
        return [paper, dataclasses.replace(paper, metric="fid/full", note=with_origin("", pair))]
    return [paper, *on_features(fid, floor_options=without_error)(pair, budget, seed)]


def component_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the FID of the leading principal components: stable at a few thousand images.

    It is fast enough for a p by permutation, which the FID of all features is not.
    """
    equal = cut_alike(pair, _COMPONENTS + 1, seed=seed)
    sets = [images.features() for images in (equal.real, equal.generated, equal.floor[1])]
    # Axes of a set that is not compared prefer neither of the two, which a permutation needs.
    axes = principal_axes(sets[2], _COMPONENTS)
    real, generated, other = (rows.astype(np.float64) @ axes for rows in sets)
    name = f"fid/pca{_COMPONENTS}"
    value = fid(real, generated, seed=seed, name=name)
    floor = fid(real, other, seed=seed, name=name, stderr=False)
    p = frechet_p(real, generated, permutations=budget.permutations, seed=seed)
    note = with_origin(f"axes of {pair.floor_from}", pair)
    return [dataclasses.replace(value.with_floor(floor), p=p, note=note)]


def frechet_p(x: np.ndarray, y: np.ndarray, *, permutations: int, seed: int) -> float:
    """Return p of the Frechet distance of sets ``[N, D]`` and ``[M, D]``, by permutation."""
    pooled = np.concatenate([x, y])
    values = [
        frechet_distance(pooled[marked], pooled[~marked])
        for marked in shuffled_labels(len(x), len(y), permutations, seed=seed).T
    ]
    return permutation_p(values[0], np.array(values[1:]))


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Frechet distance of the normal laws of rows ``[N, D]`` and ``[M, D]``.

    It is |mean difference|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)) of their covariances S. With a
    root R^T R = S_x the last term is twice the sum of the roots of the eigenvalues of the
    symmetric R S_y R^T. Everything is real and float64, also for N < D.
    """
    (mean_x, x), (mean_y, y) = _centred(x), _centred(y)
    traces = np.vdot(x, x) / (len(x) - 1) + np.vdot(y, y) / (len(y) - 1)
    small = min(len(x), len(y)) <= x.shape[1]
    squared = _squared(_root(x) @ _root(y).T) if small else _squared_overlap(x, y)
    return float(np.sum((mean_x - mean_y) ** 2) + traces - 2.0 * _overlap(squared))


def frechet_of_places(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the Frechet distance of some rows of ``[N, D]`` and ``[M, D]``, by their places.

    It is `frechet_distance` for at most D rows; all calls share the only large product.
    """
    centre = x.mean(axis=0, dtype=np.float64)
    x, y = x - centre, y - centre
    squares = [np.einsum("nd,nd->n", rows, rows) for rows in (x, y)]
    across = x @ y.T

    def distance(of_x: np.ndarray, of_y: np.ndarray) -> float:
        means = [rows[places].mean(axis=0) for rows, places in ((x, of_x), (y, of_y))]
        traces = sum(
            (square[places].sum() - len(places) * mean @ mean) / (len(places) - 1)
            for square, places, mean in zip(squares, (of_x, of_y), means, strict=True)
        )
        product = _without_mean(_without_mean(across[np.ix_(of_x, of_y)]).T)
        product /= np.sqrt((len(of_x) - 1) * (len(of_y) - 1))
        overlap = _overlap(_squared(product))
        return float(np.sum((means[0] - means[1]) ** 2) + traces - 2.0 * overlap)

    return distance


def _overlap(squared: np.ndarray) -> float:
    """Return the sum of the roots of the eigenvalues of a matrix, whose upper half is lost."""
    eigenvalues = scipy.linalg.eigvalsh(squared, lower=False, overwrite_a=True, check_finite=False)
    return float(np.sqrt(np.maximum(eigenvalues, 0.0)).sum())


def _centred(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``[D]`` and the differences from it ``[N, D]``, float64."""
    mean = rows.mean(axis=0, dtype=np.float64)
    return mean, rows - mean


def _squared(product: np.ndarray) -> np.ndarray:
    """Return a product of roots times its transpose, on the smaller side."""
    if product.shape[0] > product.shape[1]:
        product = product.T
    return product @ product.T


def _squared_overlap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a matrix (its upper half) with the nonzero eigenvalues of S_x S_y."""
    root, pivots = _triangular_root(x)
    other = (y.T @ y / (len(y) - 1))[np.ix_(pivots, pivots)]
    if len(root) < len(pivots):
        return root @ other @ root.T
    # Both sides of a triangular root at once cost half a product.
    return scipy.linalg.lapack.dsygst(other, root, itype=2)[0]


def _root(rows: np.ndarray) -> np.ndarray:
    """Return a root ``[K, D]`` of the covariance of centred rows, K at most N and D."""
    if len(rows) <= rows.shape[1]:
        return _without_mean(rows) / np.sqrt(len(rows) - 1)
    triangular, pivots = _triangular_root(rows)
    root = np.zeros_like(triangular)
    root[:, pivots] = triangular
    return root


def _without_mean(rows: np.ndarray) -> np.ndarray:
    """Return ``[N - 1, D]`` with the same products of columns as centred rows ``[N, D]``.

    A reflection moves the mean into the first row, which is left out. Centring alone would leave a
    zero eigenvalue, whose root would be the root of a rounding error.
    """
    root = np.sqrt(len(rows))
    return rows[1:] - (root * rows.mean(axis=0) - rows[0]) / (root - 1.0)


def _triangular_root(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a root ``[K, D]`` of the covariance of centred rows, zero below the diagonal.

    Its columns are the features in the order ``[D]`` that is returned too. Pivoting leaves out
    features without variance, such as those that a ReLU always sets to zero.
    """
    covariance = rows.T @ rows / (len(rows) - 1)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance)
    return np.triu(factor[:rank]), pivots - 1


METRICS = (
    Metric(
        "fid/direct",
        direct_rows,
        {
            "fid/paper": "Frechet distance of SSNet features (8192 for images of 64 x 64 pixels), "
            "of 10,000 images of each set or of all if fewer; mostly bias, see its floor",
            "fid/full": "the same of all images, as many as both sets have",
        },
        needs="features",
    ),
    Metric(
        "fid/infinity",
        on_features(fid_infinity, fewest=25, floor_options={"stderr": False}),
        "that distance extrapolated to infinitely many images, linear in 1 / n",
        needs="features",
    ),
    Metric(
        "fid/pca",
        component_rows,
        {
            f"fid/pca{_COMPONENTS}": f"Frechet distance of the {_COMPONENTS} leading principal "
            "components of the floor's second real set; p by permutation"
        },
        needs="features",
    ),
)
