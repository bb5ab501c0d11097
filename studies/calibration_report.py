"""The calibration's report: a text with tables, its numbers as JSON, two pictures."""

import json
from pathlib import Path

import numpy as np

from studies.calibration_figures import NAMES, at_maximum, draw_sample, draw_trade_offs, short_name
from studies.fit import STAND_IN, TRUTH
from studies.published import TARGETS, TRACK_LENGTH_PEAK_PX, Measured

_OPEN = """## What pulls which way, and what stays open

- Every view is scaled so that its brightest pixel is 255. Diffusion lowers the brightest pixel and
  so lifts all others: it raises the shower charge as much as momenta do, and charge alone cannot
  tell the two apart. A lower threshold widens tracks without touching the charge.
- Width asks for more diffusion or a lower threshold, the thin tracks of the ten published crops for
  less of both. No setting has both; the figure shows the curve.
- The momentum ranges of the published particles are not known to us. With little
  diffusion (scale 0.3) this fit wants e/gamma up to about 1.25 GeV/c, with scale 1 up to 0.7 GeV/c.
- Whether 8-bit values up to 4 were set to zero in the published real images, as in the generated
  ones, is not known. If so, their occupancy and width are lower than those of the same images here.
- The stand-in is no network. A segmentation network trained on these images has to replace it.
"""


def write_report(out: Path, numbers: dict, images: np.ndarray) -> None:
    """Write ``report.md``, ``calibration.json``, ``trade_off.png`` and ``sample.png`` to ``out``.

    Args:
        out: folder, made if need be.
        numbers: as from ``studies.calibration.calibrate``.
        images: ``[n, H, W]`` of the recommended settings, tracks first.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "calibration.json").write_text(json.dumps(_rounded(numbers)) + "\n")
    draw_trade_offs(numbers).savefig(out / "trade_off.png", dpi=75)
    draw_sample(images).savefig(out / "sample.png", dpi=80)
    (out / "report.md").write_text(render(_rounded(numbers)))


def render(numbers: dict) -> str:
    """Return the text of the report."""
    parts = [_opening(numbers), _reached(numbers), _labels(numbers), _scan(numbers), _OPEN]
    return "\n".join(parts)


def _opening(numbers: dict) -> str:
    weights = ", ".join(f"{NAMES[name]} {t.weight:g}" for name, t in TARGETS.items())
    settings = "\n".join(f"{key} = {value}" for key, value in _flat(numbers["recommended"]))
    return f"""# Calibration of the simulated images to the published figures

Written by `python -m studies.calibration` ({numbers["events_a_setting"]} events
a detector setting, seed {numbers["seed"]}; numbers in `calibration.json`). Targets: the validation
set of arXiv:2307.13687.

**Figure of merit**: root mean square of the relative deviations, weighted: {weights}.
The share is a network's, not truth's. The occupancies are those of ten images each, picked as near
neighbours of one image: a factor of two in them counts as much as 10 % of the charge.

**Fitted**: diffusion scale, pixel threshold, largest and least e/gamma momentum, one of four
sets of ranges for muon, pion and proton. Also tried: a volume of 256 pixels, recombination,
finer pieces of charge (`cell_mm`). The merit is flat along a valley (less diffusion, lower
threshold, higher e/gamma momenta). So the *plain* settings, with the measured diffusion constants
(scale 1) and default momenta but for the largest of e/gamma, are taken unless others improve the
merit by 0.02, about its statistical error.

**Recommended settings** (changes to `default_simulation_config`):

```
{settings}
```

