"""Figures of a report: ratio panels, image grids, mean images, intensities; counts beside each."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation import looking, observables
from evaluation.histograms import paper_histogram
from evaluation.sets import ImageSet
from sgm_jax.workdir import write_json

_COLOURS = ("#1f6fb4", "#d9602b", "#2a9d6f", "#8a5bb5")  # of the generated sets, in order
_REAL = "#9aa3ad"
_DPI = 110
_RATIOS = (0.4, 1.6)  # shown
_GRID_ROWS, _GRID_COLUMNS = 10, 7  # arXiv:2307.13687, Fig. 3
_LABELS = {
    "track_length_px": "track length (px)",
    "track_width_px": "track width (px)",
    "charge": "charge (sum of pixels, 0..255 each)",
    "hit_multiplicity": "pixels above zero",
    "charge_per_pixel": "charge per lit pixel (0..255)",
    "peak": "largest pixel (0..255)",
    "holes": "holes (zero pixels between four lit ones)",
    "lit_neighbours": "lit neighbours of a lit pixel (of 8)",
    "angle_deg": "direction of the main axis (degrees)",
    "clusters": "clusters",
}


def draw_all(real: ImageSet, generated: list[ImageSet], folder: Path, *, seed: int) -> list[str]:
    """Write every figure as PNG and PDF, with the numbers behind it; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name in observables.EDGES:
        figure, counts = draw_ratio(name, real, generated)
        write_json(folder / f"{name}.json", counts)
        names.append(_save(figure, folder / name))
    figure, counts = draw_intensities(real, generated)
    write_json(folder / "intensities.json", counts)
    names.append(_save(figure, folder / "intensities"))
    for one in generated:
        figure, arrays = draw_moments(real, one)
        np.savez_compressed(folder / f"moments_{one.name}.npz", **arrays)
        names.append(_save(figure, folder / f"moments_{one.name}"))
    for one in (real, *generated):
        figure, rows = draw_grid(one, seed=seed)
        write_json(folder / f"grid_{one.name}.json", {"rows": rows})
        names.append(_save(figure, folder / f"grid_{one.name}"))
    return names


def draw_ratio(name: str, real: ImageSet, generated: list[ImageSet]) -> tuple[Figure, dict]:
    """Draw one observable in fixed bins, with the ratio to the real set; return the counts too."""
    edges = observables.EDGES[name]
    counts = {one.name: _counts(one, name, edges) for one in (real, *generated)}
    shares = {}
    for who, values in counts.items():
        total = max(values.sum(), 1)
        shares[who] = (values / total, np.sqrt(values) / total)
    figure = _ratio_figure(edges, shares, _LABELS[name], "fraction of images")
    lists = {who: values.tolist() for who, values in counts.items()}
    return figure, {"edges": edges.tolist(), "counts": lists}


def draw_intensities(real: ImageSet, generated: list[ImageSet]) -> tuple[Figure, dict]:
    """Draw how often lit pixels have each value, with the ratio to the real set.

    The pixels of an image belong together, so errors are from the spread among images.
    """
    starts = np.unique(np.concatenate([np.arange(1, 16), np.arange(16, 253, 4), [253, 255]]))
    widths = np.diff([*starts, 256])
    spectra = {one.name: looking.intensities(one) for one in (real, *generated)}
    shares = {}
    for who, counts in spectra.items():
        binned = np.add.reduceat(counts[:, 1:], starts - 1, axis=1).astype(np.float64)
        lit = binned.sum(axis=1, keepdims=True)
        total = max(lit.sum(), 1.0)
        share = binned.sum(axis=0) / total
        error = np.sqrt(((binned - share * lit) ** 2).sum(axis=0)) / total
        shares[who] = (share / widths, error / widths)
    edges = np.array([*starts, 256]) - 0.5
    figure = _ratio_figure(edges, shares, "value of a lit pixel", "fraction of lit pixels / step")
    figure.axes[0].set_yscale("log")
    lists = {who: counts.sum(axis=0).tolist() for who, counts in spectra.items()}
    return figure, {"levels": list(range(256)), "counts": lists}


