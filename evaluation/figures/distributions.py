"""Figures of distributions: shares in bins with their errors, and their ratios to the real set."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.figures.figure import Comparison, Drawn, Figures
from evaluation.images.sets import ImageSet
from evaluation.metrics import looking
from evaluation.metrics.observables import OBSERVABLES, Observable
from evaluation.metrics.physics import paper_histogram
from evaluation.metrics.ssnet import COUNTS, SCORE_EDGES
from evaluation.ssnet.network import CLASSES

COLOURS = ("#1f6fb4", "#d9602b", "#2a9d6f", "#8a5bb5")  # of the generated sets, in order
REAL = "#9aa3ad"
_RATIOS = (0.4, 1.6)  # shown

Shares = dict[str, tuple[np.ndarray, np.ndarray]]  # shares and errors of each set; real ones first


def figures(comparison: Comparison) -> Figures:
    """Return the figures of observables; those of SSNet if all sets have its tables."""
    sets = comparison.sets
    drawing: Figures = {
        name: partial(
            draw_observable,
            observable,
            {image_set.name: image_set.table[name] for image_set in sets},
        )
        for name, observable in OBSERVABLES.items()
    }
    drawing["intensities"] = partial(draw_intensities, sets)
    if any(image_set.segments is None for image_set in sets):
        return drawing
    columns = set.intersection(*(set(image_set.segments.table) for image_set in sets))
    drawing["ssnet_fractions"] = partial(draw_fractions, sets)
    for name in COUNTS:
        if name in columns:
            values = {
                image_set.name: image_set.segments.table[name].astype(np.float64)
                for image_set in sets
            }
            drawing[f"ssnet_{name}"] = partial(draw_observable, COUNTS[name], values)
    if "scores" in columns:
        drawing |= {f"ssnet_scores_{name}": partial(draw_scores, name, sets) for name in CLASSES}
    return drawing


def draw_observable(observable: Observable, values: dict[str, np.ndarray]) -> Drawn:
    """Draw a number of each image in fixed bins, with the ratio to the real set.

    ``values`` are ``[n]`` of each set by its name, the real one first; those that are NaN are left
    out.
    """
    edges = observable.edges
    counts = {
        name: paper_histogram(column[np.isfinite(column)], edges) for name, column in values.items()
    }
    shares = {}
    for name, histogram in counts.items():
        total = max(histogram.sum(), 1)
        shares[name] = histogram / total, np.sqrt(histogram) / total
    figure = ratio_figure(edges, shares, observable.label, unit="fraction of images")
    return figure, _numbers(edges, counts)


def draw_intensities(sets: Sequence[ImageSet]) -> Drawn:
    """Draw how often lit pixels have each value, with the ratio to the first set."""
    starts = np.unique(np.concatenate([np.arange(1, 16), np.arange(16, 253, 4), [253, 255]]))
    widths = np.diff([*starts, 256])
    spectra = {image_set.name: looking.intensities(image_set) for image_set in sets}
    shares = {}
    for name, counts in spectra.items():
        share, error = image_shares(np.add.reduceat(counts[:, 1:], starts - 1, axis=1))
        shares[name] = share / widths, error / widths
    edges, unit = np.array([*starts, 256]) - 0.5, "fraction of lit pixels / step"
    figure = ratio_figure(edges, shares, "value of a lit pixel", unit=unit)
    figure.axes[0].set_yscale("log")
    lists = {name: counts.sum(axis=0).tolist() for name, counts in spectra.items()}
    return figure, {"levels": list(range(256)), "counts": lists}


def draw_scores(name: str, sets: Sequence[ImageSet]) -> Drawn:
    """Draw the scores of lit pixels for one class, with the ratio to the first set."""
    place = CLASSES.index(name)
    counts = {image_set.name: image_set.segments.table["scores"][:, place] for image_set in sets}
    shares = {set_name: image_shares(scores) for set_name, scores in counts.items()}
    figure = ratio_figure(SCORE_EDGES, shares, f"score for {name}", unit="fraction of lit pixels")
    figure.axes[0].set_yscale("log")
    summed = {set_name: scores.sum(axis=0) for set_name, scores in counts.items()}
    return figure, _numbers(SCORE_EDGES, summed)


def draw_fractions(sets: Sequence[ImageSet]) -> Drawn:
    """Draw the fraction of track images of every set, by both rules if both are known."""
    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(sets)), layout="constrained")
    axes = figure.subplots()
    rules = {"is_track": "all pixels vote, as published", "is_track_lit": "lit pixels vote"}
    numbers = {}
    for place, (column, label) in enumerate(rules.items()):
        known = [row for row, image_set in enumerate(sets) if column in image_set.segments.table]
        share = np.array([sets[row].segments.table[column].mean() for row in known])
        size = np.array([len(sets[row]) for row in known])
        error = np.sqrt(share * (1 - share) / size)
        axes.errorbar(
            share, np.array(known) + 0.2 * place, xerr=error, fmt="os"[place], label=label
        )
        numbers[column] = {sets[row].name: float(s) for row, s in zip(known, share, strict=True)}
    axes.set_yticks(range(len(sets)), [image_set.name for image_set in sets])
    axes.set(xlabel="fraction of track images", ylim=(len(sets) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure, numbers


def ratio_figure(edges: np.ndarray, shares: Shares, label: str, *, unit: str) -> Figure:
    """Draw shares with their errors, and below their ratios to the first set."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    (real_name, (real, real_error)), *others = shares.items()
    above.stairs(real, edges, fill=True, color=REAL, alpha=0.55, label=real_name)
    below.axhline(1.0, color="black", linewidth=0.8)
    for place, (name, (share, error)) in enumerate(others):
        colour = COLOURS[place % len(COLOURS)]
        # Side by side, so that equal sets do not hide each other.
        x = edges[:-1] + np.diff(edges) * (place + 1) / (len(others) + 1)
        above.errorbar(x, share, error, fmt="o", ms=2.5, lw=1, color=colour, label=name)
        used = (real > 0) & (share > 0)
        ratio = share[used] / real[used]
        spread = ratio * np.hypot(error[used] / share[used], real_error[used] / real[used])
        _draw_ratios(below, x[used], ratio, spread, colour=colour)
    above.set_ylabel(unit)
    above.legend(frameon=False)
    below.set(xlabel=label, ylabel=f"ratio to {real_name}", ylim=_RATIOS)
    below.grid(axis="y", alpha=0.3)
    return figure


