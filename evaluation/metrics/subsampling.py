"""Batches without replacement, and the errors and probabilities that come from re-drawing.

Nothing here draws with replacement: a repeated image is its own nearest neighbour at distance
zero, which biases transport, nearest-neighbour and Frechet distances alike.
"""

from collections.abc import Callable, Sequence

import numpy as np

PARTS = 10  # of a set, for a standard error
_SMALLEST_PART = 10  # images; the spread of still smaller sets says little of larger ones


def as_rows(real: np.ndarray, generated: np.ndarray, least: int = 2) -> tuple:
    """Return two sets ``[N, ...]`` and ``[M, ...]`` as rows of numbers ``[N, D]`` and ``[M, D]``.

    Args:
        real: images or features.
        generated: images or features.
        least: images that the metric needs of each set.

    Raises:
        ValueError: if the rows differ in length, a number is not finite or images are too few.
    """
    real, generated = (np.asarray(rows) for rows in (real, generated))
    if real.ndim < 2 or generated.ndim < 2 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"real {real.shape} and generated {generated.shape} must be sets of equal things, "
            "[N, D] and [M, D]: crop or convert one of them"
        )
    for name, rows in (("real", real), ("generated", generated)):
        if len(rows) < least:
            raise ValueError(
                f"{len(rows)} {name} images, but this metric needs at least {least}: give more"
            )
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows.reshape(len(rows), -1))).any(axis=1).sum())
            raise ValueError(
                f"{bad} of {len(rows)} {name} images hold NaN or infinity: leave them out"
            )
    return real.reshape(len(real), -1), generated.reshape(len(generated), -1)


def reduced_size(wanted: int, *available: int) -> tuple[int, str]:
    """Return the number of images to use of ``wanted``, and a note if fewer were given."""
    size = min(wanted, *available)
    return size, f"reduced from {wanted} images to {size}: fewer were given" * (size < wanted)


def equal_batches(
    real: np.ndarray,
    generated: np.ndarray,
    size: int,
    *,
    count: int | None = None,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut both shuffled sets into disjoint batches of ``size`` rows, paired in their order.

    Args:
        real: rows ``[N, D]``.
        generated: rows ``[M, D]``.
        size: rows of a batch.
        count: batches; as many as fit if it is None.
        seed: of the shuffling.

    Raises:
        ValueError: if the sets do not hold ``count`` batches.
    """
    fitting = min(len(real), len(generated)) // size
    count = fitting if count is None else count
    if not 1 <= count <= fitting:
        raise ValueError(
            f"{count} batches of {size} images need {count * size}, got {len(real)} real and "
            f"{len(generated)} generated: give more or take smaller batches"
        )
    # Sets of one length share one shuffle: a set against itself is then at distance zero exactly.
    orders = [
        np.random.default_rng(seed).permutation(len(rows))[: count * size]
        for rows in (real, generated)
    ]
    return [
        (real[first], generated[second])
        for first, second in zip(*(order.reshape(count, size) for order in orders), strict=True)
    ]


def disjoint_parts(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    parts: int = PARTS,
    smallest: int = _SMALLEST_PART,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of disjoint parts of both sets; none if they would hold under ``smallest``."""
    size = min(len(real), len(generated)) // parts
    if size < smallest:
        return []
    return equal_batches(real, generated, size, count=parts, seed=seed)


def parts_stderr(
    metric: Callable[[np.ndarray, np.ndarray], float],
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    parts: int = PARTS,
) -> float | None:
    """Return the standard error of ``metric`` from its spread over disjoint parts of both sets.

    The variance of a smooth functional of two samples falls as 1 / n, so that of the whole is
    the one among the parts over their number; their common bias drops out. Metrics that vary
    less in equal distributions (MMD, Frechet) get an error that is too large there.

    Returns:
        The error, or None if a part would hold fewer than ten images.
    """
    pairs = disjoint_parts(real, generated, seed=seed, parts=parts)
    return mean_and_stderr([metric(*pair) for pair in pairs])[1] if pairs else None


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of independent ``values`` and its standard error, None if there is one."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the probability of ``observed`` or more among values of re-shuffled labels ``[B]``.

    The observed labelling counts as one of them, which keeps the test exact at any B and p
    above zero.
    """
    return float((1 + np.count_nonzero(np.asarray(null) >= observed)) / (1 + len(null)))


def shuffled_labels(n: int, m: int, count: int, *, seed: int) -> np.ndarray:
    """Return bool ``[n + m, 1 + count]``: the first n pooled rows marked, then n at random."""
    rng = np.random.default_rng([seed, 1])
    labels = np.zeros((n + m, 1 + count), bool)
    labels[:n] = True
    labels[:, 1:] = rng.permuted(labels[:, 1:], axis=0)
    return labels
