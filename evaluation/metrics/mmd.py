"""The metrics ``mmd/``: maximum mean discrepancy (MMD^2) of images, and its estimators.

Kernel matrices are made block by block and never held: one block gives the sums over rows and the
sums under all shuffled labels at once.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import Metric, Result, on_pixels
from evaluation.metrics.resampling import (
    as_rows,
    equal_batches,
    mean_and_stderr,
    permutation_p,
    reduced_size,
    shuffled_labels,
)

PAPER_SIGMAS = tuple(2.0**k for k in range(10, 16))
PAPER_BATCH = 10_000
_MEDIAN_IMAGES = 1_000  # for the width of the median heuristic
_BLOCK = 1_000  # rows; a block of float32 takes 4 MB for each kernel


def mmd_paper(
    real: np.ndarray, generated: np.ndarray, *, seed: int, batch: int = PAPER_BATCH
) -> Result:
    """Return MMD^2 as arXiv:2307.13687, Fig. 6: biased, six Gaussians summed, no square root.

    It is the mean over disjoint batches of the images ``[N, D]`` and ``[M, D]``, published: 10,000.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    by_batch = [
        discrepancy(first, second, gaussian_kernels, sigmas=PAPER_SIGMAS)
        for first, second in equal_batches(real, generated, size, seed=seed)
    ]
    mean, stderr = mean_and_stderr([float(mmd.biased.sum()) for mmd in by_batch])
    return Result(
        "mmd/paper" if batch == PAPER_BATCH else f"mmd/batch{batch}",
        mean,
        by_batch[0].total_stderr if stderr is None else stderr,
        n=size * len(by_batch),
        note=note,
    )


def mmd_per_sigma(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    permutations: int = 200,
    sigmas: tuple[float, ...] = PAPER_SIGMAS,
) -> tuple[Result, ...]:
    """Return the unbiased MMD^2 of the summed Gaussians, with p, then that of each, in one pass.

    The images are ``[N, D]`` and ``[M, D]``. Without permutations there is no p. Widths beyond 2^13
    see little but the difference of the mean images.
    """
    real, generated = as_rows(real, generated)
    mmd = discrepancy(
        real,
        generated,
        gaussian_kernels,
        permutations=permutations,
        seed=seed,
        sigmas=tuple(sigmas),
    )
    n = min(len(real), len(generated))
    total = "mmd/unbiased" if tuple(sigmas) == PAPER_SIGMAS else "mmd/unbiased/other"
    return (
        Result(total, float(mmd.unbiased.sum()), mmd.total_stderr, p=mmd.p, n=n),
        *(
            Result(f"mmd/unbiased/sigma{sigma:g}", float(value), float(stderr), n=n)
            for sigma, value, stderr in zip(sigmas, mmd.unbiased, mmd.stderr, strict=True)
        ),
    )


def mmd_median(
    real: np.ndarray, generated: np.ndarray, *, seed: int, permutations: int = 200
) -> Result:
    """Return the unbiased MMD^2 of one Gaussian as wide as the median distance of real images.

    The width comes from at most 1,000 real images, so that it is one for all generated sets.
    """
    real, generated = as_rows(real, generated)
    chosen = np.random.default_rng(seed).permutation(len(real))[:_MEDIAN_IMAGES]
    squared = squared_distances(real[chosen], real[chosen])
    sigma = float(np.sqrt(np.median(squared[np.triu_indices(len(chosen), 1)])))
    if sigma == 0.0:
        raise ValueError(f"more than half of {len(chosen)} real images are equal: no width follows")
    result, _ = mmd_per_sigma(
        real, generated, seed=seed, permutations=permutations, sigmas=(sigma,)
    )
    return dataclasses.replace(result, metric="mmd/median", note=f"sigma {sigma:.6g}")


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """MMD^2 of S kernels; total, p and null belong to the sum of the kernels."""

    biased: np.ndarray  # [S] V-statistic: with the diagonals
    unbiased: np.ndarray  # [S] U-statistic: without
    stderr: np.ndarray  # [S] of the unbiased form
    total_stderr: float  # of the sum of ``unbiased``
    p: float | None  # of the sum, by permutation
    null: np.ndarray  # [B] unbiased sums under shuffled labels


