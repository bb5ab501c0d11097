"""The table of metrics: what is computed of a real and a generated set, and at which sizes."""

import functools
import zlib
from collections.abc import Callable

import numpy as np

from evaluation.images.sets import Pair
from evaluation.metrics import (
    classifier_metrics,
    feature_metrics,
    looking,
    neighbour_metrics,
    observable_tests,
    observables,
    pixel_metrics,
    segment_metrics,
)
from evaluation.metrics.budget import Budget
from evaluation.metrics.classifier_metrics import CLASSIFIER_METRICS, FITS, multi_rows
from evaluation.metrics.feature_metrics import FEATURE_METRICS
from evaluation.metrics.neighbour_metrics import NEIGHBOUR_METRICS
from evaluation.metrics.pixel_metrics import PIXEL_METRICS
from evaluation.metrics.result import Result, skipped
from evaluation.metrics.segment_metrics import SEGMENT_METRICS

Metric = Callable[[Pair, Budget, int], list[Result]]  # of sets, budget and seed
JointMetric = Callable[[list[Pair], Budget, int], dict[str, list[Result]]]  # by generated set


def _observable(name: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    return observable_tests.observable_rows(
        name, pair, seed=seed, permutations=budget.permutations, splits=budget.splits
    )


def _correlation(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    return observable_tests.correlation_rows(
        pair, seed=seed, permutations=budget.permutations, splits=budget.splits
    )


def _looking(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    return looking.image_rows(
        pair, seed=seed, permutations=budget.image_permutations, splits=budget.splits
    )


def _multi(pairs: list[Pair], budget: Budget, seed: int) -> dict[str, list[Result]]:
    """Return how much real images look like each generator, by its name."""
    if len(pairs) < 2:
        row = skipped("classifier/multi/trees", "it needs two generated sets: give --generated_2")
        return {pairs[0].generated.name: [row]}
    generated = [pair.generated for pair in pairs]
    kinds = [multi_rows(kind, pairs[0].real, generated, seed=seed) for kind in FITS]
    return {one.name: [found[one.name] for found in kinds] for one in generated}


METRICS: dict[str, Metric] = {
    **{f"physics/{name}": functools.partial(_observable, name) for name in observables.EDGES},
    "physics/correlation": _correlation,
    **SEGMENT_METRICS,
    "looking": _looking,
    **PIXEL_METRICS,
    **FEATURE_METRICS,
    **NEIGHBOUR_METRICS,
    **CLASSIFIER_METRICS,
}
JOINT_METRICS: dict[str, JointMetric] = {"classifier/multi": _multi}  # of all generators at once
_DEFINITIONS = {
    **looking.DEFINITIONS,
    **segment_metrics.DEFINITIONS,
    **pixel_metrics.DEFINITIONS,
    **feature_metrics.DEFINITIONS,
    **neighbour_metrics.DEFINITIONS,
    **classifier_metrics.DEFINITIONS,
}
# Of the others some split the images by SSNet's labels.
_BY_CLASS = ("physics/track_length_px", "physics/track_width_px", "physics/charge")
_BY_CLASS += tuple(f"classifier/tstr/{kind}" for kind in FITS)


def choose(wanted: str | None) -> list[str]:
    """Return the metrics named in a comma-separated list, or whose first parts are; None: all.

    Raises:
        ValueError: if one is unknown.
    """
    known = [*METRICS, *JOINT_METRICS]
    if wanted is None:
        return known
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    unknown = [p for p in parts if not any(_is_part(p, name) for name in known)]
    if unknown or not parts:
        raise ValueError(f"unknown metrics {unknown}; choose from {', '.join(known)}")
    return [name for name in known if any(_is_part(part, name) for part in parts)]


def needs_labels(metrics: list[str]) -> bool:
    """Return whether any of the metrics asks SSNet."""
    asking = {*_BY_CLASS, *SEGMENT_METRICS, *FEATURE_METRICS}
    return not asking.isdisjoint(metrics)


def needs_features(metrics: list[str]) -> bool:
    """Return whether any of the metrics compares SSNet's features."""
    return not FEATURE_METRICS.keys().isdisjoint(metrics)


def definition(metric: str) -> str:
    """Say what a row is, by its id or the first parts of it, so that only equals are compared.

    Raises:
        KeyError: if nobody has said it.
    """
    if metric.startswith("physics/"):
        return observable_tests.definition(metric)
    parts = [name for name in _DEFINITIONS if _is_part(name, metric)]
    return _DEFINITIONS[max(parts, key=len, default=metric)]


def seed_of(metric: str, seed: int) -> int:
    """Return a metric's own seed, so that its numbers do not depend on the metrics beside it."""
    return int(np.random.SeedSequence([seed, zlib.crc32(metric.encode())]).generate_state(1)[0])


def _is_part(part: str, name: str) -> bool:
    return name == part or name.startswith(part + "/")
