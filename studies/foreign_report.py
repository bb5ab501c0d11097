"""The report of the comparison with foreign images: a text with tables, and one figure."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = {"ours": "tab:blue", "theirs": "tab:orange"}
_WHOLE = ("track length (px)", "track width (px)", "clusters in a track image")  # whole numbers
_LOGARITHMIC = ("pixel charge, tracks (MeV)",)


def draw(
    seen: dict[str, dict[str, np.ndarray]],
    distances: dict[str, np.ndarray],
    examples: dict[str, np.ndarray],
) -> Figure:
    """Draw one panel an observable, both sets normalised to one, the distances and an example.

    Args:
        seen: values of every observable, for ``ours`` and ``theirs``.
        distances: distances to the nearest image, by name.
        examples: energy of the steps along one straight track, of ``ours`` and ``theirs``.
    """
    names = list(seen["ours"])
    figure = Figure(figsize=(14, 8.2), layout="constrained")
    panels = figure.subplots(3, 4).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_both(axes, name, {who: observed[name] for who, observed in seen.items()})
    axes = panels[len(names)]
    edges = np.linspace(0.0, np.percentile(np.concatenate(list(distances.values())), 97), 40)
    for name, values in distances.items():
        axes.hist(np.minimum(values, edges[-1]), edges, histtype="step", density=True, label=name)
    axes.set_xlabel("distance to the nearest image (MeV)")
    axes.legend(fontsize=7)
    for who, steps in examples.items():
        panels[-1].step(np.arange(steps.size), steps, where="mid", color=_COLOURS[who], label=who)
    panels[-1].set(xlabel="column along one straight track", ylabel="energy / median")
    panels[-1].legend(fontsize=7)
    return figure


def render(numbers: dict) -> str:
    """Return the text of the report, from the numbers of ``studies.foreign_images.compare``."""
    return "\n".join([_tables(numbers), _reasons(numbers)])


def _draw_both(axes: Axes, name: str, values: dict[str, np.ndarray]) -> None:
    """Draw one observable of both sets with common bins; the last bin takes what lies above."""
    both = np.concatenate(list(values.values()))
    low, high = np.percentile(both, [0, 99]) if both.size else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6), 40)
    if name in _WHOLE:
        edges = np.arange(low - 0.5, high + 1.5, max(1, round((high - low) / 45)))
    if name in _LOGARITHMIC:
        edges = np.geomspace(max(low, 1e-3), high, 60)
        axes.set_xscale("log")
    for who, seen in values.items():
        clipped = np.clip(seen, edges[0], edges[-1])
        weights = np.full(seen.size, 1.0 / max(seen.size, 1))
        axes.hist(clipped, edges, weights=weights, histtype="step", color=_COLOURS[who], label=who)
    axes.set_xlabel(name)
    axes.legend(fontsize=7)


def _tables(numbers: dict) -> str:
    samples = numbers["samples"]
    lines = ["# Our images beside foreign ones\n", "| | ours | theirs |\n|---|---|---|"]
    lines += [
        f"| {what} | {samples['ours'][what]} | {samples['theirs'][what]} |"
        for what in ("images", "tracks")
    ]
    for name, row in numbers["observables"].items():
        lines.append(f"| {name} | {_cell(row['ours'])} | {_cell(row['theirs'])} |")
    ours, theirs = (numbers["shares"][who] for who in ("ours", "theirs"))
    lines += [f"| {what} | {_share(ours[what])} | {_share(theirs[what])} |" for what in ours]
    lines += ["\nMean ± error; quartiles in brackets.\n"]
    lines += ["| distance to the nearest image | MeV |", "|---|---|"]
    lines += [f"| {name} | {_cell(row)} |" for name, row in numbers["neighbours"].items()]
    return "\n".join([*lines, "\n![comparison](comparison.png)\n"])


def _reasons(numbers: dict) -> str:
    mean = {
        name: {who: _number(row[who]["mean"]) for who in row}
        for name, row in numbers["observables"].items()
    }
    ours, theirs = (
        {name: _share(value) for name, value in numbers["shares"][who].items()}
        for who in ("ours", "theirs")
    )
    steps, dim, several = (
        "steps of straight tracks within 2 % of the median",
        "pixels of track images below 0.1 MeV",
        "track images with more than one cluster",
    )
    repeated = mean["repeated pixel values, straight tracks"]
    occupancy, width = mean["occupancy of tracks"], mean["track width (px)"]
    showers = mean["occupancy of showers"]
    nearest = {name: _number(row["mean"]) for name, row in numbers["neighbours"].items()}
    return f"""## What differs, and why

- **Energy loss along tracks: theirs does not fluctuate.** Of the lit pixels of a straight track a
  share of {repeated["theirs"]} has, to six digits, the value of another one (ours
  {repeated["ours"]}): equal path lengths got equal energy. Per column crossed, that is per equal
  length, {theirs[steps]} of their steps lie within 2 % of the median, of ours {ours[steps]}. The
  peak at the median in the panel of steps, flat in the last panel, is what uniform loss looks
  like; the tail above it is made by delta electrons, which both have. Ours repeats probably where
  one Geant4 step, over which the loss is even, spans several pixels.
- **Theirs hold several particles.** {theirs[several]} of their track images have more than one
  cluster, of ours {ours[several]}; the mean occupancy is {occupancy["theirs"]} against
  {occupancy["ours"]}. Where tracks cross, they are one cluster, and its "width" is the distance
  between the arms: the mean width is {width["theirs"]} px against {width["ours"]}.
- **Theirs cross the whole crop more often.** Their length peaks at 63 px and above, ours has a
  broad maximum below 40: our momenta are uniform and most particles stop; their
  windows seem to tile the projection and so hold the middle of long tracks.
- **Dim pixels.** {theirs[dim]} of their track pixels are below 0.1 MeV, of ours {ours[dim]}.
  Without diffusion, such pixels are corners that a track cuts, and blips. Ours loses corners when
  deposits are merged in cells of 1 mm (`cell_mm`), so that the comparison uses 0.25 mm; the blips
  in their windows probably come from the other particles of the event.
- **Showers.** Theirs are few and mostly blips without a core: mean occupancy {showers["theirs"]}
  against {showers["ours"]}. Ours are electrons and photons of up to 1 GeV.
- **Nearest images say nothing here.** From ours, the nearest of ours and of theirs are
  {nearest["ours to ours"]} and {nearest["ours to theirs"]} MeV away; from theirs,
  {nearest["theirs to ours"]} and {nearest["theirs to theirs"]}. Thin tracks at other places do
  not overlap, so the distance is little more than the norm of the image itself.

Tracks are images with less than half of the energy from electrons and photons. Theirs counts every
delta electron among these, ours those of at least `delta_min_mev`; mixed images may so fall on
different sides.

Unknown to us: the kinds, momenta and number of their particles, and their range cuts.
"""


def _cell(row: dict) -> str:
    """Return mean, error and quartiles of an observable."""
    if not row["n"]:
        return "none"
    low, middle, high = (f"{q:.3g}" for q in row["quartiles"])
    return f"{row['mean']:.4g} ± {row['error']:.2g} ({low}, {middle}, {high})"


def _share(value: float | None) -> str:
    """Return a share in per cent."""
    return "none" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    """Return a number in three digits."""
    return "none" if value is None else f"{value:.3g}"
