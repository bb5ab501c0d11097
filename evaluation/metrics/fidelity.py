"""The metrics ``kid``, ``kpd``, ``precision``, ``recall``, ``density`` and ``coverage``."""

from typing import NamedTuple

import numpy as np

from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import Metric, Result, on_features
from evaluation.metrics.mmd import discrepancy, polynomial_kernel
from evaluation.metrics.resampling import (
    as_rows,
    equal_batches,
    random_halves,
    reduced_size,
)

NEIGHBOURS = 5
_ROUNDING = 1e-12  # of the sum of two squared lengths, at most, is lost in their distance
_PRDC_IMAGES = 10_000  # beyond, the distances alone take gigabytes
PRDC = ("precision", "recall", "density", "coverage")


def polynomial_mmd(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    degree: int,
    name: str,
    permutations: int = 200,
) -> Result:
    """Return the unbiased MMD^2 of features ``[N, F]``, ``[M, F]``, kernel (x y / F + 1)^degree.

    It uses all pairs of images at once. Averaging over small subsets, as others do, has the same
    mean and a larger error. Without permutations there is no p.
    """
    real, generated = as_rows(real, generated)
    mmd = discrepancy(
        real, generated, polynomial_kernel, permutations=permutations, seed=seed, degree=degree
    )
    return Result(
        name, float(mmd.unbiased[0]), mmd.total_stderr, p=mmd.p, n=min(len(real), len(generated))
    )


def neighbour_scores(
    real: np.ndarray, generated: np.ndarray, *, k: int = NEIGHBOURS
) -> tuple[float, float, float, float]:
    """Return precision, recall, density and coverage of features ``[N, F]`` and ``[M, F]``.

    An image's ball reaches to its k-th nearest neighbour in its own set, open as in the authors'
    code. Precision: generated images in some real ball; recall: real ones in some generated ball
    (arXiv:1904.06991); density: real balls around a generated image, over k; coverage: real
    balls that hold a generated image (arXiv:2002.09797).
    """
    return _scores(_distances(real, generated), k)


class _Distances(NamedTuple):
    """Squared distances of two sets: across ``[N, M]`` and within ``[N, N]`` and ``[M, M]``.

    Those across are larger by what rounding may have taken from them: of two that are equal, one
    across and one within, the first is not the smaller one.
    """

    across: np.ndarray
    real: np.ndarray
    generated: np.ndarray

    def of(self, rows: np.ndarray, columns: np.ndarray) -> "_Distances":
        """Return the distances of some of the real and of the generated images."""
        real, generated = self.real[np.ix_(rows, rows)], self.generated[np.ix_(columns, columns)]
        return _Distances(self.across[np.ix_(rows, columns)], real, generated)


def _distances(real: np.ndarray, generated: np.ndarray) -> _Distances:
    across, *within = (
        squared_distances(*pair)
        for pair in ((real, generated), (real, real), (generated, generated))
    )
    for squared in within:
        np.fill_diagonal(squared, 0.0)  # rounding must not put another row before the row itself
    lengths = [np.einsum("nd,nd->n", rows, rows, dtype=np.float64) for rows in (real, generated)]
    across += _ROUNDING * (lengths[0][:, None] + lengths[1])
    return _Distances(across, *within)


def _scores(squared: _Distances, k: int) -> tuple[float, float, float, float]:
    """Return precision, recall, density and coverage of distances."""
    # A row comes before its neighbours in its own set.
    radii = [np.partition(within, k, axis=1)[:, k] for within in squared[1:]]
    real_balls = squared.across < radii[0][:, None]
    generated_balls = squared.across < radii[1]
    return (
        float(real_balls.any(axis=0).mean()),
        float(generated_balls.any(axis=1).mean()),
        float(real_balls.sum(axis=0).mean() / k),
        float(real_balls.any(axis=1).mean()),
    )


def prdc(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    k: int = NEIGHBOURS,
    n: int = _PRDC_IMAGES,
) -> tuple[Result, Result, Result, Result]:
    """Return precision, recall, density and coverage, each with its error over random halves.

    They are of features ``[N, F]`` and ``[M, F]``, of at most n images of each set. The radii, to
    the k-th neighbour, shrink as sets grow, so only values at equal n can be compared. Equal
    distributions give a density near one; for the other three look at the floor.

    Raises:
        ValueError: if a set has no k-th neighbours.
    """
    real, generated = as_rows(real, generated, least=k + 1)
    size, note = reduced_size(n, len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    squared = _distances(first, second)
    values = _scores(squared, k)
    halves = random_halves(size, size, seed=seed, smallest=max(10, k + 1))
    of_halves = np.array([_scores(squared.of(*places), k) for places in halves])
    errors = of_halves.std(axis=0, ddof=1).tolist() if halves else [None] * len(PRDC)
    return tuple(
        Result(f"{name}/k{k}", value, error, n=size, note=note)
        for name, value, error in zip(PRDC, values, errors, strict=True)
    )


# The kernel inception distance (arXiv:1801.01401) and the kernel physics distance
# (arXiv:2211.10295) differ in the degree of the kernel.
METRICS = (
    Metric(
        "kid",
        on_features(polynomial_mmd, draws="permutations", degree=3, name="kid"),
        "unbiased MMD^2 of SSNet features, kernel (x y / F + 1)^3; p by permutation",
        needs="features",
    ),
    Metric(
        "kpd",
        on_features(polynomial_mmd, draws="permutations", degree=4, name="kpd"),
        "unbiased MMD^2 of SSNet features, kernel (x y / F + 1)^4; p by permutation",
        needs="features",
    ),
    Metric(
        "prdc",
        on_features(prdc),
        {
            "precision": "fraction of generated images in the ball of a real one, to its 5th "
            "neighbour in SSNet features",
            "recall": "fraction of real images in the ball of a generated one",
            "density": "mean number of real balls around a generated image, over 5",
            "coverage": "fraction of real balls that hold a generated image",
        },
        needs="features",
    ),
)
