"""The three figures that a report opens with: images, distances from the floor, distributions."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures.distributions import COLOURS, REAL
from evaluation.figures.figure import Comparison, Drawn, Figures
from evaluation.figures.images import sheet_of
from evaluation.images.sets import ImageSet
from evaluation.metrics.metric import Result
from evaluation.metrics.observables import OBSERVABLES
from evaluation.metrics.verdict import excess, family, stands_out

NAMES = ("summary_images", "summary_excess", "summary_distributions")
_ROWS, _COLUMNS = 4, 5  # images of a set
_SHOWN = ("charge", "hit_multiplicity", "track_length_px")
_MOST_BARS = 14
_LINEAR = 30.0  # errors: a longer axis is logarithmic


def figures(comparison: Comparison) -> Figures:
    """Return the three figures."""
    draw = (
        partial(draw_images, comparison.sets, seed=comparison.seed),
        partial(draw_excess, comparison.results),
        partial(draw_distributions, comparison.sets),
    )
    return dict(zip(NAMES, draw, strict=True))


def draw_images(sets: list[ImageSet], *, seed: int) -> Drawn:
    """Draw a few random images of each set side by side, each on its own grey scale."""
    figure = Figure(figsize=(2.7 * len(sets), 2.7), layout="constrained")
    figure.set_facecolor("#d0d4d8")
    rows = {}
    for axes, image_set in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        order = np.random.default_rng([seed, 5]).permutation(len(image_set))
        rows[image_set.name] = chosen = order[: _ROWS * _COLUMNS].tolist()
        sheet = sheet_of(image_set.images[chosen], _ROWS, _COLUMNS)
        axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{image_set.name}: {len(chosen)} of {len(image_set)}", fontsize=10)
        axes.set_axis_off()
    return figure, {"rows": rows}


def draw_distributions(sets: list[ImageSet]) -> Drawn:
    """Draw charge, lit pixels and track length of the images of all sets."""
    figure = Figure(figsize=(9.4, 2.7), layout="constrained")
    numbers = {}
    for axes, name in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        observable, real = OBSERVABLES[name], sets[0]
        # A few wide bins, to be read at a glance; outliers are counted in the outermost.
        edges = observable.edges[:: max(1, len(observable.edges) // 20)]
        shares = {}
        for image_set in sets:
            values = np.clip(image_set.table[name], edges[0], np.nextafter(edges[-1], edges[0]))
            counts = np.histogram(values[np.isfinite(values)], edges)[0]
            total = max(counts.sum(), 1)
            shares[image_set.name] = counts / total, np.sqrt(counts) / total
        axes.stairs(shares[real.name][0], edges, fill=True, color=REAL, alpha=0.55, label=real.name)
        for place, image_set in enumerate(sets[1:]):
            share, error = shares[image_set.name]
            colour = COLOURS[place % len(COLOURS)]
            axes.stairs(share, edges, color=colour, lw=1.4, label=image_set.name)
            centres = (edges[:-1] + edges[1:]) / 2
            axes.errorbar(centres, share, error, fmt="none", color=colour, lw=0.8)
        axes.set(xlabel=observable.label, ylim=(0, None))
        axes.xaxis.label.set_size(9)
        axes.tick_params(labelsize=8)
        numbers[name] = {"edges": edges.tolist()} | {k: v[0].tolist() for k, v in shares.items()}
    figure.axes[0].set_ylabel("fraction of images", fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure, numbers


def draw_excess(results: list[Result]) -> Drawn:
    """Draw how many errors each family of rows lies from its floor, the farthest row of each."""
    names = list(dict.fromkeys(result.set for result in results))
    bars: dict[str, dict[str, tuple[bool, float]]] = {}
    for result in results:
        above = excess(result.value, result.floor, result.stderr)
        if result.status != "ok" or above is None:
            continue
        of_family = bars.setdefault(family(result.metric), {})
        apart = bool(stands_out(result.p, above))
        of_family[result.set] = max(of_family.get(result.set, (False, 0.0)), (apart, abs(above)))
    farthest = {name: max(of_family.values()) for name, of_family in bars.items()}
    shown = sorted(bars, key=farthest.__getitem__, reverse=True)[:_MOST_BARS]
    figure = Figure(figsize=(3.9, 2.7), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        rows = [row for row, of in enumerate(shown) if name in bars[of]]
        drawn = [bars[shown[row]][name] for row in rows]
        heights = np.array(rows) + thickness * (place - (len(names) - 1) / 2)
        colours = [COLOURS[place % len(COLOURS)] if apart else "#c9ced3" for apart, _ in drawn]
        axes.barh(heights, [length for _, length in drawn], thickness, color=colours, label=name)
    axes.set_yticks(range(len(shown)), shown, fontsize=6.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("errors from the floor (grey: not seen)", fontsize=7.5)
    if shown and max(length for _, length in farthest.values()) > _LINEAR:
        axes.set_xscale("symlog", linthresh=10)
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    numbers = {of: {name: list(bar) for name, bar in bars[of].items()} for of in shown}
    return figure, {"excess": numbers}
