"""Compute the rows of a report one metric at a time; each finished one is kept on disk."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import threadpoolctl
import tqdm

from evaluation.images.sets import Pair, TooFewImagesError
from evaluation.metrics.budget import Budget
from evaluation.metrics.result import Result
from evaluation.metrics.rows import JOINT_METRICS, METRICS, definition, seed_of
from evaluation.report.report import Row
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER

# What a metric may raise without the others being given up.
FAILURES = (ArithmeticError, ImportError, LookupError, MemoryError, OSError, RuntimeError)
FAILURES += (TypeError, ValueError)


def compute(
    pairs: list[Pair], metrics: list[str], budget: Budget, *, seed: int, folder: Path
) -> list[Row]:
    """Return the rows of every metric for every pair, in the order of ``metrics``.

    Metrics share nothing that changes, and each has its own seed, so that several may run at once.

    Args:
        pairs: real against each generated set.
        metrics: names in `METRICS`.
        budget: sizes.
        seed: of everything random.
        folder: keeps the rows of finished metrics, and gives those it already has; one folder
            belongs to one choice of sets, budget and seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (metric, group)
        for metric in metrics
        for group in ([pairs] if metric in JOINT_METRICS else [[pair] for pair in pairs])
    ]

    def work(place: int) -> tuple[int, list[Row]]:
        metric, group = tasks[place]
        kept = folder / f"{metric.replace('/', '-')}@{_names(group)}.json"
        return place, _rows_of(metric, group, budget, seed, kept)

    found: dict[int, list[Row]] = {}
    with tqdm.tqdm(total=len(tasks), unit="metric") as bar:
        for place, rows in _all_of(work, len(tasks), min(budget.at_once, _processors())):
            found[place] = rows
            metric, group = tasks[place]
            bar.set_description(f"{metric} ({_names(group)})")
            bar.update()
    return [row for place in range(len(tasks)) for row in found[place]]


def _all_of(
    work: Callable[[int], tuple[int, list[Row]]], count: int, at_once: int
) -> Iterator[tuple[int, list[Row]]]:
    """Yield what ``work`` returns for 0 to ``count`` - 1, in any order, ``at_once`` at a time."""
    if at_once == 1:
        yield from map(work, range(count))
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        # Threads of one library each: those of another would wait for them and do nothing.
        with threadpoolctl.threadpool_limits(1):
            # The last ones take longest; begun first, none of them is left to run alone.
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


def _rows_of(metric: str, group: list[Pair], budget: Budget, seed: int, kept: Path) -> list[Row]:
    """Return the rows of one metric; a failed one gives a marked row and is not kept."""
    if kept.is_file():
        return json.loads(kept.read_text())
    start, names = time.perf_counter(), [pair.generated.name for pair in group]
    try:
        if metric in JOINT_METRICS:
            results = JOINT_METRICS[metric](group, budget, seed_of(metric, seed))
        else:
            results = {names[0]: METRICS[metric](group[0], budget, seed_of(metric, seed))}
        rows = [_row(result, name) for name, found in results.items() for result in found]
    except FAILURES as error:
        status = "too few images" if isinstance(error, TooFewImagesError) else "failed"
        LOGGER.warning("%s (%s): %s: %s", metric, ", ".join(names), status, error)
        note = f"{type(error).__name__}: {error}"
        failed = Result(metric=metric, value=math.nan, converged=False, note=note)
        return [_plain(asdict(failed) | _place(name, status, "", start)) for name in names]
    for row in rows:
        row["seconds"] = (time.perf_counter() - start) / len(rows)
    write_json(kept, rows)
    return rows


def _row(result: Result, name: str) -> Row:
    status = "ok" if result.converged else "not converged"
    if math.isnan(result.value):
        status = "skipped" if result.note.startswith("skipped") else "undefined"
    row = asdict(result) | _place(name, status, definition(result.metric), time.perf_counter())
    if not result.converged:
        row["value"] = None  # a number that is not there cannot be quoted
    return _plain(row)


def _place(name: str, status: str, meaning: str, start: float) -> Row:
    """Return the columns that a metric does not know."""
    seconds = time.perf_counter() - start
    return {"set": name, "status": status, "definition": meaning, "seconds": seconds}


def _plain(row: Row) -> Row:
    """Return the row with plain numbers; JSON has no NaN and no infinity."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
