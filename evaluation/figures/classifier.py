"""Figures of the classifier tests; each comes with the numbers behind it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from evaluation.figures.figure import Comparison, Drawn, Figures
from evaluation.images.sets import Pair
from evaluation.metrics.classifier import KINDS, HeldOut, held_out
from evaluation.metrics.compute import seed_of
from evaluation.metrics.metric import Result

_COLOURS = {"trees": "#1f6fb4", "cnn": "#d9602b"}
_REAL, _GENERATED, _FLOOR = "#9aa3ad", "#d9602b", "#9aa3ad"
_BINS = 40
_POINTS = 200  # of a curve that are kept


def figures(comparison: Comparison) -> Figures:
    """Return the figures of classifier metrics, if there are any."""
    drawing: Figures = {}
    results = [result for result in comparison.results if result.status == "ok"]
    if comparison.has("classifier"):
        seed = seed_of("classifier/trees", comparison.seed)  # of the row that it shows
        for pair in comparison.pairs:
            drawing[f"classifier_{pair.generated.name}"] = partial(draw, pair, seed)
    for images in comparison.generated:
        own = [result for result in results if result.set == images.name]
        if any(result.metric in ("classifier/trees", "classifier/cnn") for result in own):
            drawing[f"classifier_sizes_{images.name}"] = partial(draw_sizes, own)
    shares: dict[str, dict[str, Result]] = {}
    for result in results:
        family, _, kind = result.metric.rpartition("/")
        if family == "classifier/multi":
            shares.setdefault(kind, {})[result.set] = result
    if shares:
        drawing["classifier_multi"] = partial(draw_attribution, shares)
    return drawing


def draw(pair: Pair, seed: int) -> Drawn:
    """Draw the ROC curves and scores of the trees, which are quick to train again."""
    equal = pair.equal_sizes(seed=seed)
    return draw_scores(
        held_out("trees", equal.real, equal.generated, seed=seed),
        held_out("trees", *equal.floor, seed=seed),
        label="gradient-boosted trees on observables",
    )


def draw_scores(scored: HeldOut, floor: HeldOut, *, label: str) -> Drawn:
    """Draw the ROC curve of held-out scores, that of two real sets, and the scores."""
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts: dict[str, Any] = {"roc": {}}
    lines = (("real and generated", scored, _GENERATED), ("real and real", floor, _FLOOR))
    for name, held_out_scores, colour in lines:
        curve, area = _curve(held_out_scores), held_out_scores.auc()
        text = f"{name}: {area.value:.3f} ± {area.stderr:.3f}"
        left.plot(*curve, color=colour, label=text)
        counts["roc"][name] = {"auc": area.value, "stderr": area.stderr, "p": area.p}
        counts["roc"][name] |= {"false": curve[0].tolist(), "true": curve[1].tolist()}
    left.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="real images taken for generated", ylabel="generated images found", title=label)
    left.set_aspect("equal")
    left.legend(frameon=False, fontsize=8, title="AUC", loc="lower right")
    edges = np.linspace(*np.quantile(scored.scores, [0.005, 0.995]), _BINS + 1)
    edges = edges if edges[0] < edges[-1] else edges[0] + np.linspace(-1.0, 1.0, _BINS + 1)
    histograms = {
        name: np.histogram(np.clip(scored.scores[chosen], edges[0], edges[-1]), edges)[0]
        for name, chosen in (("real", ~scored.is_generated), ("generated", scored.is_generated))
    }
    right.stairs(histograms["real"], edges, fill=True, color=_REAL, alpha=0.55, label="real")
    right.stairs(histograms["generated"], edges, color=_GENERATED, lw=1.5, label="generated")
    right.set(xlabel="held-out score: log odds of generated", ylabel="images")
    right.legend(frameon=False)
    counts["edges"] = edges.tolist()
    counts["scores"] = {name: values.tolist() for name, values in histograms.items()}
    return figure, counts


def draw_sizes(rows: Sequence[Result]) -> Drawn:
    """Draw the AUC against the number of training images of either set, with the floors.

    Rows other than ``classifier/KIND`` and ``classifier/KIND@SIZE`` are left out.
    """
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    counts = {}
    for kind, colour in _COLOURS.items():
        points = sorted(
            (_training_size(row, kind), row.value, row.stderr, row.floor)
            for row in rows
            if _sized(row, kind)
        )
        if not points:
            continue
        size, value, stderr, floor = np.array(points).T
        axes.errorbar(size, value, stderr, fmt="o-", ms=4, color=colour, label=kind)
        axes.plot(size, floor, "s--", ms=3, color=colour, alpha=0.5, label=f"{kind}, real and real")
        counts[kind] = {"size": size.astype(int).tolist(), "auc": value.tolist()}
        counts[kind] |= {"stderr": stderr.tolist(), "floor": floor.tolist()}
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="training images of either set", ylabel="AUC of held-out images")
    sizes = sorted({size for numbers in counts.values() for size in numbers["size"]})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_ylim(min(0.4, axes.get_ylim()[0]), 1.02)
    if counts:
        axes.legend(frameon=False, fontsize=8)
    return figure, counts


def draw_attribution(rows: Mapping[str, Mapping[str, Result]]) -> Drawn:
    """Draw which generator real images look like, by kind of classifier and by generator."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    counts = {}
    for place, (kind, of_generators) in enumerate(rows.items()):
        x = np.arange(len(of_generators)) + (place - (len(rows) - 1) / 2) * 0.35
        values = np.array([[row.value, row.stderr, row.floor] for row in of_generators.values()])
        axes.bar(x, values[:, 0], 0.3, yerr=values[:, 1], color=_COLOURS[kind], label=kind)
        axes.axhline(values[0, 2], color="black", linewidth=0.8, linestyle=":")
        counts[kind] = {
            name: {"mean": r.value, "stderr": r.stderr} for name, r in of_generators.items()
        }
    axes.set_xticks(range(len(of_generators)), list(of_generators))
    axes.set(ylabel="mean probability for real images", ylim=(0, 1))
    axes.legend(frameon=False)
    return figure, counts


def _curve(scored: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve as the mean over folds, at fixed shares of real images."""
    real = np.linspace(0.0, 1.0, _POINTS)
    curves = []
    for k in np.unique(scored.fold):
        scores, is_high = scored.scores[scored.fold == k], scored.is_generated[scored.fold == k]
        false, true, _ = roc_curve(is_high, scores, drop_intermediate=False)
        curves.append(np.interp(real, false, true))
    return real, np.mean(curves, axis=0)


def _sized(result: Result, kind: str) -> bool:
    """Return whether a result is the AUC of a kind of classifier, of any training size."""
    name = result.metric.partition("@")[0]
    return name == f"classifier/{kind}" and None not in (result.stderr, result.floor)


def _training_size(result: Result, kind: str) -> int:
    """Return the training images of either set behind an AUC."""
    folds, size = KINDS[kind].folds, result.metric.partition("@")[2]
    return int(size) if size else result.n * (folds - 1) // folds
