"""Figures of whole images: grids, mean images and standard deviations."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures.figure import DPI, Comparison, Drawn, Figures
from evaluation.images.sets import ImageSet
from evaluation.metrics import looking

_GRID_ROWS, _GRID_COLUMNS = 10, 7  # arXiv:2307.13687, Fig. 3


def figures(comparison: Comparison) -> Figures:
    """Return the figures of whole images."""
    moments = {
        f"moments_{image_set.name}": partial(draw_moments, comparison.real, image_set)
        for image_set in comparison.generated
    }
    return moments | {
        f"grid_{image_set.name}": partial(draw_grid, image_set, seed=comparison.seed)
        for image_set in comparison.sets
    }


def draw_moments(real: ImageSet, generated: ImageSet) -> Drawn:
    """Draw mean images and standard deviations of both sets and their signed differences."""
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    arrays = {}
    both = [looking.moments(image_set) for image_set in (real, generated)]
    for row, what in zip(figure.subplots(2, 3), ("mean", "std"), strict=True):
        first, second = (moments[what == "std"] for moments in both)
        top = max(first.max(), second.max(), 1e-9)
        largest = max(np.abs(second - first).max(), 1e-9)
        panels = ((first, real.name), (second, generated.name))
        for axes, (image, name) in zip(row, panels, strict=False):
            shown = axes.imshow(image, cmap="Greys", vmin=0, vmax=top)
            axes.set_title(f"{what}, {name}", fontsize=9)
        figure.colorbar(shown, ax=row[:2], shrink=0.8)
        shown = row[2].imshow(second - first, cmap="RdBu_r", vmin=-largest, vmax=largest)
        row[2].set_title(f"{what}: {generated.name} - {real.name}", fontsize=9)
        figure.colorbar(shown, ax=row[2], shrink=0.8)
        arrays |= {f"{what}_real": first, f"{what}_generated": second}
    for axes in figure.axes[:6]:
        axes.tick_params(labelsize=7)
    return figure, arrays


def sheet_of(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Lay images ``[N, H, W]`` out row by row, each on its own grey scale 0..1, NaN around them."""
    height, width = (side + 2 for side in images.shape[1:])
    sheet = np.full((rows * height, columns * width), np.nan)  # nothing drawn
    for place, image in enumerate(images.astype(np.float64)):
        top, left = (place // columns) * height, (place % columns) * width
        grey = image / max(image.max(), 1.0)
        sheet[top + 1 : top + height - 1, left + 1 : left + width - 1] = grey
    return sheet


def draw_grid(image_set: ImageSet, *, seed: int) -> Drawn:
    """Draw up to 70 images, each on its own grey scale as published; return their places.

    With SSNet labels track images come first.
    """
    count = min(len(image_set), _GRID_ROWS * _GRID_COLUMNS)
    rows = np.sort(np.random.default_rng([seed, 2]).permutation(len(image_set))[:count])
    if image_set.is_track is not None:
        rows = rows[np.argsort(~image_set.is_track[rows], kind="stable")]
    sheet = sheet_of(image_set.images[rows], _GRID_ROWS, _GRID_COLUMNS)
    # Four dots a pixel, so that no pixel is lost.
    figure = Figure(figsize=(4 * sheet.shape[1] / DPI, 4 * sheet.shape[0] / DPI + 0.4))
    figure.set_facecolor("#d0d4d8")
    share = 1 - 0.4 / figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, share), frameon=False, xticks=[], yticks=[])
    axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    title = f"{image_set.name}: {count} of {len(image_set)} images, each on its own scale"
    figure.suptitle(title, y=(1 + share) / 2, va="center", fontsize=10)
    return figure, {"rows": rows.tolist()}
