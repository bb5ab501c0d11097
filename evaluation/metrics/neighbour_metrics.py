"""The metrics of nearest images and of copies, in one table."""

import dataclasses
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import tqdm

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.image_emd import EmdIndex, emd_index
from evaluation.metrics.memorisation import (
    Compared,
    closest_share,
    copies,
    distance_ratio,
    first_set_share,
    median_and_error,
    mixing,
    more_p,
    nearest_of_two,
    rank_p,
)
from evaluation.metrics.nearest import Neighbours, nearest_by_emd, nearest_by_l2
from evaluation.metrics.result import Result, join_notes

Rows = Callable[[Pair, Budget, int], list[Result]]

_FEWEST = 20
_MOST_QUERIES = 10_000  # by pixels: 50,000 against 50,000 take an hour
_MOST_EMD_QUERIES = 100

DEFINITIONS = MappingProxyType(
    {
        "neighbours/l2/real": "median distance |x - y| of pixels from a generated image to the "
        "nearest real one, floor: from other real images; p by rank test, two-sided",
        "neighbours/l2/own": "median distance |x - y| of pixels from a generated image to the "
        "nearest other generated one, floor: the same of real images",
        "neighbours/l2/mixing": "share of real and generated images whose nearest neighbour among "
        "all, by |x - y| of pixels, is of their own set, floor: that of shuffled sets; p by "
        "permutation",
        "neighbours/emd": "median image EMD in pixels from a generated image to the nearest real "
        "one, floor: from other real images; p by rank test, two-sided",
        "memorisation/l2/nearer": "share of generated images whose nearest image among training "
        "and real ones, by |x - y| of pixels, is a training image, floor: the training images' "
        "share of both; p by permutation of which are training images",
        "memorisation/l2/ratio": "median distance |x - y| of pixels from a generated image to the "
        "nearest training image, over that from a real one, small for faint and smooth images as "
        "well; p by rank test of being nearer",
        "memorisation/l2/closest": "share of generated ones among the 1 % of generated and real "
        "images that are nearest to a training image, by |x - y| of pixels; p hypergeometric",
        "memorisation/emd/ratio": "median image EMD from a generated image to the nearest "
        "training image, over that from a real one; p by rank test of being nearer",
        "memorisation/duplicates/train": "share of generated images that are training images, be "
        "it turned by quarters or mirrored, floor: of real images; p by Fisher's exact test",
        "memorisation/duplicates/generated": "share of generated images that are there more than "
        "once, be it turned by quarters or mirrored, floor: the same of as many real images",
        "memorisation/duplicates/test": "share of real images that are training images, be it "
        "turned by quarters or mirrored: a leak between those sets",
    }
)


def l2_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare distances of pixels to the nearest real image, and within the sets."""
    real, generated, other = (_at_most(one, _MOST_QUERIES, seed) for one in _equal(pair, seed))
    to_real, to_generated, chance = (
        _by_l2(queries, pool)
        for queries, pool in ((generated, real), (real, generated), (other, real))
    )
    own, own_real = (_by_l2(one, one, own=True) for one in (generated, real))
    n = len(real)
    median, stderr = median_and_error(own.distances[:, 0], seed=seed)
    pooled = ((own_real, to_generated), (to_real, own))
    nearest = np.concatenate([nearest_of_two(*both, n) for both in pooled])
    mixed = mixing(nearest, n, permutations=budget.permutations, seed=seed)
    distances = (one.distances[:, 0] for one in (to_real, chance))
    return [
        _against_floor("neighbours/l2/real", *distances, pair, seed=seed),
        Result("neighbours/l2/own", median, stderr, float(np.median(own_real.distances)), n=n),
        _row("neighbours/l2/mixing", mixed, n),
    ]


def emd_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare image EMDs from some images to the nearest real one."""
    real, generated, other = _equal(pair, seed)
    index = emd_index(real.images)
    (found, note), (chance, _) = (_by_emd(one, index, budget, seed) for one in (generated, other))
    row = _against_floor("neighbours/emd", found, chance, pair, seed=seed)
    return [dataclasses.replace(row, note=join_notes(note, row.note))]


def memorisation_l2_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare distances of pixels to the nearest training image, of generated and real images."""
    train = pair.train
    if train is None:
        return _without_train(
            "memorisation/l2/nearer", "memorisation/l2/ratio", "memorisation/l2/closest"
        )
    queries = [_at_most(one, _MOST_QUERIES, seed) for one in (pair.generated, pair.real)]
    found = [_by_l2(one, train) for one in queries]
    distances = [one.distances[:, 0] for one in found]
    nearer = first_set_share(
        nearest_of_two(found[0], _by_l2(queries[0], pair.real), len(train)),
        (len(train), len(pair.real)),
        permutations=budget.permutations,
        seed=seed,
    )
    n = min(map(len, queries))
    sizes = [f"{len(one)} {one.name}" for one in (*queries, train)]
    note = "{} and {} images among {} images".format(*sizes)
    among = f"{sizes[0]} images among {sizes[2]} and {len(pair.real)} {pair.real.name} images"
    return [
        _row("memorisation/l2/nearer", nearer, len(queries[0]), among),
        _row("memorisation/l2/ratio", distance_ratio(*distances, seed=seed), n, note),
        _row("memorisation/l2/closest", closest_share(*distances), n, note),
    ]


def memorisation_emd_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare image EMDs to the nearest training image, of some generated and real images."""
    train = pair.train
    if train is None:
        return _without_train("memorisation/emd/ratio")
    index = emd_index(train.images)
    sets = (pair.generated, pair.real)
    distances, notes = zip(*(_by_emd(one, index, budget, seed) for one in sets), strict=True)
    ratio = distance_ratio(*distances, seed=seed)
    return [_row("memorisation/emd/ratio", ratio, min(map(len, distances)), *notes)]


