"""The metrics ``neighbours/``: how near images are to the nearest of their own or another set."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tqdm
from scipy.stats import mannwhitneyu

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.distances import Neighbours, nearest_by_l2
from evaluation.metrics.image_emd import EmdIndex, emd_index, nearest_by_emd
from evaluation.metrics.metric import FEWEST, Metric, Result, join_notes, with_origin
from evaluation.metrics.resampling import permutation_p

MOST_QUERIES = 10_000  # by pixels: 50,000 against 50,000 take an hour
_MOST_EMD_QUERIES = 100
_REDRAWINGS = 200


class Compared(NamedTuple):
    """A number, its standard error, what it is in equal distributions, and the probability."""

    value: float
    stderr: float
    expected: float
    p: float


def l2_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare distances of pixels to the nearest real image, and within the sets."""
    real, generated, other = (
        at_most(image_set, MOST_QUERIES, seed) for image_set in equal_sets(pair, seed)
    )
    to_real, to_generated, chance = (
        by_l2(queries, pool)
        for queries, pool in ((generated, real), (real, generated), (other, real))
    )
    own, own_real = (by_l2(image_set, image_set, own=True) for image_set in (generated, real))
    n = len(real)
    median, stderr = median_and_error(own.distances[:, 0], seed=seed)
    pooled = ((own_real, to_generated), (to_real, own))
    nearest = np.concatenate([nearest_of_two(*both, n) for both in pooled])
    mixed = mixing(nearest, n, permutations=budget.permutations, seed=seed)
    distances = (neighbours.distances[:, 0] for neighbours in (to_real, chance))
    return [
        _against_floor("neighbours/l2/real", *distances, pair, seed=seed),
        Result("neighbours/l2/own", median, stderr, float(np.median(own_real.distances)), n=n),
        compared_row("neighbours/l2/mixing", mixed, n),
    ]


def emd_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare image EMDs from some images to the nearest real one."""
    real, generated, other = equal_sets(pair, seed)
    index = emd_index(real.images)
    (distances, note), (floors, _) = (
        by_emd(image_set, index, budget, seed) for image_set in (generated, other)
    )
    row = _against_floor("neighbours/emd", distances, floors, pair, seed=seed)
    return [dataclasses.replace(row, note=join_notes(note, row.note))]


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


def nearest_of_two(first: Neighbours, second: Neighbours, count: int) -> np.ndarray:
    """Return the nearer ``[n]`` of two nearest neighbours, in sets of ``count`` and more images.

    Places in the second set come after those of the first, which has the equally near ones.
    """
    is_first = first.distances[:, 0] <= second.distances[:, 0]
    return np.where(is_first, first.places[:, 0], count + second.places[:, 0])


def mixing(nearest: np.ndarray, first: int, *, permutations: int, seed: int) -> Compared:
    """Return how many images have their nearest neighbour in their own set, half in mixed ones.

    Sets that keep to themselves are told apart by this, whether they lie elsewhere or are denser
    (Schilling, J. Am. Stat. Assoc. 81, 1986). ``nearest [n + m]`` is the place of the nearest
    neighbour of each pooled image, the n of the ``first`` set before the others. For p the
    neighbours stay and the labels are shuffled.
    """
    count = len(nearest)
    rng = np.random.default_rng(seed)
    labels = np.arange(count) < first
    share = float((labels == labels[nearest]).mean())
    shuffled = (rng.permutation(labels) for _ in range(permutations))
    null = np.array([(marks == marks[nearest]).mean() for marks in shuffled])
    second = count - first
    expected = (first * (first - 1) + second * (second - 1)) / (count * (count - 1))
    stderr = float(np.sqrt(share * (1 - share) / count))
    return Compared(share, stderr, expected, permutation_p(share, null))


def equal_sets(pair: Pair, seed: int) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Return real, generated and other real images, as many of each."""
    equal = pair.equal_sizes(seed=seed)
    equal.real.require(FEWEST)
    return equal.real, equal.generated, equal.floor[1]


def at_most(image_set: ImageSet, count: int, seed: int) -> ImageSet:
    """Return a random part of a set that is larger."""
    if len(image_set) <= count:
        return image_set
    return image_set.take(
        np.sort(np.random.default_rng([seed, 3]).permutation(len(image_set))[:count])
    )


def by_l2(queries: ImageSet, pool: ImageSet, *, own: bool = False) -> Neighbours:
    """Find the nearest image of each query by pixels."""
    for image_set in (queries, pool):
        image_set.require(FEWEST)
    return nearest_by_l2(queries.images, pool.images, count=1, own=own)


def by_emd(
    image_set: ImageSet, index: EmdIndex, budget: Budget, seed: int
) -> tuple[np.ndarray, str]:
    """Return the distances of random images to their nearest by transport, and a note."""
    count = _MOST_EMD_QUERIES
    if budget.generated is not None:
        count = int(np.clip(budget.generated // 100, FEWEST, _MOST_EMD_QUERIES))
    lit = image_set.take(np.flatnonzero(image_set.images.any(axis=(1, 2))))
    lit.require(FEWEST)
    images = at_most(lit, count, seed).images
    bar = tqdm.tqdm(images, unit="img", desc="image EMD", leave=False)
    neighbours = [nearest_by_emd(image, index, count=1) for image in bar]
    solves = sum(one_nearest.solves for one_nearest in neighbours)
    note = f"{len(images)} {image_set.name} images, {solves} of {len(images) * len(index)} solved"
    empty = len(image_set) - len(lit)
    left_out = f", {empty} without charge left out" if empty else ""
    return np.concatenate([one_nearest.distances for one_nearest in neighbours]), note + left_out


def _against_floor(
    metric: str, distances: np.ndarray, floors: np.ndarray, pair: Pair, *, seed: int
) -> Result:
    """Return a row of the distances of generated images; the floor is that of other real images."""
    median, stderr = median_and_error(distances, seed=seed)
    return Result(
        metric,
        median,
        stderr,
        floor=float(np.median(floors)),
        p=rank_p(distances, floors),
        n=len(distances),
        note=with_origin("", pair),
    )


def compared_row(metric: str, tested: Compared, n: int, *notes: str) -> Result:
    """Return the row of a number that comes with its own floor."""
    value, stderr, expected, p = tested
    return Result(metric, value, stderr, floor=expected, p=p, n=n, note=join_notes(*notes))


METRICS = (
    Metric(
        "neighbours/l2",
        l2_rows,
        {
            "neighbours/l2/real": "median distance |x - y| of pixels from a generated image to the "
            "nearest real one, floor: from other real images; p by rank test, two-sided",
            "neighbours/l2/own": "median distance |x - y| of pixels from a generated image to the "
            "nearest other generated one, floor: the same of real images",
            "neighbours/l2/mixing": "share of real and generated images whose nearest neighbour "
            "among all, by |x - y| of pixels, is of their own set, floor: that of shuffled sets; p "
            "by permutation",
        },
    ),
    Metric(
        "neighbours/emd",
        emd_rows,
        "median image EMD in pixels from a generated image to the nearest real one, floor: from "
        "other real images; p by rank test, two-sided",
    ),
)
