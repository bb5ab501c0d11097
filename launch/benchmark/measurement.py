"""What a measurement is, and how processor time is taken."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Line(NamedTuple):
    """A measurement in seconds, beside what PyTorch took, if that is known."""

    what: str
    seconds: float
    pytorch_seconds: float | None = None
    images: int | None = None  # that were worked on in that time


def processor_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of ``call``, all threads, after one run to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)