def duplicate_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Count the generated images that are training images or each other."""
    del budget
    real, generated, _ = _equal(pair, seed)
    found, chance = (copies(one.images, turned=True) for one in (generated, real))
    floor, note = float(chance.mean()), _copies_note(generated.images, found, None)
    metric, n = "memorisation/duplicates/generated", len(found)
    own = Result(metric, float(found.mean()), floor=floor, n=n, note=note)
    train = pair.train
    if train is None:
        names = ("memorisation/duplicates/train", "memorisation/duplicates/test")
        return [own, *_without_train(*names)]
    return [own, *_train_copies(pair, train.images)]


NEIGHBOUR_METRICS: dict[str, Rows] = {
    "neighbours/l2": l2_rows,
    "neighbours/emd": emd_rows,
    "memorisation/l2": memorisation_l2_rows,
    "memorisation/emd": memorisation_emd_rows,
    "memorisation/duplicates": duplicate_rows,
}


def _equal(pair: Pair, seed: int) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Return real, generated and other real images, as many of each."""
    equal = pair.equal_sizes(seed=seed)
    equal.real.require(_FEWEST)
    return equal.real, equal.generated, equal.floor[1]


def _at_most(one: ImageSet, count: int, seed: int) -> ImageSet:
    """Return a random part of a set that is larger."""
    if len(one) <= count:
        return one
    return one.take(np.sort(np.random.default_rng([seed, 3]).permutation(len(one))[:count]))


def _by_l2(queries: ImageSet, pool: ImageSet, *, own: bool = False) -> Neighbours:
    """Search the nearest image of each by pixels."""
    for one in (queries, pool):
        one.require(_FEWEST)
    return nearest_by_l2(queries.images, pool.images, count=1, own=own)


def _by_emd(one: ImageSet, index: EmdIndex, budget: Budget, seed: int) -> tuple[np.ndarray, str]:
    """Return distances to the nearest by transport, of some random images, and what to say."""
    count = _MOST_EMD_QUERIES
    if budget.generated is not None:
        count = int(np.clip(budget.generated // 100, _FEWEST, _MOST_EMD_QUERIES))
    lit = one.take(np.flatnonzero(one.images.any(axis=(1, 2))))
    lit.require(_FEWEST)
    images = _at_most(lit, count, seed).images
    bar = tqdm.tqdm(images, unit="img", desc="image EMD", leave=False)
    found = [nearest_by_emd(image, index, count=1) for image in bar]
    solves = sum(nearest.solves for nearest in found)
    note = f"{len(images)} {one.name} images, {solves} of {len(images) * len(index)} solved"
    empty = len(one) - len(lit)
    left_out = f", {empty} without charge left out" if empty else ""
    return np.concatenate([nearest.distances for nearest in found]), note + left_out


def _against_floor(
    metric: str, found: np.ndarray, chance: np.ndarray, pair: Pair, *, seed: int
) -> Result:
    """Return a row of distances from generated images beside those from other real ones."""
    median, stderr = median_and_error(found, seed=seed)
    return Result(
        metric,
        median,
        stderr,
        floor=float(np.median(chance)),
        p=rank_p(found, chance),
        n=len(found),
        note=f"floor from {pair.floor_from}, at equal size",
    )


def _row(metric: str, tested: Compared, n: int, *notes: str) -> Result:
    value, stderr, expected, p = tested
    return Result(metric, value, stderr, floor=expected, p=p, n=n, note=join_notes(*notes))


def _train_copies(pair: Pair, train: np.ndarray) -> list[Result]:
    """Return how many generated and how many real images are training images."""
    images = [pair.generated.images, pair.real.images]
    both = copies(np.concatenate(images), train, turned=True)
    found = np.split(both, [len(images[0])])
    notes = [_copies_note(some, which, train) for some, which in zip(images, found, strict=True)]
    (share, leak), (n, n_real) = ([f(one) for one in found] for f in (np.mean, len))
    p = more_p(int(found[0].sum()), n, int(found[1].sum()), n_real)
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
    note = "skipped: no training images: give --train"
    return [Result(metric, float("nan"), converged=False, note=note) for metric in metrics]
