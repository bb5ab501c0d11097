"""The table of metrics: what ``--metrics`` chooses from.

To add a metric, write a function of a pair of sets, a budget and a seed, and list a `Metric` with
its name and the definitions of its rows in ``METRICS`` of one of the modules below.
"""

from collections.abc import Iterable

from evaluation.metrics import (
    classifier,
    fid,
    fidelity,
    layers,
    looking,
    memorisation,
    mmd,
    neighbours,
    physics,
    sinkhorn,
    ssnet,
    wasserstein,
)
from evaluation.metrics.metric import Metric, is_part

# In the order of a report.
_FAMILIES = (
    physics,
    layers,
    ssnet,
    looking,
    mmd,
    wasserstein,
    sinkhorn,
    fid,
    fidelity,
    neighbours,
    memorisation,
    classifier,
)
METRICS: dict[str, Metric] = {
    metric.name: metric for family in _FAMILIES for metric in family.METRICS
}


def choose(wanted: str | Iterable[str | Metric] | None) -> list[Metric]:
    """Return metrics by their names or the first parts of their names, in the order of the table.

    They are a list, or a text with commas; None chooses the whole table. A `Metric` stands for
    itself and comes after those of the table.

    Raises:
        ValueError: if a name is unknown.
    """
    if wanted is None:
        return list(METRICS.values())
    wanted = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    own = [metric for metric in wanted if isinstance(metric, Metric)]
    names = [name.strip() for name in wanted if isinstance(name, str) and name.strip()]
    unknown = [part for part in names if not any(is_part(part, name) for name in METRICS)]
    if unknown or not (names or own):
        raise ValueError(f"unknown metrics {unknown}; choose from {', '.join(METRICS)}")
    chosen = [
        metric for name, metric in METRICS.items() if any(is_part(part, name) for part in names)
    ]
    return chosen + own
