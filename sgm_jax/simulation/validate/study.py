"""The result of a study: measurements with their references, and curves to draw."""

from dataclasses import dataclass, field

import numpy as np

from sgm_jax.simulation.validate.estimators import Estimate
from sgm_jax.simulation.validate.references import STANDARDS, Standard

NOT_JUDGED = "-"


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
            return NOT_JUDGED
        if self.measured.stderr > 0.5 * self.rule.tolerance * abs(self.reference):
            return "undecided"
        return "pass" if abs(self.deviation) <= self.rule.tolerance else "fail"


@dataclass(frozen=True)
class Curve:
    """A line, steps or points in a figure."""

    label: str
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None
    style: str = "line"  # or "points" or "steps"


@dataclass(frozen=True)
class Figure:
    """One picture of the report."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Study:
    """The outcome of one study."""

    measurements: list[Measurement] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def histogram(label: str, values: np.ndarray, edges: np.ndarray) -> Curve:
    """Return the share of ``values`` in each bin as a curve of steps."""
    counts, _ = np.histogram(values, edges)
    return Curve(label, 0.5 * (edges[1:] + edges[:-1]), counts / values.size, style="steps")
