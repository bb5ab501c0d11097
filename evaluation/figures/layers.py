"""The figure of layers: the charge of rows and columns, and where the charge of an image lies."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.figures.distributions import COLOURS, REAL
from evaluation.figures.figure import Comparison, Drawn, Figures
from evaluation.images.sets import ImageSet
from evaluation.metrics.layers import AXES, centres_by_charge, charge_edges, layer_charges


def figures(comparison: Comparison) -> Figures:
    """Return the figure, if layers were measured."""
    return {"layers": partial(draw_layers, comparison.sets)} if comparison.has("layers") else {}


def draw_layers(sets: Sequence[ImageSet]) -> Drawn:
    """Draw the mean charge of each row and column, and centres of gravity against the charge.

    Bins have equal numbers of images of all sets together. The bands and bars of the lower
    panels are the standard deviations of images, not errors of the means.
    """
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    grid = figure.subplots(2, 2)
    edges = charge_edges(*(images.images for images in sets))
    numbers: dict[str, dict] = {}
    for (above, below), (name, axis) in zip(grid.T, AXES.items(), strict=True):
        numbers[name] = {
            images.name: _draw_set(above, below, images, axis, edges, place)
            for place, images in enumerate(sets)
        }
        above.set(xlabel=f"{name}, from the first one", ylabel="mean charge", ylim=(0, None))
        below.set(xlabel="charge of an image", ylabel=f"centre across {name} (px)")
        for axes in (above, below):
            axes.grid(alpha=0.3)
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure, numbers


def _draw_set(
    above: Axes, below: Axes, images: ImageSet, axis: int, edges: np.ndarray, place: int
) -> dict[str, list]:
    """Draw a set into both panels, the first one as bands; return its numbers."""
    layers = layer_charges(images.images, axis)
    mean, error = layers.mean(axis=0), layers.std(axis=0) / np.sqrt(len(layers))
    centres = centres_by_charge(images.images, axis, edges)
    colour = COLOURS[(place - 1) % len(COLOURS)]
    if place == 0:
        above.stairs(mean, fill=True, color=REAL, alpha=0.55, label=images.name)
        low, high = centres.mean - centres.spread, centres.mean + centres.spread
        below.fill_between(centres.charge, low, high, color=REAL, alpha=0.4, lw=0)
        below.plot(centres.charge, centres.mean, color=REAL)
    else:
        x = np.arange(len(mean)) + 0.5
        above.errorbar(x, mean, error, fmt="o", ms=2.5, lw=1, color=colour, label=images.name)
        bars = {"fmt": "o", "ms": 3, "lw": 1, "color": colour}
        below.errorbar(centres.charge, centres.mean, centres.spread, **bars)
    numbers = {"charge_of_layers": mean, "stderr": error, "charge": centres.charge}
    numbers |= {"centre": centres.mean, "spread": centres.spread, "images": centres.count}
    return {name: np.nan_to_num(values).tolist() for name, values in numbers.items()}
