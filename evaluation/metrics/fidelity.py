"""The metrics ``kid``, ``kpd``, ``precision``, ``recall``, ``density`` and ``coverage``."""

import numpy as np

from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import Metric, Result, on_features
from evaluation.metrics.mmd import discrepancy, polynomial_kernel
from evaluation.metrics.resampling import (
    as_rows,
    disjoint_parts,
    equal_batches,
    mean_and_stderr,
    reduced_size,
)

NEIGHBOURS = 5
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
    across = squared_distances(real, generated)
    real_balls = across < _squared_radii(real, k)[:, None]
    generated_balls = across < _squared_radii(generated, k)
    return (
        float(real_balls.any(axis=0).mean()),
        float(generated_balls.any(axis=1).mean()),
        float(real_balls.sum(axis=0).mean() / k),
        float(real_balls.any(axis=1).mean()),
    )


def _squared_radii(rows: np.ndarray, k: int) -> np.ndarray:
    """Return each row's squared distance to its k-th neighbour among the others ``[N]``."""
    squared = squared_distances(rows, rows)
    np.fill_diagonal(squared, 0.0)  # rounding must not put another row before the row itself
    return np.partition(squared, k, axis=1)[:, k]


def prdc(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    k: int = NEIGHBOURS,
    n: int = _PRDC_IMAGES,
) -> tuple[Result, Result, Result, Result]:
    """Return precision, recall, density and coverage, each with its error over parts.

    They are of features ``[N, F]`` and ``[M, F]``, of at most n images of each set. The radii, to
    the k-th neighbour, shrink as sets grow, so only values at equal n can be compared. Equal
    distributions give a density near one; for the other three look at the floor.

    Raises:
        ValueError: if a set has no k-th neighbours.
    """
    real, generated = as_rows(real, generated, least=k + 1)
    size, note = reduced_size(n, len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    values = neighbour_scores(first, second, k=k)
    parts = disjoint_parts(first, second, seed=seed, smallest=max(10, k + 1))
    of_parts = zip(*(neighbour_scores(*pair, k=k) for pair in parts), strict=True)
    errors = [mean_and_stderr(scores)[1] for scores in of_parts] or [None] * len(PRDC)
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
