"""Figures of what SSNet sees: pixels of each class, certainties, scores, and track fractions."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures.ratio_figure import image_shares, poisson_shares, ratio_figure
from evaluation.images.sets import ImageSet
from evaluation.metrics.histograms import paper_histogram
from evaluation.metrics.segment_metrics import EDGES, SCORE_EDGES
from evaluation.ssnet.network import CLASSES

_LABELS = {
    "track_pixels": "track pixels",
    "shower_pixels": "shower pixels",
    "num_track": "votes for track (all pixels)",
    "num_shower": "votes for shower (all pixels)",
    "certainty": "mean certainty of the lit pixels",
}


def figures(real: ImageSet, generated: list[ImageSet]) -> dict[str, partial]:
    """Return what draws each figure that the tables of all sets allow, by its name."""
    sets = (real, *generated)
    if any(one.segments is None for one in sets):
        return {}
    there = set.intersection(*(set(one.segments.table) for one in sets))
    drawn = {"ssnet_fractions": partial(draw_fractions, sets)}
    drawn |= {f"ssnet_{name}": partial(draw_counts, name, sets) for name in EDGES if name in there}
    if "scores" in there:
        drawn |= {f"ssnet_scores_{name}": partial(draw_scores, name, sets) for name in CLASSES}
    return drawn


def draw_counts(name: str, sets: tuple[ImageSet, ...]) -> tuple[Figure, dict]:
    """Draw a number that SSNet gives each image, with the ratio to the first set."""
    edges, counts = EDGES[name], {}
    for one in sets:
        values = one.segments.table[name].astype(np.float64)
        counts[one.name] = paper_histogram(values[np.isfinite(values)], edges)
    shares = {who: poisson_shares(found) for who, found in counts.items()}
    figure = ratio_figure(edges, shares, _LABELS[name], unit="fraction of images")
    return figure, _numbers(edges, counts)


def draw_scores(name: str, sets: tuple[ImageSet, ...]) -> tuple[Figure, dict]:
    """Draw the scores of lit pixels for one class, with the ratio to the first set."""
    place = CLASSES.index(name)
    counts = {one.name: one.segments.table["scores"][:, place] for one in sets}
    shares = {who: image_shares(found) for who, found in counts.items()}
    figure = ratio_figure(SCORE_EDGES, shares, f"score for {name}", unit="fraction of lit pixels")
    figure.axes[0].set_yscale("log")
    return figure, _numbers(SCORE_EDGES, {who: found.sum(axis=0) for who, found in counts.items()})


def draw_fractions(sets: tuple[ImageSet, ...]) -> tuple[Figure, dict]:
    """Draw the fraction of track images of every set, by both rules where both are known."""
    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(sets)), layout="constrained")
    axes = figure.subplots()
    rules = {"is_track": "all pixels vote, as published", "is_track_lit": "lit pixels vote"}
    numbers = {}
    for place, (column, label) in enumerate(rules.items()):
        known = [row for row, one in enumerate(sets) if column in one.segments.table]
        share = np.array([sets[row].segments.table[column].mean() for row in known])
        size = np.array([len(sets[row]) for row in known])
        error = np.sqrt(share * (1 - share) / size)
        axes.errorbar(
            share, np.array(known) + 0.2 * place, xerr=error, fmt="os"[place], label=label
        )
        numbers[column] = {sets[row].name: float(s) for row, s in zip(known, share, strict=True)}
    axes.set_yticks(range(len(sets)), [one.name for one in sets])
    axes.set(xlabel="fraction of track images", ylim=(len(sets) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure, numbers


def _numbers(edges: np.ndarray, counts: dict[str, np.ndarray]) -> dict:
    lists = {who: found.tolist() for who, found in counts.items()}
    return {"edges": edges.tolist(), "counts": lists}
