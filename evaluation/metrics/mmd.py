"""Maximum mean discrepancy (MMD^2) of images: as published, unbiased, by width, with p."""

import dataclasses

import numpy as np

from evaluation.metrics.discrepancy import discrepancy, gaussian_kernels
from evaluation.metrics.distances import squared_distances
from evaluation.metrics.result import Result
from evaluation.metrics.subsampling import as_rows, equal_batches, mean_and_stderr, reduced_size

PAPER_SIGMAS = tuple(2.0**k for k in range(10, 16))
PAPER_BATCH = 10_000
_MEDIAN_IMAGES = 1_000  # for the width of the median heuristic


def mmd_paper(
    real: np.ndarray, generated: np.ndarray, *, seed: int, batch: int = PAPER_BATCH
) -> Result:
    """Return MMD^2 as arXiv:2307.13687, Fig. 6: biased, six Gaussians summed, no square root.

    Args:
        real: images ``[N, D]``.
        generated: images ``[M, D]``.
        seed: of the batches.
        batch: images of a disjoint batch, over which the mean is taken; published: 10,000.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    found = [
        discrepancy(first, second, gaussian_kernels, sigmas=PAPER_SIGMAS)
        for first, second in equal_batches(real, generated, size, seed=seed)
    ]
    mean, stderr = mean_and_stderr([float(one.biased.sum()) for one in found])
    return Result(
        "mmd/paper" if batch == PAPER_BATCH else f"mmd/batch{batch}",
        mean,
        found[0].total_stderr if stderr is None else stderr,
        n=size * len(found),
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

    Widths beyond 2^13 see little but the difference of the mean images.

    Args:
        real: images ``[N, D]``.
        generated: images ``[M, D]``.
        seed: of the permutations.
        permutations: of the labels; 0 gives no p.
        sigmas: widths of the Gaussians.
    """
    real, generated = as_rows(real, generated)
    found = discrepancy(
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
        Result(total, float(found.unbiased.sum()), found.total_stderr, p=found.p, n=n),
        *(
            Result(f"mmd/unbiased/sigma{sigma:g}", float(value), float(stderr), n=n)
            for sigma, value, stderr in zip(sigmas, found.unbiased, found.stderr, strict=True)
        ),
    )


def mmd_unbiased(
    real: np.ndarray, generated: np.ndarray, *, seed: int, permutations: int = 200
) -> Result:
    """Return the unbiased MMD^2 of the six published Gaussians summed, with p by permutation."""
    return mmd_per_sigma(real, generated, seed=seed, permutations=permutations)[0]


def mmd_median(
    real: np.ndarray, generated: np.ndarray, *, seed: int, permutations: int = 200
) -> Result:
    """Return the unbiased MMD^2 of one Gaussian as wide as the median distance of real images.

    The width comes from at most 1,000 real images, so that it is one for all generated sets.
    """
    real, generated = as_rows(real, generated)
    some = np.random.default_rng(seed).permutation(len(real))[:_MEDIAN_IMAGES]
    squared = squared_distances(real[some], real[some])
    sigma = float(np.sqrt(np.median(squared[np.triu_indices(len(some), 1)])))
    if sigma == 0.0:
        raise ValueError(f"more than half of {len(some)} real images are equal: no width follows")
    found = mmd_per_sigma(real, generated, seed=seed, permutations=permutations, sigmas=(sigma,))[0]
    return dataclasses.replace(found, metric="mmd/median", note=f"sigma {sigma:.6g}")
