"""Figures of a report: ratio panels, image grids, mean images, intensities; counts beside each."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures import classifier_figures, maps, neighbour_figures, segment_figures
from evaluation.figures.ratio_figure import image_shares, poisson_shares, ratio_figure
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics import looking, observables
from evaluation.metrics.budget import Budget
from evaluation.metrics.histograms import paper_histogram
from evaluation.metrics.result import Result
from evaluation.metrics.rows import seed_of
from evaluation.metrics.run import FAILURES
from evaluation.report.report import Row
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER

# Figures of the chosen metrics: neighbours, maps and classifiers, by the name of their file.

Drawn = tuple[Figure, dict]  # and the numbers behind it


def _train_distances(pair: Pair, budget: Budget, seed: int) -> Drawn:
    return neighbour_figures.draw_train_distances(pair.generated, pair.real, pair.train)


# By the first part of the metrics that they belong to: draw(pair, budget, seed).
_OF_PAIRS: dict[str, dict[str, Callable[[Pair, Budget, int], Drawn]]] = {
    "neighbours": {"neighbours": neighbour_figures.draw, "maps": maps.draw},
    "memorisation": {"train_distances": _train_distances},
    "classifier": {"classifier": classifier_figures.draw},
}
_SEED_OF = {"classifier": "classifier/trees"}  # the row whose numbers the figure shows


def figures(
    pairs: list[Pair], rows: list[Row], *, budget: Budget, seed: int
) -> dict[str, Callable[[], Drawn]]:
    """Return what draws each figure of the metrics that ``rows`` are of, by its name."""
    families = {row["metric"].split("/")[0] for row in rows}
    drawing = {
        f"{name}_{pair.generated.name}": partial(
            draw, pair, budget, seed_of(_SEED_OF.get(name, name), seed)
        )
        for family, figures_of_family in _OF_PAIRS.items()
        if family in families
        for name, draw in figures_of_family.items()
        for pair in pairs
        if name != "train_distances" or pair.train is not None
    }
    for pair in pairs:
        name = pair.generated.name
        mine = [row for row in rows if row["set"] == name and row["status"] == "ok"]
        if any(row["metric"] in ("classifier/trees", "classifier/cnn") for row in mine):
            drawing[f"classifier_sizes_{name}"] = partial(classifier_figures.draw_sizes, mine)
    attributed = _attributed(rows)
    if attributed:
        drawing["classifier_multi"] = partial(classifier_figures.draw_attribution, attributed)
    return drawing


def _attributed(rows: list[Row]) -> dict[str, dict[str, Result]]:
    """Return which generator real images look like, by kind of classifier and by generator."""
    found: dict[str, dict[str, Result]] = {}
    for row in rows:
        *family, kind = row["metric"].split("/")
        if family == ["classifier", "multi"] and row["status"] == "ok":
            result = Result(row["metric"], row["value"], row["stderr"], row["floor"], n=row["n"])
            found.setdefault(kind, {})[row["set"]] = result
    return found


Drawn = tuple[Figure, dict]  # and the numbers behind it

_DPI = 110
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


def draw_all(
    pairs: list[Pair], rows: list[Row], folder: Path, *, budget: Budget, seed: int
) -> tuple[list[str], list[str]]:
    """Write every figure as PNG and PDF, with the numbers behind it.

    Args:
        pairs: real against each generated set.
        rows: of the metrics whose figures are wanted, beside those of the sets themselves.
        folder: of the figures.
        budget: sizes.
        seed: of everything random.

    Returns:
        The names of the figures, and what to say of those that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real, generated = pairs[0].real, [one.generated for one in pairs]
    names, failures = [], []
    drawing = _of_sets(real, generated, seed)
    drawing |= figures(pairs, rows, budget=budget, seed=seed)
    for name, draw in drawing.items():
        try:
            _save(*draw(), folder / name)
            names.append(name)
        except FAILURES as error:
            LOGGER.warning("figure %s: %s", name, error)
            failures.append(f"Figure {name} failed: {type(error).__name__}: {error}")
    return names, failures


def _of_sets(
    real: ImageSet, generated: list[ImageSet], seed: int
) -> dict[str, Callable[[], Drawn]]:
    """Return what draws each figure of the sets themselves, by its name."""
    drawing = {name: partial(draw_ratio, name, real, generated) for name in observables.EDGES}
    drawing["intensities"] = partial(draw_intensities, real, generated)
    drawing |= segment_figures.figures(real, generated)
    drawing |= {f"moments_{one.name}": partial(draw_moments, real, one) for one in generated}
    drawing |= {
        f"grid_{one.name}": partial(draw_grid, one, seed=seed) for one in (real, *generated)
    }
    return drawing


def draw_ratio(name: str, real: ImageSet, generated: list[ImageSet]) -> Drawn:
    """Draw one observable in fixed bins, with the ratio to the real set; return the counts too."""
    edges = observables.EDGES[name]
    counts = {one.name: _counts(one, name, edges) for one in (real, *generated)}
    shares = {who: poisson_shares(values) for who, values in counts.items()}
    figure = ratio_figure(edges, shares, _LABELS[name], unit="fraction of images")
    lists = {who: values.tolist() for who, values in counts.items()}
    return figure, {"edges": edges.tolist(), "counts": lists}


def draw_intensities(real: ImageSet, generated: list[ImageSet]) -> Drawn:
    """Draw how often lit pixels have each value, with the ratio to the real set."""
    starts = np.unique(np.concatenate([np.arange(1, 16), np.arange(16, 253, 4), [253, 255]]))
    widths = np.diff([*starts, 256])
    spectra = {one.name: looking.intensities(one) for one in (real, *generated)}
    shares = {}
    for who, counts in spectra.items():
        found = image_shares(np.add.reduceat(counts[:, 1:], starts - 1, axis=1))
        shares[who] = tuple(part / widths for part in found)
    edges, unit = np.array([*starts, 256]) - 0.5, "fraction of lit pixels / step"
    figure = ratio_figure(edges, shares, "value of a lit pixel", unit=unit)
    figure.axes[0].set_yscale("log")
    lists = {who: counts.sum(axis=0).tolist() for who, counts in spectra.items()}
    return figure, {"levels": list(range(256)), "counts": lists}


def draw_moments(real: ImageSet, generated: ImageSet) -> Drawn:
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


def draw_grid(one: ImageSet, *, seed: int) -> Drawn:
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
    return figure, {"rows": rows.tolist()}


def _counts(one: ImageSet, name: str, edges: np.ndarray) -> np.ndarray:
    values = one.table[name]
    return paper_histogram(values[np.isfinite(values)], edges)


def _save(figure: Figure, numbers: dict, path: Path) -> None:
    """Write a figure as PNG and PDF, without the time so that equal ones are equal files."""
    if any(isinstance(values, np.ndarray) for values in numbers.values()):
        np.savez_compressed(path.with_name(path.name + ".npz"), **numbers)
    else:
        write_json(path.with_name(path.name + ".json"), numbers)
    figure.savefig(path.with_name(path.name + ".png"), dpi=_DPI)
    figure.set_layout_engine("none")  # all is in its place: finding it takes as long as drawing
    figure.savefig(path.with_name(path.name + ".pdf"), metadata={"CreationDate": None})
