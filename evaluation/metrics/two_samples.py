"""Statistics of two samples, with permutation p-values and errors from halves of both."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

_BLOCK_ELEMENTS = 2**22

Statistic = Callable[[np.ndarray, float, np.ndarray, float], float]


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

    The p-values are right for ties as well. Errors are the spread over random halves of both
    samples, which is about that over new samples of full size.
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
