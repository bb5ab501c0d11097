"""Pictures of the SSNet study: confusion, calibration, images with the wrong label."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation.ssnet.network import CLASSES
from sgm_jax.simulation.config import KIND_NAMES
from sgm_jax.simulation.truth import PixelClass
from studies.ssnet_causes import first_cause
from studies.ssnet_tally import RULES, Found, Labelled, Tally

# Background, shower, track, Michel, delta.
_COLOURS = ("white", "#d9602b", "#1f6fb4", "#8a5bb5", "#2a9d6f")
_IMAGES_A_ROW = 3


def draw_confusion(table: Tally) -> Figure:
    """Draw pixels by true kind and found class, and images by true and found label, by rule."""
    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    panels = figure.subplots(1, 1 + len(RULES), width_ratios=[1.6, 1, 1])
    names = [code.name.lower() for code in list(PixelClass)[1:]]
    _matrix(panels[0], table.pixels.sum(axis=0)[1:], names, list(CLASSES))
    panels[0].set_title("lit pixels", fontsize=10)
    for axes, rule in zip(panels[1:], RULES, strict=True):
        counts = np.zeros((2, 2), int)
        np.add.at(counts, (table.is_track.astype(int), table.called_track(rule).astype(int)), 1)
        _matrix(axes, counts, ["shower", "track"], ["shower", "track"])
        axes.set_title(f"images, by {rule}", fontsize=10)
    return figure


def draw_calibration(numbers: dict) -> Figure:
    """Draw the share of right pixels against their certainty, and how many have each certainty."""
    figure = Figure(figsize=(5.0, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    accuracy = np.array([row["value"] for row in numbers["accuracy"]])
    errors = [row["error"] for row in numbers["accuracy"]]
    above.plot([0, 1], [0, 1], color="#9aa3ad", linewidth=1)
    above.errorbar(numbers["certainty"], accuracy, errors, fmt="o", markersize=4, color="#1f6fb4")
    error = numbers["calibration_error"]
    above.set_title(f"lit pixels; calibration error {error:.4f}", fontsize=10)
    above.set(ylabel="share of right pixels", xlim=(0.3, 1.01), ylim=(0.3, 1.01))
    width = numbers["from"][-1] / 19 if len(numbers["from"]) > 1 else 0.05
    below.bar(numbers["from"], numbers["pixels"], width, align="edge", color="#9aa3ad")
    below.set(xlabel="certainty (largest score)", ylabel="pixels", yscale="log")
    return figure


def draw_failures(
    data: Labelled, table: Tally, found: Found, rows: np.ndarray, *, rule: str
) -> Figure:
    """Draw images with the wrong label: image, truth, prediction, certainty."""
    lines = max(-(-len(rows) // _IMAGES_A_ROW), 1)
    figure = Figure(figsize=(15.0, 1.55 * lines + 0.4), layout="constrained")
    panels = figure.subplots(lines, 4 * _IMAGES_A_ROW, squeeze=False)
    for axes in panels.ravel():
        axes.axis("off")
    why = first_cause(table, image_pixels=data.codes[0].size)
    for place, row in enumerate(rows):
        line, column = divmod(place, _IMAGES_A_ROW)
        four = panels[line, 4 * column : 4 * column + 4]
        _four(four, data.images[row], data.codes[row], found.prediction[row], found.certainty[row])
        track, shower = table.votes[row, RULES.index(rule)]
        kind = KIND_NAMES[table.kind[row]]
        words = f"{kind}, {table.kinetic_mev[row]:.0f} MeV; votes: {track} track, {shower} shower"
        # Not a title: titles widen their own column.
        text = four[0].text(
            0, 1.04, f"{words}; {why[row]}", fontsize=6.5, transform=four[0].transAxes
        )
        text.set_in_layout(False)
    names = [code.name.lower() for code in list(PixelClass)[1:]]
    patches = [Patch(color=c, label=n) for c, n in zip(_COLOURS[1:], names, strict=True)]
    figure.legend(handles=patches, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    figure.suptitle("image, truth, prediction, certainty (dark: 1/3, bright: 1)", fontsize=9, x=0.3)
    return figure


def draw_foreign_failures(images: np.ndarray, is_track: np.ndarray) -> Figure:
    """Draw images ``[n, H, W]`` with the wrong label, each on its own logarithmic scale."""
    columns = 8
    lines = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(11.0, 1.5 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, image, track in zip(panels, images, is_track, strict=False):
        axes.imshow(np.log1p(image / max(image.max(), 1e-9) * 100), cmap="Greys")
        axes.set_title("a track" if track else "a shower", fontsize=7, pad=2)
    return figure


def _four(
    panels: np.ndarray,
    image: np.ndarray,
    codes: np.ndarray,
    prediction: np.ndarray,
    certainty: np.ndarray,
) -> None:
    classes = {"cmap": ListedColormap(_COLOURS), "vmin": -0.5, "vmax": 4.5}
    lit = codes > 0
    shown = (
        (np.log1p(image.astype(np.float32)), {"cmap": "Greys"}),
        (codes, classes),
        (np.where(lit, prediction, 0), classes),
        (np.where(lit, certainty, np.nan), {"cmap": "viridis", "vmin": 1 / 3, "vmax": 1}),
    )
    for axes, (values, options) in zip(panels, shown, strict=True):
        axes.imshow(values, interpolation="nearest", **options)
        axes.axis("on")
        axes.set(xticks=[], yticks=[])
        for edge in axes.spines.values():
            edge.set_color("#9aa3ad")


def _matrix(axes: Axes, counts: np.ndarray, rows: list[str], columns: list[str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, k), value in np.ndenumerate(share):
        colour = "white" if value > 0.5 else "black"
        axes.text(
            k,
            i,
            f"{100 * value:.2f} %\n{counts[i, k]}",
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
        )
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set(xlabel="network", ylabel="truth")
