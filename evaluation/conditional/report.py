"""The report on conditional images: in Python, and as a page with its figures and numbers."""

import base64
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.conditional import measure
from evaluation.conditional.alike import Compared
from evaluation.conditional.measure import Series
from evaluation.conditional.sets import ConditionedSet
from evaluation.figures.figure import Figures, save
from evaluation.metrics.compute import FAILURES
from evaluation.metrics.metric import Result
from evaluation.metrics.verdict import SIGNIFICANT
from evaluation.report import render
from evaluation.report.report import amount, cell, differs
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER

SCHEMA_VERSION = 1
JSON, PAGE = "conditional.json", "conditional.html"
# What the summary shows of a set: rows, and what they are.
SUMMARY = {
    "response/all/near": f"bins with the mean charge within {100 * measure.NEAR_MEAN:g} %, share",
    "response/all/width_near": f"bins with its width within {100 * measure.NEAR_WIDTH:g} %, share",
    "response/all/deviation": "charge against momentum: deviation (rms over bins)",
    "response/all/bias": "charge: bias",
    "response/all/width": "width of the charge, ratio",
    "direction/all/median_ratio": "median angle, ratio",
    "direction/all/backward": "points backward, difference",
    "range/all/deviation": "range against momentum: deviation (rms over bins)",
    "range/all/stopping": "share of tracks that stay, difference",
    "confusion/trees/tracks_and_showers": "tracks and showers told apart by trees, difference",
    "confusion/cnn/tracks_and_showers": "tracks and showers told apart by a CNN, difference",
    "observables/all/ks": "observables: mean KS distance",
}


@dataclass(frozen=True, eq=False)
class Pairing:
    """What came of the comparison of one generated set with the simulated one.

    Attributes:
        generated: all of its images.
        pair: the images that were compared, with their weights.
        rows: numbers with their errors and floors.
        series: numbers in bins of momentum, by ``CHAPTER/KIND/WHAT``.
        confusion: by classifier, the matrices of both sets over ``kinds``.
        kinds: that were compared.
        beyond: a row for each kind and side of the momenta of the training, of images outside.
        warnings: what of the two sets is not alike.
    """

    generated: ConditionedSet
    pair: Compared
    rows: list[Result]
    series: Mapping[str, Series]
    confusion: Mapping[str, Mapping[str, np.ndarray]]
    kinds: list[str]
    beyond: list[dict[str, Any]]
    warnings: list[str]

    @property
    def name(self) -> str:
        """Return the name of the generated set."""
        return self.generated.name


@dataclass(eq=False)
class ConditionalReport:
    """What `evaluate_conditional` returns.

    ``report["response/muon/bias"]`` is the `Result` of a row, and
    ``report["response/muon/bias", "g2"]`` that of one of several generated sets.
    """

    results: list[Result]
    pairings: list[Pairing]
    real: ConditionedSet
    sets: dict[str, dict[str, Any]]
    units: dict[str, float | None]
    seed: int
    warnings: list[str]
    provenance: dict[str, Any]
    figures: Figures = field(default_factory=dict)

    def __post_init__(self) -> None:
        from evaluation.conditional.figures import figures

        self.figures = self.figures or figures(self)

    def __getitem__(self, row: str | tuple[str, str]) -> Result:
        """Return a row, of the first generated set or of the one named.

        Raises:
            KeyError: if there is none, with the names of those that there are.
        """
        name, of_set = row if isinstance(row, tuple) else (row, None)
        for result in self.results:
            if result.metric == name and of_set in (None, result.set):
                return result
        known = dict.fromkeys(r.metric for r in self.results if not r.metric.startswith("observ"))
        raise KeyError(f"no row {row!r}; there are {', '.join(known)}")

    def figure(self, name: str) -> Figure:
        """Draw a figure; ``figures`` has the names."""
        return self.figures[name]()[0]

    def summary(self) -> list[dict[str, Any]]:
        """Return a row of the summary for each number: its name, and a result for each set."""
        table = []
        for metric, text in SUMMARY.items():
            results = {r.set: r for r in self.results if r.metric == metric and r.status == "ok"}
            if results:
                table.append({"metric": metric, "text": text, "results": results})
        return table

    def observables(self) -> list[dict[str, Any]]:
        """Return for each kind and set how many tests of observables tell the sets apart."""
        table = []
        for pairing in self.pairings:
            for kind in pairing.kinds:
                rows = [r for r in pairing.rows if r.metric.startswith(f"observables/{kind}/")]
                tested = [r for r in rows if r.p is not None and r.metric.endswith("/ks")]
                apart = [r for r in tested if differs(r)]
                names = [r.metric.split("/")[3] for r in apart]
                most = sorted(set(names), key=names.count, reverse=True)
                table.append(
                    {
                        "set": pairing.name,
                        "kind": kind,
                        "tests": len(tested),
                        f"p < {SIGNIFICANT}": len(apart),
                        "expected by chance": f"{SIGNIFICANT * len(tested):.2g}",
                        "most in": ", ".join(f"{n} ({names.count(n)})" for n in most[:4]),
                    }
                )
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the content of conditional.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "units": self.units,
            "seed": self.seed,
            "sets": self.sets,
            "warnings": self.warnings,
            "rows": [result.to_dict() for result in self.results],
            "bins": {
                pairing.name: {name: of.to_dict() for name, of in pairing.series.items()}
                for pairing in self.pairings
            },
            "confusion": {
                pairing.name: {
                    sort: {"kinds": pairing.kinds} | {n: _lists(m) for n, m in both.items()}
                    for sort, both in pairing.confusion.items()
                }
                for pairing in self.pairings
            },
            "beyond_training": {pairing.name: pairing.beyond for pairing in self.pairings},
            "definitions": measure.DEFINITIONS,
            "provenance": self.provenance,
        }

    def save(self, folder: str | Path, *, figures: bool = True) -> None:
        """Write the page, its numbers and its figures; an earlier report there is replaced."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON).unlink(missing_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)
        pictures = self._save_figures(folder / "figures") if figures else {}
        values = {
            "report": self,
            "pictures": pictures,
            "share": {"direction": measure.DIRECTION_SHARE, "range": measure.RANGE_SHARE},
            "rows": [r for r in self.results if not r.metric.startswith("observables/")],
        }
        filters = {"amount": amount, "cell": cell, "shown": _shown, "differs": differs}
        (folder / PAGE).write_text(render(PAGE, values, **filters))
        write_json(folder / JSON, self.to_dict())  # last: it says that all is there

    def _save_figures(self, folder: Path) -> dict[str, str]:
        """Write all figures; return the PNG files (base64) of those that did not fail."""
        folder.mkdir(parents=True)
        pictures = {}
        for name, draw in self.figures.items():
            try:
                save(draw(), folder / name)
                png = (folder / f"{name}.png").read_bytes()
                pictures[name] = base64.b64encode(png).decode()
            except FAILURES as error:
                LOGGER.warning("figure %s: %s", name, error)
                self.warnings.append(f"Figure {name} failed: {type(error).__name__}: {error}")
        return pictures


def _lists(matrix: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in matrix]


def _shown(value: Any) -> str:
    """Return a value, or a value and its error, as short text."""
    return amount(*value) if isinstance(value, tuple) else cell(value)