def draw_moments(real: ImageSet, generated: ImageSet) -> tuple[Figure, dict[str, np.ndarray]]:
    """Draw mean images and standard deviations of both sets and their signed differences."""
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    arrays = {}
    found = [looking.moments(one) for one in (real, generated)]
    for row, what in zip(figure.subplots(2, 3), ("mean", "std"), strict=True):
        first, second = (moments[what == "std"] for moments in found)
        top = max(first.max(), second.max(), 1e-9)
        largest = max(np.abs(second - first).max(), 1e-9)
        panels = ((first, real.name), (second, generated.name))
        for axes, (image, who) in zip(row, panels, strict=False):
            shown = axes.imshow(image, cmap="Greys", vmin=0, vmax=top)
            axes.set_title(f"{what}, {who}", fontsize=9)
        figure.colorbar(shown, ax=row[:2], shrink=0.8)
        shown = row[2].imshow(second - first, cmap="RdBu_r", vmin=-largest, vmax=largest)
        row[2].set_title(f"{what}: {generated.name} - {real.name}", fontsize=9)
        figure.colorbar(shown, ax=row[2], shrink=0.8)
        arrays |= {f"{what}_real": first, f"{what}_generated": second}
    for axes in figure.axes[:6]:
        axes.tick_params(labelsize=7)
    return figure, arrays


def draw_grid(one: ImageSet, *, seed: int) -> tuple[Figure, list[int]]:
    """Draw up to 70 images, each on its own grey scale as published; return their places.

    With SSNet labels track images come first.
    """
    count = min(len(one), _GRID_ROWS * _GRID_COLUMNS)
    rows = np.sort(np.random.default_rng([seed, 2]).permutation(len(one))[:count])
    if one.is_track is not None:
        rows = rows[np.argsort(~one.is_track[rows], kind="stable")]
    height, width = (side + 2 for side in one.images.shape[1:])
    sheet = np.full((_GRID_ROWS * height, _GRID_COLUMNS * width), np.nan)  # nothing drawn
    for place, image in enumerate(one.images[rows].astype(np.float64)):
        top, left = (place // _GRID_COLUMNS) * height, (place % _GRID_COLUMNS) * width
        grey = image / max(image.max(), 1.0)
        sheet[top + 1 : top + height - 1, left + 1 : left + width - 1] = grey
    # Four dots a pixel, so that no pixel is lost.
    figure = Figure(figsize=(4 * sheet.shape[1] / _DPI, 4 * sheet.shape[0] / _DPI + 0.4))
    figure.set_facecolor("#d0d4d8")
    share = 1 - 0.4 / figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, share), frameon=False, xticks=[], yticks=[])
    axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    title = f"{one.name}: {count} of {len(one)} images, each on its own scale"
    figure.suptitle(title, y=(1 + share) / 2, va="center", fontsize=10)
    return figure, rows.tolist()


def _counts(one: ImageSet, name: str, edges: np.ndarray) -> np.ndarray:
    values = one.table[name]
    return paper_histogram(values[np.isfinite(values)], edges)


def _ratio_figure(
    edges: np.ndarray, shares: dict[str, tuple[np.ndarray, np.ndarray]], label: str, unit: str
) -> Figure:
    """Draw shares with their errors above their ratios to the first, with the errors of both."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    (real_name, (real, real_error)), *others = shares.items()
    above.stairs(real, edges, fill=True, color=_REAL, alpha=0.55, label=real_name)
    below.axhline(1.0, color="black", linewidth=0.8)
    for place, (who, (share, error)) in enumerate(others):
        colour = _COLOURS[place % len(_COLOURS)]
        # Side by side, so that equal sets do not hide each other.
        x = edges[:-1] + np.diff(edges) * (place + 1) / (len(others) + 1)
        above.errorbar(x, share, error, fmt="o", ms=2.5, lw=1, color=colour, label=who)
        used = (real > 0) & (share > 0)
        ratio = share[used] / real[used]
        spread = ratio * np.hypot(error[used] / share[used], real_error[used] / real[used])
        _draw_ratios(below, x[used], ratio, spread, colour=colour)
    above.set_ylabel(unit)
    above.legend(frameon=False)
    below.set(xlabel=label, ylabel=f"ratio to {real_name}", ylim=_RATIOS)
    below.grid(axis="y", alpha=0.3)
    return figure


def _draw_ratios(
    axes: Axes, x: np.ndarray, ratio: np.ndarray, error: np.ndarray, *, colour: str
) -> None:
    """Draw ratios; those out of range as triangles at its edge."""
    low, high = _RATIOS
    inside = (ratio > low) & (ratio < high)
    axes.errorbar(x[inside], ratio[inside], error[inside], fmt="o", ms=2.5, lw=1, color=colour)
    for marker, outside, edge in (
        ("^", ratio >= high, high - 0.03),
        ("v", ratio <= low, low + 0.03),
    ):
        axes.plot(x[outside], np.full(outside.sum(), edge), marker, ms=4, color=colour, ls="none")


def _save(figure: Figure, path: Path) -> str:
    """Write a figure as PNG and PDF without the time, so that equal ones are equal files."""
    figure.savefig(path.with_name(path.name + ".png"), dpi=_DPI)
    figure.savefig(path.with_name(path.name + ".pdf"), metadata={"CreationDate": None})
    return path.name
