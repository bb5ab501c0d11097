"""The calibration's figures: which targets exclude each other, and a grid of images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.fit import STAND_IN, TRUTH
from studies.published import TARGETS

NAMES = {
    "track_share": "share of track images",
    "shower_charge": "mean shower charge (8-bit sum)",
    "narrow_share": "tracks at most 5 px wide",
    "track_occupancy": "occupancy of tracks",
    "shower_occupancy": "occupancy of showers",
}
# By diffusion scale.
_COLOURS = {0.3: "tab:blue", 0.6: "tab:orange", 1.0: "tab:green", 2.0: "tab:red"}
_GRID = (8, 10)


def draw_trade_offs(numbers: dict) -> Figure:
    """Draw which targets exclude each other, over settings, momenta and labels."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    width, charge, labels = figure.subplots(1, 3)
    _draw_widths(width, numbers)
    _draw_charges(charge, numbers)
    shares = numbers["reached"]["stand_in_shares"]
    for name in ("shower_charge", "narrow_share", "track_occupancy", "shower_occupancy"):
        ratio = [entry[name]["value"] / TARGETS[name].value for entry in shares]
        labels.plot([e["track_share"]["value"] for e in shares], ratio, label=NAMES[name])
    labels.axvline(TARGETS["track_share"].value, color="k", ls=":")
    labels.axhline(1.0, color="k", lw=0.8)
    labels.set(xlabel="share of track images, small showers called tracks", ylabel="ours / target")
    labels.legend(fontsize=7)
    return figure


def draw_sample(images: np.ndarray) -> Figure:
    """Draw a grid of images, each on its own grey scale: the first half tracks, then showers."""
    figure = Figure(figsize=(8.25, 6.6))  # at 80 dpi one dot a pixel of 64 x 64 images
    rows, columns = _GRID
    side = images.shape[1]
    canvas = np.full((rows * (side + 2), columns * (side + 2)), 0.35)
    for place, image in enumerate(images[: rows * columns]):
        row, column = (side + 2) * (place // columns), (side + 2) * (place % columns)
        canvas[row : row + side, column : column + side] = image / max(image.max(), 1)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas**0.5, cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    return figure


def at_maximum(numbers: dict, momentum_mev: float) -> list[dict]:
    """Return the trials whose e/gamma momenta end there."""
    return [row for row in numbers["curves"] if row["shower_range_mev"][1] == momentum_mev]


def short_name(detector: dict) -> str:
    """Return a detector setting in few characters."""
    others = [str(v) for k, v in detector.items() if k not in ("diffusion_scale", "threshold_mev")]
    return ", ".join([f"{detector['diffusion_scale']}/{detector['threshold_mev']}", *others])


def _draw_widths(axes: Axes, numbers: dict) -> None:
    """Draw narrow share against track occupancy: a line over thresholds for each diffusion."""
    everything = at_maximum(numbers, 1000.0)
    for labels, style in ((TRUTH, "o-"), (STAND_IN, "^--")):
        rows = [row for row in everything if row["labels"] == labels]
        for diffusion, colour in _COLOURS.items():
            line = [row for row in rows if row["detector"]["diffusion_scale"] == diffusion]
            line = [row for row in line if len(row["detector"]) == 2]
            line.sort(key=lambda row: row["detector"]["threshold_mev"])
            label = f"diffusion {diffusion}" if labels == TRUTH else None
            axes.plot(*_place(line), style, ms=4, color=colour, label=label)
        other = [row for row in rows if "volume_pixels" in row["detector"]]
        label = "1.0, volume 256" if labels == TRUTH else None
        axes.plot(*_place(other), style[0], color="grey", label=label)
    target = TARGETS["track_occupancy"].value, TARGETS["narrow_share"].value
    axes.plot(*target, "k*", ms=12, label="published")
    axes.axhline(target[1], color="k", lw=0.5, ls=":")
    axes.set(xlabel=NAMES["track_occupancy"], ylabel=NAMES["narrow_share"])
    axes.set_title("e/gamma to 1 GeV/c; threshold rises to the left; dashed: stand-in", fontsize=8)
    axes.margins(0.08)
    axes.legend(fontsize=6, loc="upper right")


def _place(rows: list[dict]) -> tuple[list[float], list[float]]:
    """Return track occupancies and narrow shares of some trials."""
    x, y = (
        [row["measured"][name]["value"] for row in rows]
        for name in ("track_occupancy", "narrow_share")
    )
    return x, y


def _draw_charges(axes: Axes, numbers: dict) -> None:
    """Draw shower charge against the largest e/gamma momentum, for the scanned diffusions."""
    for diffusion, colour in _COLOURS.items():
        for labels, style in ((TRUTH, "-"), (STAND_IN, "--")):
            wanted = {"diffusion_scale": diffusion, "threshold_mev": 0.05}
            rows = [r for r in numbers["curves"] if r["detector"] == wanted]
            rows = [r for r in rows if r["labels"] == labels]
            x = [row["shower_range_mev"][1] for row in rows]
            y = [row["measured"]["shower_charge"]["value"] for row in rows]
            axes.plot(x, y, style, color=colour, label=f"diffusion {diffusion}, {labels}")
    axes.axhline(TARGETS["shower_charge"].value, color="k", ls=":")
    axes.set(xlabel="largest e/gamma momentum (MeV/c)", ylabel=NAMES["shower_charge"])
    axes.legend(fontsize=6, ncols=2)