![trade-offs](trade_off.png)
"""


def _reached(numbers: dict) -> str:
    reached = numbers["reached"]
    lines = [
        f"## Target and reached\n\n{reached['images']} images of an independent seed, simulated "
        "with the recommended settings. *Truth*: a track image has more track than other lit "
        "pixels.\n*Stand-in*: besides, the showers with fewest lit pixels are called tracks until "
        "the share is the published one.\n",
        "| | target | truth | stand-in | |\n|---|---|---|---|---|",
    ]
    for name, target in TARGETS.items():
        truth, stand_in = (Measured(**reached[who]["measured"][name]) for who in (TRUTH, STAND_IN))
        status = {"track_share": "stand-in: by construction"}.get(name, "fitted (stand-in)")
        status = "predicted, in effect" if target.weight < 0.1 else status
        lines.append(f"| {NAMES[name]} | {target.value:g} | {truth} | {stand_in} | {status} |")
    peaks = [f"{reached[who]['length_peak_px']:.0f}" for who in (TRUTH, STAND_IN)]
    low, high = TRACK_LENGTH_PEAK_PX
    lines.append(f"| fullest 2-px bin of track length starts at | {low:.0f} ({low:.0f}-{high:.0f}) "
                 f"| {peaks[0]} | {peaks[1]} | predicted |")  # fmt: skip
    merits = [f"{reached[who]['merit']:.3f}" for who in (TRUTH, STAND_IN)]
    lines.append(f"| figure of merit | 0 | {merits[0]} | {merits[1]} | |\n")
    for name in ("track", "shower"):
        band = reached[STAND_IN][f"{name}_neighbours"]
        lines.append(
            f"The five nearest neighbours of a {name} image have a mean occupancy of "
            f"{band['median']:.3f} ({band['low']:.3f} to {band['high']:.3f} for 95 % of them); "
            f"all {name}s {band['all']:.3f}; published for ten such neighbours "
            f"{TARGETS[f'{name}_occupancy'].value:.3f}.\n"
        )
    return "\n".join([*lines, "\n![sample: four rows of tracks, four of showers](sample.png)\n"])


def _labels(numbers: dict) -> str:
    reached = numbers["reached"]
    lines = ["## What is a track?\n", "| convention | share of track images |\n|---|---|"]
    lines += [f"| {k} | {Measured(**v)} |" for k, v in reached["conventions"].items()]
    lines += ["\n| particle | of all images | called track by truth |\n|---|---|---|"]
    lines += [
        f"| {kind} | {row['of_images']:.3f} | {row['called_track']:.3f} |"
        for kind, row in reached["kinds"].items()
    ]
    lines += [
        "\nFive equally frequent kinds give 3/5 of the events to track particles, and the "
        "selection changes that little.\nSo no choice of momenta gives the published 0.690: the "
        "network must call part of the showers tracks.\nIf those are the small ones, charge "
        "rises and the share of narrow tracks falls at once. Which showers are mistaken hardly "
        "matters, as long as they are small:\n",
        "| mistaken showers | shower charge | narrow tracks | track occ. | shower occ. |"
        "\n|---|---|---|---|---|",
    ]
    columns = ("shower_charge", "narrow_share", "track_occupancy", "shower_occupancy")
    for order, row in reached["stand_in_orders"].items():
        lines.append(f"| {order} | " + " | ".join(str(Measured(**row[c])) for c in columns) + " |")
    return "\n".join([*lines, ""])


def _scan(numbers: dict) -> str:
    lines = [
        "## The scan\n\nBest fits:\n",
        "| fit | detector | e/gamma (MeV/c) | track ranges | charge | narrow | occ. | merit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in numbers["fits"].items():
        low, high = row["shower_range_mev"]
        lines.append(
            f"| {name} | {short_name(row['detector'])} | {low:.0f}-{high:.0f} | {row['tracks']} "
            f"| {_values(row)} | {row['merit']:.3f} |"
        )
    lines += [
        "\nEvery detector setting at e/gamma 35-800 MeV/c and default track ranges, by stand-in "
        "labels (true labels in brackets):\n",
        "| diffusion scale / threshold (MeV) | charge | narrow | occupancies | merit |",
        "|---|---|---|---|---|",
    ]
    rows = at_maximum(numbers, 800.0)
    for truth, stand_in in zip(rows[::2], rows[1::2], strict=True):
        lines.append(
            f"| {short_name(stand_in['detector'])} | {_values(stand_in)} "
            f"| {stand_in['merit']:.3f} ({truth['merit']:.3f}) |"
        )
    return "\n".join([*lines, ""])


def _rounded(value: object) -> object:
    """Return JSON values with floats of five digits: more would only swell the file."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _flat(settings: dict) -> list[tuple[str, object]]:
    """Return settings under dotted names, as on the command line."""
    momenta = [(f"momentum_mev.{k}", tuple(v)) for k, v in settings["momentum_mev"].items()]
    return [(k, v) for k, v in settings.items() if k != "momentum_mev"] + momenta


def _values(row: dict) -> str:
    """Return the cells charge, narrow share and occupancies of a trial."""
    m = {name: entry["value"] for name, entry in row["measured"].items()}
    occupancies = f"{m['track_occupancy']:.3f} / {m['shower_occupancy']:.3f}"
    return f"{m['shower_charge']:.0f} | {m['narrow_share']:.3f} | {occupancies}"
