"""The metrics ``memorisation/``: does a generator repeat its training images?

Compares how near generated and test images are to the training images, and counts copies.
"""

import hashlib
import math
from collections import Counter

import numpy as np
from scipy.stats import fisher_exact, hypergeom

from evaluation.images.sets import Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.image_emd import emd_index
from evaluation.metrics.metric import Metric, Result, skipped
from evaluation.metrics.neighbours import (
    MOST_QUERIES,
    Compared,
    at_most,
    by_emd,
    by_l2,
    compared_row,
    equal_sets,
    nearest_of_two,
    rank_p,
    redrawn_medians,
)
from evaluation.metrics.resampling import permutation_p

_BLOCK = 1024  # images


def l2_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare distances of pixels to the nearest training image, of generated and real images."""
    train = pair.train
    if train is None:
        return _without_train(
            "memorisation/l2/nearer", "memorisation/l2/ratio", "memorisation/l2/closest"
        )
    queries = [at_most(image_set, MOST_QUERIES, seed) for image_set in (pair.generated, pair.real)]
    to_train = [by_l2(image_set, train) for image_set in queries]
    distances = [neighbours.distances[:, 0] for neighbours in to_train]
    nearer = first_set_share(
        nearest_of_two(to_train[0], by_l2(queries[0], pair.real), len(train)),
        (len(train), len(pair.real)),
        permutations=budget.permutations,
        seed=seed,
    )
    n = min(map(len, queries))
    sizes = [f"{len(image_set)} {image_set.name}" for image_set in (*queries, train)]
    note = "{} and {} images among {} images".format(*sizes)
    among = f"{sizes[0]} images among {sizes[2]} and {len(pair.real)} {pair.real.name} images"
    return [
        compared_row("memorisation/l2/nearer", nearer, len(queries[0]), among),
        compared_row("memorisation/l2/ratio", distance_ratio(*distances, seed=seed), n, note),
        compared_row("memorisation/l2/closest", closest_share(*distances), n, note),
    ]


def emd_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare image EMDs to the nearest training image, of some generated and real images."""
    train = pair.train
    if train is None:
        return _without_train("memorisation/emd/ratio")
    index = emd_index(train.images)
    sets = (pair.generated, pair.real)
    distances, notes = zip(
        *(by_emd(image_set, index, budget, seed) for image_set in sets), strict=True
    )
    ratio = distance_ratio(*distances, seed=seed)
    return [compared_row("memorisation/emd/ratio", ratio, min(map(len, distances)), *notes)]


def duplicate_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Count the generated images that are training images or each other."""
    real, generated, _ = equal_sets(pair, seed)
    copied, copied_real = (copies(image_set.images, turned=True) for image_set in (generated, real))
    floor, note = float(copied_real.mean()), _copies_note(generated.images, copied, None)
    metric, n = "memorisation/duplicates/generated", len(copied)
    own = Result(metric, float(copied.mean()), floor=floor, n=n, note=note)
    train = pair.train
    if train is None:
        names = ("memorisation/duplicates/train", "memorisation/duplicates/test")
        return [own, *_without_train(*names)]
    return [own, *_train_copies(pair, train.images)]


def first_set_share(
    nearest: np.ndarray, sizes: tuple[int, int], *, permutations: int, seed: int
) -> Compared:
    """Return how many images have their nearest neighbour in the first of two sets.

    If the two sets are alike, the sizes give the share of images that depend on neither of them,
    whatever their quality. For p the neighbours stay and the labels of the sets are shuffled.
    ``nearest [n]`` are places in both sets, one after the other.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(sum(sizes)) < sizes[0]
    share = float(labels[nearest].mean())
    null = np.array([rng.permutation(labels)[nearest].mean() for _ in range(permutations)])
    stderr = float(np.sqrt(share * (1 - share) / len(nearest)))
    return Compared(share, stderr, sizes[0] / sum(sizes), permutation_p(share, null))