def image_shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares ``[k]`` of counts ``[n, k]`` of the pixels of n images, and their errors.

    The pixels of an image belong together, so errors are from the spread among images.
    """
    counts = counts.astype(np.float64)
    of_image = counts.sum(axis=1, keepdims=True)
    total = max(of_image.sum(), 1.0)
    share = counts.sum(axis=0) / total
    return share, np.sqrt(((counts - share * of_image) ** 2).sum(axis=0)) / total


def _draw_ratios(
    axes: Axes, x: np.ndarray, ratio: np.ndarray, error: np.ndarray, *, colour: str
) -> None:
    """Draw ratios; those out of range become triangles at the edge."""
    low, high = _RATIOS
    inside = (ratio > low) & (ratio < high)
    axes.errorbar(x[inside], ratio[inside], error[inside], fmt="o", ms=2.5, lw=1, color=colour)
    for marker, outside, edge in (
        ("^", ratio >= high, high - 0.03),
        ("v", ratio <= low, low + 0.03),
    ):
        axes.plot(x[outside], np.full(outside.sum(), edge), marker, ms=4, color=colour, ls="none")


def _numbers(edges: np.ndarray, counts: dict[str, np.ndarray]) -> dict:
    lists = {name: histogram.tolist() for name, histogram in counts.items()}
    return {"edges": edges.tolist(), "counts": lists}
