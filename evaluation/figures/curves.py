"""Curves of metrics against a number, such as the training step, with the floor as a band."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

_COLUMNS = 3  # panels side by side
_WIDE = 20.0  # times the smallest value: then the scale is logarithmic


class Point(NamedTuple):
    """A value of a metric, its error and its floor, where the number is ``x``."""

    x: float
    value: float
    stderr: float | None = None
    floor: float | None = None


def draw_curve(axes: Axes, points: Sequence[Point]) -> None:
    """Draw a curve with its errors, and the range of its floors as a band."""
    points = sorted(points)
    x, value = ([point[place] for point in points] for place in (0, 1))
    error = [point.stderr or 0.0 for point in points]
    axes.errorbar(x, value, error, fmt="o-", ms=4, color="#1f6fb4", label="generated")
    floors = np.array([point.floor for point in points if point.floor is not None])
    if floors.size:
        # The floor has about the error of the smallest value.
        margin = error[int(np.argmin(value))]
        low, high = floors.min() - margin, floors.max() + margin
        axes.axhspan(low, high, color="#9aa3ad", alpha=0.4, lw=0, label="floor: real against real")


def draw_curves(panels: Mapping[str, Sequence[Point]], label: str) -> tuple[Figure, dict]:
    """Draw a panel for each curve, by the label of its values, against ``label``.

    Returns:
        The figure and the points of each panel.

    Raises:
        ValueError: if no panel has a point.
    """
    drawn = {name: sorted(points) for name, points in panels.items() if points}
    if not drawn:
        raise ValueError(f"nothing was measured of {', '.join(panels)}")
    columns = min(_COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, points) in zip(grid, drawn.items(), strict=False):
        draw_curve(axes, points)
        x = sorted({point.x for point in points})
        if x[0] > 0:
            axes.set_xscale("log")
        axes.set_xticks(x, [f"{number:,}" for number in x], rotation=45 * (len(x) > 4))
        axes.xaxis.set_minor_locator(NullLocator())
        shown = [number for point in points for number in (point.value, point.floor) if number]
        if shown and min(shown) > 0 and max(shown) > _WIDE * min(shown):
            axes.set_yscale("log")
        axes.set(xlabel=label, ylabel=name)
    for axes in grid[len(drawn) :]:
        axes.remove()
    grid[0].legend(frameon=False, fontsize=8)
    return figure, {name: [point._asdict() for point in points] for name, points in drawn.items()}
