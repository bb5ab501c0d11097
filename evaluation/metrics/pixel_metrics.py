"""The metrics that see an image as one point, of its pixels here, and how they enter the table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics import mmd, sinkhorn, wasserstein
from evaluation.metrics.budget import Budget
from evaluation.metrics.result import Result, join_notes

Rows = Callable[[Pair, Budget, int], list[Result]]
Metric = Callable[..., Result | Sequence[Result]]

_FEWEST = 20

# By the first part of the row's id, which also holds what was chosen (batch, sigma, p, eps).
DEFINITIONS = MappingProxyType(
    {
        "mmd/paper": "biased MMD^2 of pixels, six Gaussians of sigma 2^10..2^15 summed, mean over "
        "batches of 10,000 or of all images if fewer",
        "mmd/unbiased": "unbiased MMD^2 of pixels, those Gaussians summed or the one named; p by "
        "permutation",
        "mmd/median": "unbiased MMD^2 of pixels, one Gaussian as wide as the median distance of "
        "real images; p by permutation",
        "w1/paper": "exact W1 of pixels at cost |x - y|, mean over batches of 10,000 or of all "
        "images if fewer",
        "w1/corrected": "w1/paper minus its floor",
        "w1/annealed": "lower bound of W1 of pixels at cost |x - y| by entropic transport of the "
        "eps of the id, too small by less than eps ln n, of one batch of the budget's size",
        "sliced_w1": "mean W1 of pixels along 512 fixed directions; p by permutation",
        "sinkhorn": "Sinkhorn divergence of pixels at cost |x - y|^p and the eps of the id, mean "
        "over batches of 1,000; marginals met to 1e-4, or to 4e-6 median cost / eps if that is "
        "more, in powers of 8 and up to 1e-2",
    }
)


def on_rows(
    metric: Metric,
    read: Callable[[ImageSet], np.ndarray],
    *,
    draws: str | None = None,
    fewest: int = _FEWEST,
    floor_options: Mapping[str, object] | None = None,
    **options: object,
) -> Rows:
    """Make an entry of the table from ``metric(real, generated, *, seed, ...)`` of ``[N, D]``.

    Value and floor are taken at one size, the largest that all four sets allow.

    Args:
        metric: returns one result or several.
        read: gives the rows of a set, one an image.
        draws: the budget's number of permutations, if the metric makes any; the floor needs none.
        fewest: images that the metric needs of each set.
        floor_options: what is different for the floor, which needs less.
        **options: of the metric.
    """

    def rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
        mine = options | ({"permutations": getattr(budget, draws)} if draws else {})
        quick = options | ({"permutations": 0} if draws else {}) | dict(floor_options or {})
        equal = cut_alike(pair, fewest, seed=seed)
        found = _results(metric, read, (equal.real, equal.generated), mine, seed)
        chance = _results(metric, read, equal.floor, quick, seed)
        return [
            dataclasses.replace(one.with_floor(other), note=with_origin(one.note, pair))
            for one, other in zip(found, chance, strict=True)
        ]

    return rows


def on_pixels(metric: Metric, **options: object) -> Rows:
    """Make an entry of the table from a metric of images as rows of their pixels, as `on_rows`."""
    return on_rows(metric, ImageSet.flat, **options)


def cut_alike(pair: Pair, fewest: int, *, seed: int) -> Pair:
    """Return the pair with four sets of one size.

    Raises:
        TooFewImagesError: if that is below ``fewest``.
    """
    equal = pair.equal_sizes(seed=seed)
    for one in (equal.real, equal.generated):
        one.require(fewest)
    return equal


def with_origin(note: str, pair: Pair) -> str:
    """Return a note with where the floor is from."""
    return join_notes(note, f"floor from {pair.floor_from}, at equal size")


def _w1(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return W1 as published, and what is left of it above its floor."""
    equal = cut_alike(pair, _FEWEST, seed=seed)
    (found,), (chance,) = (
        _results(wasserstein.w1_paper, ImageSet.flat, sets, {}, seed)
        for sets in ((equal.real, equal.generated), equal.floor)
    )
    rows = (found.with_floor(chance), wasserstein.w1_corrected(found, chance))
    return [dataclasses.replace(one, note=with_origin(one.note, pair)) for one in rows]


def _annealed(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return W1 by annealing, of fewer images on a small budget."""
    return on_pixels(sinkhorn.w1_annealed, batch=budget.annealed_batch)(pair, budget, seed)


PIXEL_METRICS: dict[str, Rows] = {
    "mmd/paper": on_pixels(mmd.mmd_paper),
    "mmd/unbiased": on_pixels(mmd.mmd_per_sigma, draws="permutations"),
    "mmd/median": on_pixels(mmd.mmd_median, draws="permutations"),
    "w1": _w1,
    "w1/annealed": _annealed,
    "sliced_w1": on_pixels(
        wasserstein.sliced_w1, draws="image_permutations", floor_options={"stderr": False}
    ),
    "sinkhorn": on_pixels(
        sinkhorn.sinkhorn, eps=(1000, 255, 1, 0.1), floor_options={"stderr": False}
    ),
}


def _results(
    metric: Metric,
    read: Callable[[ImageSet], np.ndarray],
    sets: tuple[ImageSet, ImageSet],
    options: Mapping[str, object],
    seed: int,
) -> list[Result]:
    found = metric(*(read(one) for one in sets), seed=seed, **options)
    return [found] if isinstance(found, Result) else list(found)
