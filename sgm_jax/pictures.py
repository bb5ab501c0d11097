"""What a training leaves to be looked at: real beside drawn images, and its losses.

A picture knows the step that it shows, so that it is not made twice.
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from sgm_jax.data.grid import grey_of, sheet_of
from sgm_jax.run.files import atomic_write

DPI = 150
STEP = "Step"
_SMOOTH_POINTS = 50


def shows(path: Path, step: int) -> bool:
    """Tell whether a picture exists and is that of a step."""
    try:
        with Image.open(path) as picture:
            return picture.info.get(STEP) == str(step)
    except OSError:
        return False


def side_by_side(path: Path, real: np.ndarray, drawn: np.ndarray, *, step: int) -> None:
    """Write real images beside drawn ones, all on one grey scale.

    White is no charge and black the largest of all; the root of the charge is shown, so that faint
    deposits are seen.

    Args:
        path: of a PNG file.
        real: ``[N, H, W]`` or ``[N, H, W, C]`` on the scale 0..255.
        drawn: the same.
        step: that the drawn ones are of.
    """
    sheets = [sheet_of(grey_of(images), columns=None, gap=np.nan) for images in (real, drawn)]
    largest = max(float(np.nanmax(each)) for each in sheets)
    figure = Figure(figsize=(12, 6.3), layout="constrained")
    axes = figure.subplots(1, 2)
    norm = mpl.colors.PowerNorm(0.5, vmin=0.0, vmax=max(largest, 1.0))
    colours = mpl.colormaps["gray_r"].with_extremes(bad="tab:blue")
    for axis, pixels, title in zip(axes, sheets, ("real", f"drawn, step {step:,}"), strict=True):
        shown = axis.imshow(pixels, cmap=colours, norm=norm, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="charge, on the scale 0..255", shrink=0.8)
    _save(figure, path, step)


def loss_plot(path: Path, metrics: Path, *, step: int) -> None:
    """Write the losses of a run, as ``metrics.jsonl`` has them, against the steps."""
    losses, tests = (series(metrics, name) for name in ("loss", "eval_loss"))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    axis.plot(*losses.T, ".", ms=3, color="0.75", label="training, one batch")
    if len(losses) > _SMOOTH_POINTS:
        axis.plot(*_smooth(losses).T, color="tab:blue", label="training, running median")
    if len(tests):
        axis.plot(*tests.T, "o-", ms=4, color="tab:red", label="test images")
    if len(losses) and losses[:, 1].min() > 0:
        axis.set_yscale("log")
    axis.set(xlabel="step", ylabel="loss")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path, step)


def series(metrics: Path, name: str) -> np.ndarray:
    """Return ``[n, 2]`` steps and values; what a run made twice, as it was made last."""
    values = {}
    for line in metrics.read_text().splitlines():
        try:
            numbers = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if name in numbers:
            values[numbers["step"]] = numbers[name]
    return np.array(sorted(values.items()), np.float64).reshape(-1, 2)


def _smooth(series: np.ndarray) -> np.ndarray:
    """Return the medians of neighbouring points."""
    width = max(len(series) // _SMOOTH_POINTS, 3)
    windows = np.lib.stride_tricks.sliding_window_view(series, width, axis=0)
    return np.median(windows, axis=-1)


def _save(figure: Figure, path: Path, step: int) -> None:
    with atomic_write(path) as file:
        figure.savefig(file, dpi=DPI, format="png", metadata={STEP: str(step)})