def gaussian_kernels(x: jax.Array, y: jax.Array, *, sigmas: tuple[float, ...]) -> list:
    """Return exp(-|x - y|^2 / (2 sigma^2)) - 1 for each sigma, matrices ``[n, m]``.

    A constant does not change MMD^2, and without it wide kernels keep their digits. Where widths
    double, as the published ones do, the fourth power of a kernel is the next narrower one, which
    costs less than an exponential.
    """
    norms = [jnp.sum(rows * rows, axis=1) for rows in (x, y)]
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squared = jnp.maximum(norms[0][:, None] + norms[1][None, :] - 2.0 * product, 0.0)
    values: dict[float, jax.Array] = {}
    for sigma in sorted(sigmas, reverse=True):
        wider = values.get(2.0 * sigma)
        if wider is None:
            values[sigma] = jnp.expm1(squared * (-0.5 / sigma**2))
        else:  # (1 + wider)^4 - 1
            values[sigma] = wider * (4.0 + wider * (6.0 + wider * (4.0 + wider)))
    return [values[sigma] for sigma in sigmas]


def polynomial_kernel(x: jax.Array, y: jax.Array, *, degree: int) -> list:
    """Return (x y / D + 1)^degree, one matrix ``[n, m]``."""
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return [(product / x.shape[1] + 1.0) ** degree]


def discrepancy(
    x: np.ndarray,
    y: np.ndarray,
    kernel: Callable[..., list],
    *,
    permutations: int = 0,
    seed: int = 0,
    **options,
) -> Discrepancy:
    """Return MMD^2 between rows ``[N, D]`` and ``[M, D]``; without permutations it has no p.

    ``kernel`` takes ``[n, D]``, ``[m, D]`` and the options, which must be hashable, and returns S
    matrices ``[n, m]``.
    """
    n, m = len(x), len(y)
    labels = shuffled_labels(n, m, permutations, seed=seed)
    sums, diagonal, inside = _kernel_sums(
        x, y, functools.partial(_block, kernel, **options), labels
    )
    biased = _by_sample(sums, np.zeros_like(diagonal), n, n * n, m * m)
    unbiased = _by_sample(sums, diagonal, n, n * (n - 1), m * (m - 1))
    observed, *null = _under_labels(sums.sum(0), diagonal.sum(0), inside, labels)
    variance = _first_order_variance(sums.sum(0)[None], diagonal.sum(0)[None], n)[0]
    if permutations:
        # The plug-in variance holds that of equal distributions twice over; never go below it.
        chance = float(np.var(null))
        variance = max(variance - chance, chance)
    return Discrepancy(
        biased=biased,
        unbiased=unbiased,
        stderr=np.sqrt(_first_order_variance(sums, diagonal, n)),
        total_stderr=float(np.sqrt(variance)),
        p=permutation_p(observed, np.array(null)) if permutations else None,
        null=np.array(null),
    )


@functools.partial(jax.jit, static_argnums=0, static_argnames=("degree", "sigmas"))
def _block(kernel, x, y, x_marks, y_marks, **options) -> tuple:
    """Return the sums of one block by row and column, of marked rows, and its diagonal."""
    values = kernel(x, y, **options)  # one by one: stacked they take four times as long
    total = sum(values)
    marked = [
        jnp.matmul(matrix, marks, precision=jax.lax.Precision.HIGHEST)
        for matrix, marks in ((total, y_marks), (total.T, x_marks))
    ]
    sums = [jnp.stack([matrix.sum(axis) for matrix in values]) for axis in (1, 0)]
    return *sums, *marked, jnp.stack([jnp.diagonal(matrix) for matrix in values])


