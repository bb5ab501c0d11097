"""The table of metrics: what is computed of a real and a generated set, and at which sizes."""

import functools
import zlib
from collections.abc import Callable

import numpy as np

from evaluation import looking, observable_tests, observables
from evaluation.budget import Budget
from evaluation.pixel_metrics import DEFINITIONS, PIXEL_METRICS
from evaluation.result import Result
from evaluation.sets import Pair

Metric = Callable[[Pair, Budget, int], list[Result]]  # of sets, budget and seed


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


METRICS: dict[str, Metric] = {
    **{f"physics/{name}": functools.partial(_observable, name) for name in observables.EDGES},
    "physics/correlation": _correlation,
    "looking": _looking,
    **PIXEL_METRICS,
}


def choose(wanted: str | None) -> list[str]:
    """Return the metrics named in a comma-separated list, or whose first parts are; None: all.

    Raises:
        ValueError: if one is unknown.
    """
    if wanted is None:
        return list(METRICS)
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    unknown = [p for p in parts if not any(_is_part(p, name) for name in METRICS)]
    if unknown or not parts:
        raise ValueError(f"unknown metrics {unknown}; choose from {', '.join(METRICS)}")
    return [name for name in METRICS if any(_is_part(part, name) for part in parts)]


def definition(metric: str) -> str:
    """Say what a row is, by its id or the first parts of it, so that only equals are compared.

    Raises:
        KeyError: if nobody has said it.
    """
    if metric.startswith("physics/"):
        return observable_tests.definition(metric)
    known = looking.DEFINITIONS | DEFINITIONS
    return known[max((name for name in known if _is_part(name, metric)), key=len, default=metric)]


def seed_of(metric: str, seed: int) -> int:
    """Return a metric's own seed, so that its numbers do not depend on the metrics beside it."""
    return int(np.random.SeedSequence([seed, zlib.crc32(metric.encode())]).generate_state(1)[0])


def _is_part(part: str, name: str) -> bool:
    return name == part or name.startswith(part + "/")
