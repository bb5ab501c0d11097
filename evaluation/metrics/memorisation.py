"""Does a generator repeat its training images: nearness to them against test images, and copies."""

import hashlib
import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy.stats import fisher_exact, hypergeom, mannwhitneyu

from evaluation.metrics.nearest import Neighbours
from evaluation.metrics.subsampling import permutation_p

# Statistics of distances to nearest neighbours, with their errors and probabilities.

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


_BLOCK = 1024  # images


def distance_ratio(generated: np.ndarray, test: np.ndarray, *, seed: int) -> Compared:
    """Return the ratio of median distances to the training images, below 1 for memorisers.

    The training images are the same for both, so given them the distances of different images are
    independent, and the rank test of Mann and Whitney holds: p is how often generated images from
    the distribution of the test images are as near to the training images as these or nearer.

    Args:
        generated: distances ``[n]`` of generated images to their nearest training image.
        test: distances ``[m]`` of test images to theirs.
        seed: of the error, which is from drawing distances again.
    """
    below, above = np.median(generated), np.median(test)
    if above == 0.0:
        raise ValueError(
            f"half of {len(test)} test images are training images: choose a test set of others"
        )
    rng = np.random.default_rng(seed)
    numerators, denominators = (redrawn_medians(d, rng) for d in (generated, test))
    stderr = np.nanstd(numerators / np.where(denominators > 0, denominators, np.nan), ddof=1)
    return Compared(
        float(below / above), float(stderr), 1.0, rank_p(generated, test, alternative="less")
    )


def closest_share(generated: np.ndarray, test: np.ndarray, *, fraction: float = 0.01) -> Compared:
    """Return how many of the images nearest to the training images are generated.

    The ``fraction`` of all generated and test images that is nearest is looked at: a generator
    that repeats a few training images only shows there. In equal distributions the number is
    hypergeometric.

    Args:
        generated: distances ``[n]`` of generated images to their nearest training image.
        test: distances ``[m]`` of test images to theirs.
        fraction: of all images.
    """
    # Of equally near ones the test images come first, which favours the generator.
    pooled = np.concatenate([test, generated])
    count = math.ceil(fraction * len(pooled))
    nearest = np.argsort(pooled, kind="stable")[:count]
    hits = int((nearest >= len(test)).sum())
    share = hits / count
    chance = hypergeom(len(pooled), len(generated), count)
    stderr = math.sqrt(share * (1 - share) / count)
    return Compared(share, stderr, len(generated) / len(pooled), float(chance.sf(hits - 1)))


def copies(
    images: np.ndarray, pool: np.ndarray | None = None, *, turned: bool = False
) -> np.ndarray:
    """Say which of ``[N, H, W]`` images are in a pool, pixel by pixel: bool ``[N]``.

    Images without charge are all alike and count as no copies.

    Args:
        images: to look for.
        pool: ``[M, H, W]``; by default the images themselves, then an image needs another one.
        turned: find copies that are turned by quarters or mirrored as well, as far as the image
            size allows: 8 forms, or 4 of images that are not square.
    """
    if pool is None:
        counts = Counter(found := _digests(images, images.dtype, turned))
        is_copy = np.array([counts[digest] > 1 for digest in found], bool)
    else:
        dtype = np.result_type(images, pool)
        known = set(_digests(pool, dtype, turned))
        is_copy = np.array([d in known for d in _digests(images, dtype, turned)], bool)
    return is_copy & images.any(axis=(1, 2))


def more_p(hits: int, count: int, other_hits: int, other_count: int) -> float:
    """Return p of Fisher's exact test that hits are no more frequent than in the other sample."""
    table = [[hits, count - hits], [other_hits, other_count - other_hits]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _digests(images: np.ndarray, dtype: np.dtype, turned: bool) -> list[bytes]:
    """Return what tells images apart; with ``turned`` the same for all forms of an image."""
    found = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(dtype)
        block += dtype.type(0)  # minus zero is zero
        forms = _forms(block) if turned else [block]
        for same in zip(*forms, strict=True):
            # The smallest in the order of bytes stands for all.
            content = min(form.tobytes() for form in same)
            found.append(hashlib.blake2b(content, digest_size=16).digest())
    return found


def _forms(block: np.ndarray) -> list[np.ndarray]:
    """Return ``[N, H, W]`` images in all turned and mirrored forms of their size."""
    quarters = range(4) if block.shape[1] == block.shape[2] else (0, 2)
    turned = [np.rot90(block, k, axes=(1, 2)) for k in quarters]
    return [np.ascontiguousarray(form) for one in turned for form in (one, one[:, :, ::-1])]