def distance_ratio(generated: np.ndarray, test: np.ndarray, *, seed: int) -> Compared:
    """Return the ratio of median distances to the training images, below 1 if they are memorised.

    The distances ``[n]`` and ``[m]`` are those of generated and of test images to their nearest
    training image. The training images are the same for both, so given them the distances of
    different images are independent, and the rank test of Mann and Whitney holds: p is how often
    generated images from the distribution of the test images are as near to the training images as
    these or nearer. The error is from drawing distances again.
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

    The distances ``[n]`` and ``[m]`` are those of generated and of test images to their nearest
    training image. The ``fraction`` of all images that is nearest is looked at: a generator that
    repeats a few training images only shows there. In equal distributions the number is
    hypergeometric.
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
    """Say which of ``[N, H, W]`` images are in a pool ``[M, H, W]``, pixel by pixel: bool ``[N]``.

    Without a pool, an image needs another one like it. Images without charge are all alike and
    count as no copies. ``turned`` also finds copies that are turned by quarters or mirrored, as far
    as the image size allows: 8 forms, or 4 of images that are not square.
    """
    if pool is None:
        counts = Counter(digests := _digests(images, images.dtype, turned))
        is_copy = np.array([counts[digest] > 1 for digest in digests], bool)
    else:
        dtype = np.result_type(images, pool)
        known = set(_digests(pool, dtype, turned))
        is_copy = np.array([d in known for d in _digests(images, dtype, turned)], bool)
    return is_copy & images.any(axis=(1, 2))


def _train_copies(pair: Pair, train: np.ndarray) -> list[Result]:
    """Return how many generated and how many real images are training images."""
    images = [pair.generated.images, pair.real.images]
    both = copies(np.concatenate(images), train, turned=True)
    copied = np.split(both, [len(images[0])])
    notes = [
        _copies_note(images_of_set, which, train)
        for images_of_set, which in zip(images, copied, strict=True)
    ]
    (share, leak), (n, n_real) = ([f(which) for which in copied] for f in (np.mean, len))
    table = [[which.sum(), (~which).sum()] for which in copied]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    metrics = ("memorisation/duplicates/train", "memorisation/duplicates/test")
    return [
        Result(metrics[0], float(share), floor=float(leak), p=p, n=n, note=notes[0]),
        Result(metrics[1], float(leak), n=n_real, note=notes[1]),
    ]


def _copies_note(images: np.ndarray, is_copy: np.ndarray, pool: np.ndarray | None) -> str:
    """Say how many are copies, and how many of these as they are."""
    plain = copies(images[is_copy], pool) if pool is not None else copies(images)
    empty = int((~images.any(axis=(1, 2))).sum())
    counts = f"{is_copy.sum()} of {len(images)} images, {plain.sum()} of them as they are"
    return counts + (f"; {empty} without charge count as none" if empty else "")


def _without_train(*metrics: str) -> list[Result]:
    return [skipped(metric, "no training images: give --train") for metric in metrics]


def _digests(images: np.ndarray, dtype: np.dtype, turned: bool) -> list[bytes]:
    """Return what tells images apart; with ``turned`` the same for all forms of an image."""
    digests = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(dtype)
        block += dtype.type(0)  # minus zero is zero
        forms = _forms(block) if turned else [block]
        for same in zip(*forms, strict=True):
            # The smallest in the order of bytes stands for all.
            content = min(form.tobytes() for form in same)
            digests.append(hashlib.blake2b(content, digest_size=16).digest())
    return digests


def _forms(block: np.ndarray) -> list[np.ndarray]:
    """Return ``[N, H, W]`` images in all turned and mirrored forms of their size."""
    quarters = range(4) if block.shape[1] == block.shape[2] else (0, 2)
    turned = [np.rot90(block, k, axes=(1, 2)) for k in quarters]
    return [np.ascontiguousarray(form) for form in turned for form in (form, form[:, :, ::-1])]


METRICS = (
    Metric(
        "memorisation/l2",
        l2_rows,
        {
            "memorisation/l2/nearer": "share of generated images whose nearest image among "
            "training and real ones, by |x - y| of pixels, is a training image, floor: the "
            "training images' share of both; p by permutation of which are training images",
            "memorisation/l2/ratio": "median distance |x - y| of pixels from a generated image to "
            "the nearest training image, over that from a real one, small for faint and smooth "
            "images as well; p by rank test of being nearer",
            "memorisation/l2/closest": "share of generated ones among the 1 % of generated and "
            "real images that are nearest to a training image, by |x - y| of pixels; p "
            "hypergeometric",
        },
    ),
    Metric(
        "memorisation/emd",
        emd_rows,
        {
            "memorisation/emd/ratio": "median image EMD from a generated image to the nearest "
            "training image, over that from a real one; p by rank test of being nearer"
        },
    ),
    Metric(
        "memorisation/duplicates",
        duplicate_rows,
        {
            "memorisation/duplicates/train": "share of generated images that are training images, "
            "also turned by quarters or mirrored, floor: of real images; p by Fisher's exact test",
            "memorisation/duplicates/generated": "share of generated images that are there more "
            "than once, also turned by quarters or mirrored, floor: the same of as many real "
            "images",
            "memorisation/duplicates/test": "share of real images that are training images, also "
            "turned by quarters or mirrored: a leak between those sets",
        },
    ),
)
