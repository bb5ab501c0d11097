"""Does a generator repeat its training images: nearness to them against test images, and copies."""

import hashlib
import math
from collections import Counter

import numpy as np
from scipy.stats import fisher_exact, hypergeom

from evaluation.neighbour_tests import Compared, rank_p, redrawn_medians

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
