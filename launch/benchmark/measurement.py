"""What is measured, how processor time is taken, and the two tables of the output."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Line(NamedTuple):
    """Seconds of a piece of work, beside those of PyTorch if they are known."""

    what: str
    seconds: float
    pytorch_seconds: float | None = None
    images: int | None = None  # that were processed in that time


class Comparison(NamedTuple):
    """Processor seconds and values of our way and of another one, and the peak memory."""

    what: str
    seconds: float
    value: float
    other: str
    other_seconds: float | None = None
    other_value: float | None = None
    peak_gb: float = 0.0


def processor_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of ``call``, all threads, after one call that compiles."""
    return median_seconds([call], repeats)[0]


def median_seconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median processor time of each call; they run in turns, so conditions are equal.

    The first call of each, which compiles, is not counted.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for call, spent in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
    return [statistics.median(spent[1:]) for spent in times]


def lines_table(lines: list[Line]) -> str:
    """Lay measurements out in columns."""
    rows = [f"{'seconds, processor time':<42}{'sgm_jax':>9}{'PyTorch':>9}{'images/s':>10}"]
    for line in lines:
        pytorch = "-" if line.pytorch_seconds is None else f"{line.pytorch_seconds:.2f}"
        rate = "-" if line.images is None else f"{line.images / line.seconds:.1f}"
        rows.append(f"{line.what:<42}{line.seconds:>9.3f}{pytorch:>9}{rate:>10}")
    return "\n".join(rows)


def comparisons_table(comparisons: list[Comparison]) -> str:
    """Lay comparisons out in columns."""
    rows = [
        f"{'':<36}{'CPU-s':>8}{'value':>12}  {'beside it':<22}{'CPU-s':>8}{'value':>12}{'GB':>6}"
    ]
    for row in comparisons:
        seconds, value = (
            "-" if number is None else f"{number:.6g}"
            for number in (row.other_seconds and round(row.other_seconds, 2), row.other_value)
        )
        rows.append(
            f"{row.what:<36}{row.seconds:>8.2f}{row.value:>12.6g}  "
            f"{row.other:<22}{seconds:>8}{value:>12}{row.peak_gb:>6.1f}"
        )
    return "\n".join(rows)
