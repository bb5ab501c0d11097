"""Compute the results of a report, one metric at a time; each finished one is kept on disk."""

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import numpy as np
import threadpoolctl
import tqdm

from evaluation.images.sets import Pair, TooFewImagesError
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Metric, Result
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts

# Errors of one metric that do not stop the others.
FAILURES = (ArithmeticError, ImportError, LookupError, MemoryError, OSError, RuntimeError)
FAILURES += (TypeError, ValueError)


def compute(
    pairs: list[Pair], metrics: list[Metric], budget: Budget, *, seed: int, parts: Parts
) -> list[Result]:
    """Return the results of every metric for every pair, in the order of ``metrics``.

    Metrics share no changing state and each has its own seed, so several may run at once.
    ``parts`` keeps the results of finished ones, for these sets, this budget and this seed.
    """
    tasks = [
        (metric, group)
        for metric in metrics
        for group in ([pairs] if metric.joint else [[pair] for pair in pairs])
    ]

    def work(place: int) -> tuple[int, list[Result]]:
        metric, group = tasks[place]
        part = f"rows/{metric.name.replace('/', '-')}@{_names(group)}.json"
        if parts.missing([part]):
            results = _results(metric, group, budget, seed)
            # What failed is not kept, so that it is tried again.
            if results[0].status not in ("failed", "too few images"):
                parts.save(part, [result.to_dict() for result in results])
            return place, results
        return place, [Result.from_dict(row) for row in parts.load(part)]

    by_place: dict[int, list[Result]] = {}
    with tqdm.tqdm(total=len(tasks), unit="metric") as bar:
        for place, results in _all_of(work, len(tasks), min(budget.at_once, _processors())):
            by_place[place] = results
            metric, group = tasks[place]
            bar.set_description(f"{metric.name} ({_names(group)})")
            bar.update()
    return [result for place in range(len(tasks)) for result in by_place[place]]


def seed_of(metric: str, seed: int) -> int:
    """Return a metric's own seed, so that its numbers do not depend on the metrics beside it."""
    return int(np.random.SeedSequence([seed, zlib.crc32(metric.encode())]).generate_state(1)[0])


def _all_of(
    work: Callable[[int], tuple[int, list[Result]]], count: int, at_once: int
) -> Iterator[tuple[int, list[Result]]]:
    """Yield what ``work`` returns for 0 to ``count`` - 1, in any order, ``at_once`` at a time."""
    if at_once == 1:
        yield from map(work, range(count))
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        # One thread for each library: threads of several libraries would wait for each other.
        with threadpoolctl.threadpool_limits(1):
            # The last metrics take longest; they begin first, so that none of them runs alone.
            waiting = [pool.submit(work, place) for place in reversed(range(count))]
            for done in as_completed(waiting):
                yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _names(group: list[Pair]) -> str:
    return "+".join(pair.generated.name for pair in group)


def _results(metric: Metric, group: list[Pair], budget: Budget, seed: int) -> list[Result]:
    """Return the results of one metric; one that fails gives a marked row."""
    start, names = time.perf_counter(), [pair.generated.name for pair in group]
    try:
        own_seed = seed_of(metric.name, seed)
        if metric.joint:
            by_set = metric.compute(group, budget, own_seed)
        else:
            by_set = {names[0]: metric(group[0], budget, own_seed)}
        results = [
            _completed(result, metric, name) for name, rows in by_set.items() for result in rows
        ]
    except FAILURES as error:
        status = "too few images" if isinstance(error, TooFewImagesError) else "failed"
        LOGGER.warning("%s (%s): %s: %s", metric.name, ", ".join(names), status, error)
        note, seconds = f"{type(error).__name__}: {error}", time.perf_counter() - start
        failed = Result(metric.name, math.nan, note=note, status=status, seconds=seconds)
        return [replace(failed, set=name) for name in names]
    seconds = (time.perf_counter() - start) / len(results)
    return [replace(result, seconds=seconds) for result in results]


def _completed(result: Result, metric: Metric, name: str) -> Result:
    """Return a result with the name of its set and its definition."""
    undefined = result.status == "ok" and math.isnan(result.value)
    return replace(
        result,
        set=name,
        definition=metric.definition(result.metric),
        status="undefined" if undefined else result.status,
    )