def _kernel_sums(x: np.ndarray, y: np.ndarray, block: Callable, labels: np.ndarray) -> tuple:
    """Sum the kernel matrix of the pooled rows, N of x and M of y.

    Returns:
        Sums ``[S, N + M, 2]`` of each row over x and over y, the diagonal ``[S, N + M]``, and
        ``[N + M, B]`` the sums of each row, over all kernels, with the rows marked in
        ``labels``.
    """
    pieces = [
        (side, slice(start, min(start + _BLOCK, stop)))
        for side, (first, stop) in enumerate(((0, len(x)), (len(x), len(x) + len(y))))
        for start in range(first, stop, _BLOCK)
    ]
    held = [
        (
            jnp.asarray(
                (x, y)[side][at.start - side * len(x) : at.stop - side * len(x)], jnp.float32
            ),
            jnp.asarray(labels[at, 1:], jnp.float32),
        )
        for side, at in pieces
    ]
    inside, sums, diagonal = np.zeros(labels.shape), 0.0, 0.0
    for (i, (row_side, rows)), (j, (column_side, columns)) in itertools.product(
        enumerate(pieces), repeat=2
    ):
        if i > j:
            continue  # the transpose of a block that is done
        parts = block(held[i][0], held[j][0], held[i][1], held[j][1])
        by_row, by_column, row_marked, column_marked, corner = (
            np.asarray(part, np.float64) for part in parts
        )
        if i == j == 0:
            sums = np.zeros((len(by_row), len(labels), 2))
            diagonal = np.zeros((len(by_row), len(labels)))
        sums[:, rows, column_side] += by_row
        inside[rows, 1:] += row_marked
        if i == j:
            diagonal[:, rows] = corner
        if i < j:
            sums[:, columns, row_side] += by_column
            inside[columns, 1:] += column_marked
    inside[:, 0] = sums[:, :, 0].sum(0)  # the first labelling marks x
    return sums, diagonal, inside


def _by_sample(sums: np.ndarray, diagonal: np.ndarray, n: int, x_pairs: int, y_pairs: int):
    """Return MMD^2 ``[S]`` from sums over rows, less a diagonal, at given numbers of pairs."""
    within_x = (sums[:, :n, 0].sum(1) - diagonal[:, :n].sum(1)) / x_pairs
    within_y = (sums[:, n:, 1].sum(1) - diagonal[:, n:].sum(1)) / y_pairs
    across = sums[:, :n, 1].sum(1) / (n * (sums.shape[1] - n))
    return within_x + within_y - 2.0 * across


def _under_labels(
    sums: np.ndarray, diagonal: np.ndarray, inside: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the unbiased MMD^2 ``[B]`` of one kernel if the marked rows were the first sample."""
    n = int(labels[:, 0].sum())
    m = len(labels) - n
    by_row = sums.sum(1)
    within = np.einsum("ib,ib->b", labels, inside)
    across = by_row @ labels - within
    other = by_row.sum() - within - 2.0 * across
    own = diagonal @ labels
    return (
        (within - own) / (n * (n - 1))
        + (other - diagonal.sum() + own) / (m * (m - 1))
        - 2.0 * across / (n * m)
    )


def _first_order_variance(sums: np.ndarray, diagonal: np.ndarray, n: int) -> np.ndarray:
    """Return the variance ``[S]`` of the unbiased MMD^2 from how its terms vary among the rows.

    It is the leading term of a U-statistic of degree two: 4 / n times the variance of the mean
    of the pairs that hold one row.
    """
    m = sums.shape[1] - n
    of_x = (sums[:, :n, 0] - diagonal[:, :n]) / (n - 1) - sums[:, :n, 1] / m
    of_y = (sums[:, n:, 1] - diagonal[:, n:]) / (m - 1) - sums[:, n:, 0] / n
    return 4.0 * (of_x.var(axis=1, ddof=1) / n + of_y.var(axis=1, ddof=1) / m)


METRICS = (
    Metric(
        "mmd/paper",
        on_pixels(mmd_paper),
        "biased MMD^2 of pixels, six Gaussians of sigma 2^10..2^15 summed, mean over batches of "
        "10,000 or of all images if fewer",
    ),
    Metric(
        "mmd/unbiased",
        on_pixels(mmd_per_sigma, draws="permutations"),
        "unbiased MMD^2 of pixels, those Gaussians summed or the one named; p by permutation",
    ),
    Metric(
        "mmd/median",
        on_pixels(mmd_median, draws="permutations"),
        "unbiased MMD^2 of pixels, one Gaussian as wide as the median distance of real images; p "
        "by permutation",
    ),
)
