"""Statistics of distances to nearest neighbours, with their errors and probabilities."""

from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

from evaluation.nearest import Neighbours
from evaluation.subsampling import permutation_p

_REDRAWINGS = 200


class Compared(NamedTuple):
    """A number, its standard error, what it is in equal distributions, and the probability."""

    value: float
    stderr: float
    expected: float
    p: float


def rank_p(first: np.ndarray, second: np.ndarray, *, alternative: str = "two-sided") -> float:
    """Return p of the rank test of Mann and Whitney of two samples ``[n]`` and ``[m]``."""
    if np.ptp(np.concatenate([first, second])) == 0.0:
        return 1.0  # all equal: SciPy divides by their spread
    return float(mannwhitneyu(first, second, alternative=alternative).pvalue)


def redrawn_medians(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return medians of independent values ``[n]`` drawn again, with replacement."""
    return np.median(rng.choice(values, (_REDRAWINGS, len(values))), axis=1)


def median_and_error(values: np.ndarray, *, seed: int) -> tuple[float, float]:
    """Return the median of ``[n]`` values and its error, as if they were independent."""
    spread = redrawn_medians(values, np.random.default_rng(seed)).std(ddof=1)
    return float(np.median(values)), float(spread)


def first_set_share(
    nearest: np.ndarray, sizes: tuple[int, int], *, permutations: int, seed: int
) -> Compared:
    """Return how many images have their nearest neighbour in the first of two sets.

    Images that know of neither set, which are alike, have as many there as its size says. Their
    own quality does not matter. The neighbours stay, the labels of the sets are shuffled.

    Args:
        nearest: place ``[n]`` of the nearest neighbour in both sets, one after the other.
        sizes: of the sets.
        permutations: of the labels.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(sum(sizes)) < sizes[0]
    share = float(labels[nearest].mean())
    null = np.array([rng.permutation(labels)[nearest].mean() for _ in range(permutations)])
    stderr = float(np.sqrt(share * (1 - share) / len(nearest)))
    return Compared(share, stderr, sizes[0] / sum(sizes), permutation_p(share, null))


def nearest_of_two(first: Neighbours, second: Neighbours, count: int) -> np.ndarray:
    """Return the nearer ``[n]`` of two nearest neighbours, in sets of ``count`` and more images.

    Places in the second set come after those of the first, which has the equally near ones.
    """
    is_first = first.distances[:, 0] <= second.distances[:, 0]
    return np.where(is_first, first.places[:, 0], count + second.places[:, 0])


def mixing(nearest: np.ndarray, first: int, *, permutations: int, seed: int) -> Compared:
    """Return how many images have their nearest neighbour in their own set, half in mixed ones.

    Sets that keep to themselves are told apart by this, whether they lie elsewhere or are denser
    (Schilling, J. Am. Stat. Assoc. 81, 1986). The neighbours stay, the labels are shuffled.

    Args:
        nearest: place ``[n + m]`` of the nearest neighbour of each pooled image.
        first: images of the first set, n.
        permutations: of the labels.
        seed: of the permutations.
    """
    count = len(nearest)
    rng = np.random.default_rng(seed)
    labels = np.arange(count) < first
    share = float((labels == labels[nearest]).mean())
    shuffled = (rng.permutation(labels) for _ in range(permutations))
    null = np.array([(some == some[nearest]).mean() for some in shuffled])
    second = count - first
    expected = (first * (first - 1) + second * (second - 1)) / (count * (count - 1))
    stderr = float(np.sqrt(share * (1 - share) / count))
    return Compared(share, stderr, expected, permutation_p(share, null))
