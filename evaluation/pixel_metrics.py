"""The metrics that see images as points of as many dimensions as they have pixels, in one table."""

import dataclasses
from collections.abc import Callable, Sequence
from types import MappingProxyType

from evaluation import mmd, sinkhorn, wasserstein
from evaluation.budget import Budget
from evaluation.result import Result
from evaluation.sets import ImageSet, Pair

Rows = Callable[[Pair, Budget, int], list[Result]]
Metric = Callable[..., Result | Sequence[Result]]

_NO_P = {"permutations": 0}  # of a floor nobody asks the probability
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
        "sliced_w1": "mean W1 of pixels along 512 fixed directions; p by permutation",
        "sinkhorn": "Sinkhorn divergence of pixels at cost |x - y|^p and the eps of the id, mean "
        "over batches of 1,000",
    }
)


def on_pixels(
    metric: Metric, *, floor_options: dict[str, object] | None = None, **options: object
) -> Rows:
    """Make an entry of the table from ``metric(real, generated, *, seed, ...)`` of ``[N, D]``.

    Value and floor are taken at one size, the largest that all four sets allow.

    Args:
        metric: returns one result or several.
        floor_options: what is different for the floor, which needs less.
        options: of the metric.
    """

    def rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
        found, chance = _both(metric, pair, seed, options, options | (floor_options or {}))
        return [
            dataclasses.replace(one.with_floor(other), note=_note(one, pair))
            for one, other in zip(found, chance, strict=True)
        ]

    return rows


def _w1(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return W1 as published, and what is left of it above its floor."""
    (found,), (chance,) = _both(wasserstein.w1_paper, pair, seed, {}, {})
    rows = (found.with_floor(chance), wasserstein.w1_corrected(found, chance))
    return [dataclasses.replace(one, note=_note(one, pair)) for one in rows]


PIXEL_METRICS: dict[str, Rows] = {
    "mmd/paper": on_pixels(mmd.mmd_paper),
    "mmd/unbiased": on_pixels(mmd.mmd_per_sigma, floor_options=_NO_P),
    "mmd/median": on_pixels(mmd.mmd_median, floor_options=_NO_P),
    "w1": _w1,
    "sliced_w1": on_pixels(wasserstein.sliced_w1, floor_options=_NO_P),
    **{
        f"sinkhorn/eps{eps:g}": on_pixels(sinkhorn.sinkhorn, eps=eps) for eps in (0.1, 1, 255, 1000)
    },
}


def _both(
    metric: Metric, pair: Pair, seed: int, options: dict[str, object], floor: dict[str, object]
) -> tuple[list[Result], list[Result]]:
    """Return a metric of real and generated images, and of the two real sets of the floor."""
    equal = pair.equal_sizes(seed=seed)
    equal.real.require(_FEWEST)

    def results(sets: tuple[ImageSet, ImageSet], chosen: dict[str, object]) -> list[Result]:
        found = metric(*(one.flat() for one in sets), seed=seed, **chosen)
        return [found] if isinstance(found, Result) else list(found)

    return results((equal.real, equal.generated), options), results(equal.floor, floor)


def _note(one: Result, pair: Pair) -> str:
    """Add where the floor is from."""
    return "; ".join(filter(None, [one.note, f"floor from {pair.floor_from}, at equal size"]))
