"""Figures of conditional images: response, direction, range, confusion, observables, pictures."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.conditional.measure import SHOWERS, STOPPING, Series, spread
from evaluation.conditional.sets import ConditionedSet
from evaluation.figures.curves import Point, draw_curves
from evaluation.figures.distributions import COLOURS, REAL
from evaluation.figures.figure import Drawn, Figures
from evaluation.metrics.observables import OBSERVABLES
from sgm_jax.data.condition import DOWN, RIGHT
from sgm_jax.simulation.validate import theory

if TYPE_CHECKING:
    from evaluation.conditional.report import ConditionalReport, Pairing

_AGAINST_GUIDANCE = {
    "response/all/deviation": "deviation of the charge",
    "response/all/width": "width of the charge, ratio",
    "direction/all/median_ratio": "median angle, ratio",
    "confusion/trees/tracks_and_showers": "particles told apart, difference",
    "range/all/deviation": "deviation of the range",
    "observables/all/ks": "observables, KS distance",
}
_MASSES = {"muon": theory.MUON_MASS_MEV, "proton": theory.PROTON_MASS_MEV}
_MOMENTA = 6  # columns of pictures
_BOTH = ("mean", "width")
_MARGIN = 1  # pixels around a picture
_BRIGHT = 60.0  # grey level that is black in pictures
_ANGLES = np.geomspace(0.1, 180.0, 61)


def figures(report: "ConditionalReport") -> Figures:
    """Return what draws each figure, in the order of the page."""
    pairs = report.pairings
    drawing: Figures = {}
    if len({pairing.generated.guidance for pairing in pairs} - {None}) > 1:
        drawing["guidance"] = partial(draw_guidance, report)
    drawing["response"] = partial(draw_response, pairs, _energy(report))
    drawing["direction"] = partial(draw_directions, pairs)
    if any(name.startswith("range/") for pairing in pairs for name in pairing.series):
        drawing["range"] = partial(draw_ranges, pairs, in_cm=report.units["pixel_mm"] is not None)
    for sort in pairs[0].confusion:
        drawing[f"confusion_{sort}"] = partial(draw_confusion, pairs, sort)
    for pairing in pairs:
        if any(row.metric.startswith("observables/") for row in pairing.rows):
            drawing[f"observables_{pairing.name}"] = partial(draw_observables, pairing)
    for images in (report.real, *(pairing.generated for pairing in pairs)):
        drawing[f"pictures_{images.name}"] = partial(draw_pictures, images, pairs[0].kinds)
    return drawing


def draw_response(pairs: Sequence["Pairing"], unit: str) -> Drawn:
    """Draw linearity and resolution of the charge as L2LFlows, arXiv:2302.11594, Fig. 8, does.

    For each kind: the mean of the central 90 %, its ratio to the simulation, the width as a share
    of the mean, and the ratio of the widths.
    """
    kinds = pairs[0].kinds
    figure = Figure(figsize=(3.4 * len(kinds), 9.2), layout="constrained")
    grid = figure.subplots(4, len(kinds), squeeze=False, sharex="col", height_ratios=[3, 2, 3, 2])
    for column, kind in zip(grid.T, kinds, strict=True):
        mean, width = ({p.name: p.series[f"response/{kind}/{w}"] for p in pairs} for w in _BOTH)
        share = {name: _over(width[name], mean[name]) for name in mean}
        _draw_values(column[0], mean)
        _draw_ratios(column[1], mean, near=0.03)
        _draw_values(column[2], share)
        _draw_ratios(column[3], width, near=0.1)
        column[0].set_title(kind)
        column[3].set_xlabel("|p| (MeV/c)")
    labels = (f"charge, mean of 90 % ({unit})", "ratio", "width / mean (90 %)", "ratio of widths")
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label)
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure, _numbers(pairs, "response/")


def draw_directions(pairs: Sequence["Pairing"]) -> Drawn:
    """Draw, for each kind, how many images point so near to what was asked, and the median."""
    kinds = pairs[0].kinds
    figure = Figure(figsize=(3.4 * len(kinds), 6.2), layout="constrained")
    grid = figure.subplots(2, len(kinds), squeeze=False)
    numbers = _numbers(pairs, "direction/") | {"angles": _ANGLES.tolist(), "below": {}}
    for column, kind in zip(grid.T, kinds, strict=True):
        first = pairs[0].pair
        lines = [("real", first.real, first.real_weights[0], REAL)]
        lines += [
            (
                pairing.name,
                pairing.pair.generated,
                pairing.pair.generated_weights[0],
                _colour(place),
            )
            for place, pairing in enumerate(pairs)
        ]
        for name, images, weights, colour in lines:
            off = images.images.table["off_deg"]
            own = (images.particle == kind) & np.isfinite(off)
            order = np.argsort(off[own])
            if own.any():
                total = np.cumsum(weights[own][order]) / weights[own].sum()
                place = np.searchsorted(off[own][order], _ANGLES, side="right")
                below = np.concatenate([[0.0], total])[place]
                numbers["below"].setdefault(name, {})[kind] = below.tolist()
                thick = 4 if name == "real" else 1.2
                column[0].plot(_ANGLES, below, color=colour, lw=thick, label=name)
        column[0].set(xscale="log", xlabel="angle off (degrees)", title=kind, ylim=(0, 1))
        column[0].grid(alpha=0.3)
        _draw_values(column[1], {p.name: p.series[f"direction/{kind}/median_deg"] for p in pairs})
        column[1].set(xlabel="|p| (MeV/c)", ylim=(0, None))
    grid[0, 0].set_ylabel("share of images")
    grid[1, 0].set_ylabel("median angle (degrees)")
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure, numbers


def draw_ranges(pairs: Sequence["Pairing"], *, in_cm: bool) -> Drawn:
    """Draw the range of what stops inside against momentum, beside the CSDA range; and how many."""
    kinds = [kind for kind in STOPPING if f"range/{kind}/range" in pairs[0].series]
    figure = Figure(figsize=(4.6 * len(kinds), 7.4), layout="constrained")
    grid = figure.subplots(3, len(kinds), squeeze=False, sharex="col", height_ratios=[3, 2, 2])
    numbers = _numbers(pairs, "range/") | {"csda": {}}
    for column, kind in zip(grid.T, kinds, strict=True):
        ranges = {p.name: p.series[f"range/{kind}/range"] for p in pairs}
        _draw_values(column[0], ranges)
        _draw_ratios(column[1], ranges, near=0.03)
        _draw_values(column[2], {p.name: p.series[f"range/{kind}/stays"] for p in pairs})
        if in_cm:
            edges = next(iter(ranges.values())).edges
            momenta = np.linspace(edges[0], edges[-1], 40)
            curve = csda_cm(momenta, kind)
            column[0].plot(momenta, curve, color="black", lw=0.9, ls="--", label="CSDA")
            numbers["csda"][kind] = {"momentum": momenta.tolist(), "cm": curve.tolist()}
        column[0].set_title(f"{kind}s without charge at the border")
        column[1].set_ylabel("ratio")
        column[2].set(xlabel="|p| (MeV/c)", ylabel="share that stays", ylim=(0, 1.05))
    grid[0, 0].set_ylabel(f"median range ({'cm' if in_cm else 'pixels'})")
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure, numbers


def csda_cm(momenta: np.ndarray, kind: str) -> np.ndarray:
    """Return the ranges in cm, in the continuous-slowing-down approximation, of muon or proton."""
    mass = _MASSES[kind]
    kinetic = np.hypot(momenta, mass) - mass
    return np.array([theory.csda_range_cm(float(energy), mass) for energy in kinetic])


def draw_confusion(pairs: Sequence["Pairing"], sort: str) -> Drawn:
    """Draw for what the images of each kind are taken, of the simulation and of each set."""
    kinds = pairs[0].kinds
    tables = {"real, not seen in training": pairs[0].confusion[sort]["real"]}
    tables |= {pairing.name: pairing.confusion[sort]["generated"] for pairing in pairs}
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    split = sum(kind in SHOWERS for kind in kinds) - 0.5
    for axes, (name, table) in zip(grid, tables.items(), strict=False):
        axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(table):
            colour = "white" if share > 0.55 else "black"
            text = "" if np.isnan(share) else f"{100 * share:.1f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(len(kinds)), kinds, rotation=40, fontsize=8)
        axes.set_yticks(range(len(kinds)), kinds, fontsize=8)
        axes.axhline(split, color="black", lw=0.8)
        axes.axvline(split, color="black", lw=0.8)
        axes.set_title(name, fontsize=9)
    for axes in grid[len(tables) :]:
        axes.remove()
    grid[0].set(ylabel="shown or asked", xlabel="taken for (%)")
    shares = {name: np.nan_to_num(table).tolist() for name, table in tables.items()}
    return figure, {"kinds": kinds, "tables": shares}


def draw_observables(pairing: "Pairing") -> Drawn:
    """Draw how far each observable of each kind in each bin is above the floor, in errors."""
    names = list(OBSERVABLES)
    rows = {row.metric: row for row in pairing.rows if row.metric.startswith("observables/")}
    figure = Figure(figsize=(2.7 * len(pairing.kinds) + 2, 4.0), layout="constrained")
    grid = figure.subplots(1, len(pairing.kinds), squeeze=False, sharey=True)[0]
    numbers = {"observables": names}
    for axes, kind in zip(grid, pairing.kinds, strict=True):
        bins = sum(f"observables/{kind}/{k}/charge/ks" in rows for k in range(1, 100))
        table = np.full((len(names), max(bins, 1)), np.nan)
        low = np.zeros_like(table, bool)
        for (row, k), _ in np.ndenumerate(table):
            result = rows.get(f"observables/{kind}/{k + 1}/{names[row]}/ks")
            if result is not None and result.status == "ok":
                table[row, k] = result.value - (result.floor or 0.0)
                low[row, k] = result.p < 0.001
        shown = axes.imshow(table, cmap="RdBu_r", vmin=-0.3, vmax=0.3, aspect="auto")
        axes.plot(*np.argwhere(low).T[::-1], "k.", ms=4)
        axes.set(title=kind, xlabel="bin of momentum")
        axes.set_xticks(range(0, table.shape[1], 3), range(1, table.shape[1] + 1, 3))
        numbers[kind] = [[None if np.isnan(v) else float(v) for v in row] for row in table]
    grid[0].set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(shown, ax=grid, label="KS distance minus its floor; dots: p < 0.001")
    return figure, numbers


def draw_pictures(images: ConditionedSet, kinds: Sequence[str]) -> Drawn:
    """Draw an image of each kind at each of six momenta, with an arrow along what was asked.

    Of images whose momentum lies mostly in the plane, the one of the nearest size is shown. All
    have one grey scale.
    """
    height, width = (side + 2 * _MARGIN for side in images.images.images.shape[1:])
    rows = len(kinds)
    figure = Figure(figsize=(1.7 * _MOMENTA + 0.4, 1.7 * rows * height / width + 0.4))
    axes = figure.add_axes((0.04, 0, 0.96, 1 - 0.4 / figure.get_figheight()), frameon=False)
    sheet = np.full((rows * height, _MOMENTA * width), np.nan)
    shown: dict[str, list[float]] = {}
    for row, kind in enumerate(kinds):
        places = _over_momenta(images, kind)
        shown[kind] = [float(size) for size in images.size[places]]
        for column, place in enumerate(places):
            corner = row * height + _MARGIN, column * width + _MARGIN
            _put(axes, sheet, images, place, corner)
        axes.text(-2, (row + 0.5) * height, kind, rotation=90, ha="right", va="center")
    axes.imshow(sheet, cmap="Greys", vmin=0, vmax=_BRIGHT, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_facecolor("#d0d4d8")
    axes.set_frame_on(True)
    axes.spines[:].set_visible(False)
    figure.suptitle(f"{images.name}: arrows point where the momentum does", fontsize=10)
    return figure, {"momenta": shown}


def _over_momenta(images: ConditionedSet, kind: str) -> list[int]:
    """Return images of a kind over its momenta, of those mostly in the plane if there are any."""
    own = np.flatnonzero(images.particle == kind)
    flat = own[images.in_plane[own] > 0.9]
    own = flat if flat.size else own
    if not own.size:
        return []
    size = images.size[own]
    wanted = size.min() + (size.max() - size.min()) * np.linspace(0.02, 0.98, _MOMENTA)
    return [int(own[np.abs(size - w).argmin()]) for w in wanted]


def _put(
    axes: Axes, sheet: np.ndarray, images: ConditionedSet, place: int, corner: tuple[int, int]
) -> None:
    """Put an image on the sheet, with its momentum."""
    picture = images.images.images[place]
    height, width = picture.shape
    top, left = corner
    sheet[top : top + height, left : left + width] = picture
    step = images.momentum[place, [DOWN, RIGHT]] / images.size[place] * 0.18 * height
    row, column = top + height // 2, left + width // 2
    arrow = {"arrowstyle": "->", "color": "#d9602b", "lw": 1.2}
    axes.annotate("", (column + step[1], row + step[0]), (column, row), arrowprops=arrow)
    axes.text(left + 2, top + 6, f"{images.size[place]:.0f} MeV/c", fontsize=7)


def draw_guidance(report: "ConditionalReport") -> Drawn:
    """Draw numbers against the weight of the guidance, with their floors."""
    weights = {pairing.name: pairing.generated.guidance for pairing in report.pairings}
    panels: dict[str, list[Point]] = {}
    for row in report.results:
        if row.metric in _AGAINST_GUIDANCE and row.status == "ok":
            point = Point(weights[row.set], row.value, row.stderr, row.floor)
            if point.x is not None:
                panels.setdefault(_AGAINST_GUIDANCE[row.metric], []).append(point)
    return draw_curves(panels, "guidance")


def _draw_values(axes: Axes, series: dict[str, Series]) -> None:
    """Draw the real values as a band of their errors, and the others as points."""
    first = next(iter(series.values()))
    real, error = first.real[0], np.nan_to_num(spread(first.real))
    axes.fill_between(first.centres, real - error, real + error, color=REAL, alpha=0.6, lw=0)
    axes.errorbar(first.centres, real, error, fmt=".-", color=REAL, lw=1.5, label="real")
    _draw_points(axes, series, lambda of_set: of_set.generated)
    axes.grid(alpha=0.3)


def _draw_ratios(axes: Axes, series: dict[str, Series], *, near: float) -> None:
    axes.axhspan(1.0 - near, 1.0 + near, color=REAL, alpha=0.3, lw=0)
    axes.axhline(1.0, color="black", lw=0.8)
    _draw_points(axes, series, lambda of_set: of_set.ratio)
    axes.grid(axis="y", alpha=0.3)


def _draw_points(
    axes: Axes, series: dict[str, Series], values: Callable[[Series], np.ndarray]
) -> None:
    """Draw the values ``[R, K]`` of each set with their errors, beside those of the others."""
    for place, (name, of_set) in enumerate(series.items()):
        shown = values(of_set)
        axes.errorbar(
            _aside(of_set, place, len(series)),
            shown[0],
            np.nan_to_num(spread(shown)),
            fmt="o",
            ms=3,
            lw=1,
            color=_colour(place),
            label=name,
        )


def _over(above: Series, below: Series) -> Series:
    with np.errstate(divide="ignore", invalid="ignore"):
        real, generated = above.real / below.real, above.generated / below.generated
    return Series(above.edges, real, generated, above.counts)


def _aside(series: Series, place: int, count: int) -> np.ndarray:
    """Return where a set's points stand, beside those of the others."""
    return series.centres + np.diff(series.edges) * 0.5 * ((place + 1) / (count + 1) - 0.5)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _energy(report: "ConditionalReport") -> str:
    return "grey levels" if report.units["mev_per_level"] is None else "MeV"


def _numbers(pairs: Sequence["Pairing"], first: str) -> dict:
    return {
        pairing.name: {
            name: of.to_dict() for name, of in pairing.series.items() if name.startswith(first)
        }
        for pairing in pairs
    }
