"""Batches of two sets, and the errors and p-values that come from drawing them again.

Batches, parts and permutations draw without replacement: a repeated image would be its own nearest
neighbour at distance zero, which biases transport, nearest-neighbour and Frechet distances alike.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 10  # of a set, for a standard error
HALVES = 20  # of both sets, for a standard error
_SMALLEST_PART = 10  # images; the spread of still smaller sets says little of larger ones
_BLOCK_ELEMENTS = 2**22  # of the marks of samples that are held at a time

# Of two sums of features over images, each with its number of images.
Statistic = Callable[[np.ndarray, float, np.ndarray, float], float]


def as_rows(real: np.ndarray, generated: np.ndarray, least: int = 2) -> tuple:
    """Return two sets ``[N, ...]`` and ``[M, ...]`` as rows of numbers ``[N, D]`` and ``[M, D]``.

    Raises:
        ValueError: if the rows differ in length, a number is not finite, or a set has fewer than
            ``least`` images.
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
    real: np.ndarray, generated: np.ndarray, size: int, *, count: int | None = None, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut both shuffled sets of rows into disjoint batches of ``size``, paired in their order.

    There are ``count`` batches, or as many as fit if it is None.

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
    real: np.ndarray, generated: np.ndarray, *, seed: int, smallest: int = _SMALLEST_PART
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ten pairs of disjoint parts of both sets, or none if they are below ``smallest``."""
    size = min(len(real), len(generated)) // PARTS
    if size < smallest:
        return []
    return equal_batches(real, generated, size, count=PARTS, seed=seed)


def parts_stderr(
    metric: Callable[[np.ndarray, np.ndarray], float],
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
) -> float | None:
    """Return the standard error of ``metric`` from its spread over disjoint parts of both sets.

    The variance of a smooth functional of two samples falls as 1 / n, so that of the whole is
    the one among the parts over their number; their common bias drops out. Metrics that vary
    less in equal distributions (MMD, Frechet) get an error that is too large there.

    Returns:
        The error, or None if a part would hold fewer than ten images.
    """
    pairs = disjoint_parts(real, generated, seed=seed)
    return mean_and_stderr([metric(*pair) for pair in pairs])[1] if pairs else None


def random_halves(
    n: int, m: int, *, seed: int, smallest: int = _SMALLEST_PART
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rising places of twenty random halves of two sets of n and m, or none if too small.

    The spread of a statistic over the halves is about that over new samples of full size: halves
    vary twice as much, but share half of it. Unlike tenths they are hardly noisier than the whole,
    so it is also right where noise changes how a statistic answers (W1 near zero, neighbours).
    """
    if min(n, m) // 2 < smallest:
        return []
    rng = np.random.default_rng([seed, 4])
    return [
        tuple(np.sort(rng.permutation(count)[: count // 2]) for count in (n, m))
        for _ in range(HALVES)
    ]


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of independent ``values`` and its standard error, None if there is one."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the probability of ``observed`` or more among values of re-shuffled labels ``[B]``.

    The observed labels count as one of the shuffled ones: this keeps the test exact for any B, and
    p above zero.
    """
    return float((1 + np.count_nonzero(np.asarray(null) >= observed)) / (1 + len(null)))


def shuffled_labels(n: int, m: int, count: int, *, seed: int) -> np.ndarray:
    """Return bool ``[n + m, 1 + count]``: the first n pooled rows marked, then n at random."""
    rng = np.random.default_rng([seed, 1])
    labels = np.zeros((n + m, 1 + count), bool)
    labels[:n] = True
    labels[:, 1:] = rng.permuted(labels[:, 1:], axis=0)
    return labels


@dataclass(frozen=True)
class Tested:
    """A statistic, its error, and how often equal samples give at least as much."""

    value: float
    stderr: float
    p: float


def line_tests(
    a: np.ndarray, b: np.ndarray, *, seed: int, permutations: int, halves: int
) -> tuple[Tested, Tested]:
    """Return the Kolmogorov-Smirnov and the 1-D Wasserstein distance of samples ``[n]``, ``[m]``.

    The p-values are also right with ties. Errors are the spread over random halves of both samples,
    which is about the spread over new samples of full size.
    """
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([a, b]).astype(np.float64)
    order = np.argsort(pooled, kind="stable")
    pooled, is_a = pooled[order], (order < len(a)).astype(np.float64)
    gaps = np.diff(pooled)  # where it is 0, two values are tied and the distance means nothing

    def distances(in_a: np.ndarray, in_b: np.ndarray) -> np.ndarray:
        """Return both distances ``[k, 2]`` of samples marked in ``[k, n + m]``."""
        size_a, size_b = (marks.sum(axis=1, keepdims=True) for marks in (in_a, in_b))
        # Differences of whole numbers, so that equal samples are at exactly zero.
        lead = np.cumsum(in_a, axis=1) * size_b - np.cumsum(in_b, axis=1) * size_a
        lead = np.abs(lead[:, :-1]) / (size_a * size_b)
        return np.stack([(lead * (gaps > 0)).max(axis=1, initial=0.0), lead @ gaps], axis=1)

    observed = distances(is_a[None], 1.0 - is_a[None])[0]
    step = max(1, _BLOCK_ELEMENTS // len(pooled))
    shuffled = [
        distances(marks, 1.0 - marks)
        for count in _parts(permutations, step)
        for marks in [rng.permuted(np.tile(is_a, (count, 1)), axis=1)]
    ]
    split = [
        distances(is_a * kept, (1.0 - is_a) * kept)
        for count in _parts(halves, step)
        for kept in [np.stack([_half_of_each(is_a, rng) for _ in range(count)])]
    ]
    null, spread = np.concatenate(shuffled), np.concatenate(split).std(axis=0, ddof=1)
    p = [_p_value(observed[k], null[:, k]) for k in range(2)]
    ks, w1 = (Tested(float(observed[k]), float(spread[k]), p[k]) for k in range(2))
    return ks, w1


def sum_tests(
    blocks: Callable[[], Iterable[np.ndarray]],
    counts: tuple[int, int],
    statistics: dict[str, Statistic],
    *,
    seed: int,
    permutations: int,
    halves: int,
) -> dict[str, Tested]:
    """Test statistics that depend on the sums of per-image features over either sample only.

    Args:
        blocks: yields the features ``[k, d]`` of all images in order, first sample first.
        counts: images of the first and of the second sample.
        statistics: by name, functions of the first sum ``[d]``, its images, the second, its images.
        seed: of the permutations and halves.
        permutations: of images between the samples, for p.
        halves: random halves of both, for the error.
    """
    rng = np.random.default_rng(seed)
    is_a = np.arange(sum(counts)) < counts[0]
    shuffled = [rng.permutation(is_a) for _ in range(permutations)]
    kept = [_half_of_each(is_a, rng).astype(bool) for _ in range(halves)]
    marks = np.array([is_a, *shuffled, *(k & is_a for k in kept), *(k & ~is_a for k in kept)])
    sums, total, start = 0.0, 0.0, 0
    for block in blocks():
        block = block.astype(np.float64)
        sums = sums + marks[:, start : start + len(block)].astype(np.float64) @ block
        total = total + block.sum(axis=0)
        start += len(block)

    first = 1 + permutations
    half = tuple(count // 2 for count in counts)
    tested = {}
    for name, statistic in statistics.items():
        value = statistic(sums[0], counts[0], total - sums[0], counts[1])
        null = [statistic(s, counts[0], total - s, counts[1]) for s in sums[1:first]]
        parts = zip(sums[first : first + halves], sums[first + halves :], strict=True)
        spread = np.std([statistic(x, half[0], y, half[1]) for x, y in parts], ddof=1)
        tested[name] = Tested(float(value), float(spread), _p_value(value, np.array(null)))
    return tested


def histogram_tests(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    a: np.ndarray,
    b: np.ndarray,
    *,
    seed: int,
    permutations: int,
) -> Tested:
    """Test a statistic of two histograms ``[k]``: p by permutation, error by bootstrap."""
    rng = np.random.default_rng(seed)
    size_a, size_b = int(a.sum()), int(b.sum())
    value = statistic(a, b)
    drawn = rng.multivariate_hypergeometric(a + b, size_a, size=permutations, method="marginals")
    null = np.array([statistic(x, a + b - x) for x in drawn])
    again = [
        statistic(rng.multinomial(size_a, a / size_a), rng.multinomial(size_b, b / size_b))
        for _ in range(200)
    ]
    return Tested(float(value), float(np.std(again, ddof=1)), _p_value(value, null))


def _parts(total: int, step: int) -> list[int]:
    """Cut ``total`` into parts of at most ``step``."""
    return [min(step, total - start) for start in range(0, total, step)]


def _half_of_each(is_a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mark a random half of either sample."""
    marks = np.zeros(len(is_a))
    for member in (is_a == 1, is_a == 0):
        places = np.flatnonzero(member)
        marks[rng.permutation(places)[: len(places) // 2]] = 1.0
    return marks


def _p_value(value: float, null: np.ndarray) -> float:
    """Return the exact p-value; values that differ by rounding only count as equal."""
    least = value - 1e-9 * abs(value)
    return float((1 + np.count_nonzero(null >= least)) / (1 + len(null)))
