"""The results of studies, and the report of them: report.md, results.json and pictures."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from sgm_jax.simulation.validate.estimators import Estimate
from sgm_jax.simulation.validate.references import STANDARDS, Standard

FACTOR = 1.3  # by which an approximated input is scaled
_STYLES = {
    "line": {"linewidth": 1.2},
    "steps": {"drawstyle": "steps-mid", "linewidth": 1.2},
    "points": {"marker": "o", "linestyle": "none", "markersize": 4},
    "crosses": {"marker": "x", "linestyle": "none", "markersize": 6, "color": "black"},
}


@dataclass(frozen=True)
class Measurement:
    """One line of the report. Without a reference it is information only."""

    quantity: str
    unit: str
    measured: Estimate
    reference: float | None = None
    standard: str = ""  # key in STANDARDS, if there is a reference

    @property
    def rule(self) -> Standard | None:
        """The source and tolerance of the reference."""
        return STANDARDS[self.standard] if self.standard else None

    @property
    def deviation(self) -> float | None:
        """Measured over reference less one."""
        return None if self.reference is None else self.measured.value / self.reference - 1.0

    @property
    def sigma(self) -> float | None:
        """Deviation in statistical errors."""
        if self.reference is None or self.measured.stderr == 0.0:
            return None
        return (self.measured.value - self.reference) / self.measured.stderr

    @property
    def verdict(self) -> str:
        """``pass``, ``fail``, or ``undecided`` where the error is half the tolerance or more."""
        if self.rule is None:
            return "-"
        if self.measured.stderr > 0.5 * self.rule.tolerance * abs(self.reference):
            return "undecided"
        return "pass" if abs(self.deviation) <= self.rule.tolerance else "fail"

    def record(self) -> dict:
        """Return everything as values for JSON."""
        return {
            "quantity": self.quantity,
            "unit": self.unit,
            "measured": self.measured.value,
            "stderr": self.measured.stderr,
            "reference": self.reference,
            "source": self.rule and self.rule.source,
            "tolerance": self.rule and self.rule.tolerance,
            "deviation": self.deviation,
            "sigma": self.sigma,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Curve:
    """A line, steps or points in a figure."""

    label: str
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None
    style: str = "line"  # a key of _STYLES


@dataclass(frozen=True)
class Figure:
    """One picture of the report."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    log_x: bool = False


@dataclass(frozen=True)
class Study:
    """The outcome of one study."""

    measurements: list[Measurement]
    figures: list[Figure] = field(default_factory=list)


class Shift(NamedTuple):
    """What scaling one input by ``FACTOR`` did to one observable."""

    source: str
    observable: str
    unit: str
    before: Estimate
    after: Estimate


def histogram(label: str, values: np.ndarray, edges: np.ndarray) -> Curve:
    """Return the share of ``values`` in each bin as a curve of steps."""
    counts, _ = np.histogram(values, edges)
    return Curve(label, 0.5 * (edges[1:] + edges[:-1]), counts / values.size, style="steps")


def draw(figure: Figure, folder: Path) -> None:
    """Write one picture as PNG."""
    canvas = Canvas(figsize=(6.0, 4.4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    for curve in figure.curves:
        style = _STYLES[curve.style]
        if curve.error is None:
            axes.plot(curve.x, curve.y, label=curve.label, **style)
        else:
            axes.errorbar(curve.x, curve.y, curve.error, label=curve.label, **style)
    axes.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
    if figure.log_x:
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    canvas.legend(fontsize=8, loc="outside lower center", ncols=2)
    canvas.savefig(folder / f"{figure.name}.png", dpi=100)


def write_report(
    studies: dict[str, Study], shifts: list[Shift], folder: Path, *, settings: dict
) -> dict[str, int]:
    """Write everything into ``folder`` and return how many passed, failed and are undecided.

    Args:
        studies: outcome of each study by name.
        shifts: outcome of the perturbed runs; empty if there were none.
        folder: made if needed; files of the same names are replaced.
        settings: what to say about the run: command, versions, seed, CPU time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for study in studies.values() for row in study.measurements]
    figures = [figure for study in studies.values() for figure in study.figures]
    verdicts = [row.verdict for row in rows]
    summary = {name: verdicts.count(name) for name in ("pass", "fail", "undecided")}
    for figure in figures:
        draw(figure, folder)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sgm_jax.simulation.validate", ""),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["with_error"] = lambda x: f"{x.value:.4g} ± {x.stderr:.2g}"
    text = environment.get_template("report.md").render(
        rows=rows,
        figures=figures,
        shifts=shifts,
        settings=settings,
        summary=summary,
        standards=STANDARDS,
        factor=FACTOR,
    )
    (folder / "report.md").write_text(text)
    results = {
        "settings": settings,
        "summary": summary,
        "measurements": [row.record() for row in rows],
        "inputs": [shift._asdict() for shift in shifts],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return summary
