"""The first thing in a report: what of the generated images is like the real ones, and what is not.

Rows are gathered by what a physicist asks for. A kind differs if one of its rows tells the sets
apart, see `evaluation.metrics.verdict`; equal sets do that about once in a thousand rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from evaluation.images.segments import Table
from evaluation.metrics.metric import Result, is_part
from evaluation.metrics.verdict import excess, family, stands_out

OTHER = "other"
# The metrics of each kind, by the first parts of their ids; of several the longest counts.
KINDS: dict[str, tuple[str, ...]] = {
    "charge": (
        "physics/charge",
        "physics/charge_per_pixel",
        "physics/peak",
        "looking/intensity_w1",
        "looking/intensity_triangle",
    ),
    "lit pixels": ("physics",),
    "tracks": ("physics/track_length_px", "physics/track_width_px", "physics/angle_deg"),
    "tracks and showers": ("ssnet",),
    "whole images": (
        "looking",
        "mmd",
        "w1",
        "sliced_w1",
        "sinkhorn",
        "physics/correlation",
        "layers",
    ),
    "features of SSNet": ("fid", "kid", "kpd", "prdc", "precision", "density"),
    "variety": ("neighbours", "recall", "coverage"),
    "classifiers": ("classifier",),
    "copies of training images": ("memorisation",),
}
# What is shown of some of them: a number of each image, and what its mean is.
_SHOWN = {
    "charge": ("charge", "mean charge (sum of pixels)"),
    "lit pixels": ("hit_multiplicity", "mean number of lit pixels"),
    "tracks": ("track_length_px", "mean track length (px)"),
    "tracks and showers": ("is_track", "share of track images (SSNet)"),
}
_CLASSES = ("all", "tracks", "showers")  # in the ids of physics/

Verdict = Literal["differs", "no difference seen", "not measured"]


@dataclass(frozen=True)
class Number:
    """A mean over the images of a set."""

    meaning: str
    mean: float
    stderr: float


@dataclass(frozen=True)
class Judged:
    """What is said of one kind of one generated set."""

    verdict: Verdict
    apart: int  # rows that tell the sets apart
    rows: int  # that can
    strongest: str  # the id of the row farthest from its floor, of those
    number: Number | None  # what is shown of the generated set
    change: float | None  # of it, as a share of that of the real set


@dataclass(frozen=True)
class Summary:
    """The verdicts on all generated sets.

    Attributes:
        sentences: the verdict on each set in words.
        kinds: by kind and by set.
        real: what is shown of the real set, by kind.
        strongest: by set, the rows farthest from the floor; see `strongest_rows`.
    """

    sentences: dict[str, str]
    kinds: dict[str, dict[str, Judged]]
    real: dict[str, Number]
    strongest: dict[str, list[Result]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts."""
        rows = {name: [row.metric for row in of] for name, of in self.strongest.items()}
        return {
            "sentences": self.sentences,
            "kinds": {
                kind: {name: asdict(judged) for name, judged in of.items()}
                for kind, of in self.kinds.items()
            },
            "real": {kind: asdict(number) for kind, number in self.real.items()},
            "above_floor": rows,
        }


def summarise(
    results: list[Result],
    sets: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, Table],
    *,
    real: str,
) -> Summary:
    """Judge every generated set.

    Args:
        results: all rows of a report.
        sets: facts about the sets, by name.
        tables: numbers of every image, by the names of `evaluation.report.Report.tables`.
        real: name of the real set.
    """
    names = list(dict.fromkeys(result.set for result in results))
    kinds = {kind: {} for kind in (*KINDS, OTHER)}
    numbers = {name: _numbers(name, tables) for name in (real, *names)}
    sentences, strongest = {}, {}
    for name in names:
        own = [result for result in results if result.set == name]
        judged = {
            kind: _judge(rows, numbers[real].get(kind), numbers[name].get(kind))
            for kind in kinds
            if (rows := [row for row in own if kind_of(row.metric) == kind])
        }
        for kind, one in judged.items():
            kinds[kind][name] = one
        counts = [
            f"{sets[of]['images_used']:,} {what}"
            for of, what in ((name, "generated"), (real, "real"))
            if sets.get(of, {}).get("images_used")
        ]
        sentences[name] = _sentence(name, judged, " and ".join(counts))
        strongest[name] = strongest_rows(own)
    return Summary(
        sentences, {kind: of for kind, of in kinds.items() if of}, numbers[real], strongest
    )


def kind_of(metric: str) -> str:
    """Return the kind that a row belongs to."""
    first, _, rest = metric.partition("/")
    kind, _, name = rest.partition("/")
    if first == "physics" and kind in _CLASSES:
        metric = f"physics/{name}"
    kinds = {part: kind for kind, parts in KINDS.items() for part in parts if is_part(part, metric)}
    return kinds[max(kinds, key=len)] if kinds else OTHER


def _judge(rows: list[Result], real: Number | None, generated: Number | None) -> Judged:
    """Judge one kind of one set by its rows; the numbers are those that are shown of it."""
    answers = [(row, answer) for row in rows if (answer := _answer(row)) is not None]
    apart = [row for row, answer in answers if answer]
    verdict: Verdict = "differs" if apart else "no difference seen"
    strongest = max(apart, key=distance).metric if apart else ""
    change = generated.mean / real.mean - 1 if real and generated and real.mean else None
    judged = verdict if answers else "not measured"
    return Judged(judged, len(apart), len(answers), strongest, generated, change)


def _sentence(name: str, judged: Mapping[str, Judged], counts: str) -> str:
    """Say in one sentence what the verdicts on a set come to."""
    by_verdict: dict[str, list[str]] = {}
    for kind, one in judged.items():
        by_verdict.setdefault(one.verdict, []).append(kind)
    words = {
        "differs": "differs from the real images in",
        "no difference seen": "no difference seen in",
        "not measured": "not measured:",
    }
    parts = [
        f"{text} {', '.join(by_verdict[key])}" for key, text in words.items() if key in by_verdict
    ]
    return f"{name}: {'; '.join(parts)}" + (f" ({counts} images)." if counts else ".")


def strongest_rows(results: list[Result], most: int = 8) -> list[Result]:
    """Return the rows of one set that tell it from real images, the farthest from the floor first.

    Of rows of one family, such as statistics of one observable, only the farthest is returned.
    """
    families: dict[str, Result] = {}
    for row in sorted((row for row in results if _answer(row)), key=distance, reverse=True):
        families.setdefault(family(row.metric), row)
    return list(families.values())[:most]


def distance(row: Result) -> float:
    """Return how many errors a row is from its floor; 0 if it does not say."""
    return abs(excess(row.value, row.floor, row.stderr) or 0.0)


def _numbers(name: str, tables: Mapping[str, Table]) -> dict[str, Number]:
    """Return the numbers that are shown of a set, by kind, as far as they are known."""
    known = {**tables.get(f"observables_{name}", {}), **tables.get(f"ssnet_{name}", {})}
    numbers = {}
    for kind, (column, meaning) in _SHOWN.items():
        values = np.asarray(known.get(column, ()), np.float64)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            error = values.std(ddof=1) / np.sqrt(len(values))
            numbers[kind] = Number(meaning, float(values.mean()), float(error))
    return numbers


def _answer(row: Result) -> bool | None:
    if row.status != "ok":
        return None
    return stands_out(row.p, excess(row.value, row.floor, row.stderr))
