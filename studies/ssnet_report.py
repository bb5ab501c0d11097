"""The text of the SSNet study, from its numbers."""

from studies.ssnet_foreign import SHOWER_ABOVE, TARGET, TRACK_BELOW
from studies.ssnet_numbers import Number
from studies.ssnet_tally import ALL_PIXELS, LIT_PIXELS

_SPLIT_COLUMNS = {
    "pixels right": "pixel accuracy",
    "track eff.": "track efficiency",
    "track pur.": "track purity",
    "shower eff.": "shower efficiency",
    "shower pur.": "shower purity",
    "images right, all pixels": f"image agreement, {ALL_PIXELS}",
    "images right, lit pixels": f"image agreement, {LIT_PIXELS}",
}
Rows = list[list[str]]


def render(numbers: dict) -> str:
    """Return the report, from the numbers of ``studies.ssnet_study.study``."""
    parts = [_head(numbers), _overall(numbers), _pixels(numbers), _splits(numbers), _why(numbers)]
    if numbers["larger"]:
        parts.append(_larger(numbers["larger"]))
    if "foreign" in numbers:
        parts.append(_foreign(numbers["foreign"]))
    return "\n".join(parts)


def percent(number: Number) -> str:
    """Return a share in per cent with its error, in as many digits as that has."""
    if number["value"] is None:
        return "-"
    value, error = 100.0 * number["value"], 100.0 * number["error"]
    digits = 1 if error >= 0.1 else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def table(head: list[str], rows: Rows) -> str:
    """Lay rows out in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _head(numbers: dict) -> str:
    height, width = numbers["image_shape"]
    return f"""# How good SSNet is, and why it fails

Written by `python -m studies.ssnet_quality`; every number is in `numbers.json`.
{numbers["images"]} held-out images of {height}x{width} pixels, projections of {numbers["events"]}
events, {numbers["lit_pixels"]} lit pixels. Weights {numbers["weights_sha256"][:12]}, normalisation
by {numbers["normalisation"].replace("_", " ")}.

Numbers are per cent. Errors take the projections of one event as one draw; they are larger than
binomial ones (also in `numbers.json`), for the pixels of an image succeed and fail together.
Pixels are those with charge. Michel and delta electrons are showers. An image is a track if most
of its lit pixels are; the network's label is the paper's: more votes for track than for shower
among **all** pixels, lit or not, or, where it says so, among lit ones.

## Targets
"""


def _overall(numbers: dict) -> str:
    rows = [
        [row["what"], f"{100 * row['target']:g}", percent(row), "yes" if row["met"] else "**no**"]
        for row in numbers["targets"]
    ]
    every = [[name, percent(value), str(value["n"])] for name, value in numbers["overall"].items()]
    return (
        table(["number", "target", "reached", "met"], rows)
        + "\n## All numbers\n\n"
        + table(["number", "per cent", "of so many"], every)
        + "\n![confusion](confusion.png)\n"
    )


def _pixels(numbers: dict) -> str:
    classes = numbers["truth_classes"]
    head = list(next(iter(classes.values())))
    rows = [[name, *(percent(row[key]) for key in head)] for name, row in classes.items()]
    borders = [[name, percent(value)] for name, value in numbers["borders"].items()]
    error = numbers["calibration"]["calibration_error"]
    return (
        "## Pixels by what they truly are\n\n"
        + table(["truth", *head], rows)
        + "\nWhere track and shower touch (one of the eight neighbours is of the other class):\n\n"
        + table(["", "per cent"], borders)
        + f"\n## Certainty\n\nMean difference of certainty and share of right pixels: {error:.4f}."
        "\n\n![calibration](calibration.png)\n"
    )


def _splits(numbers: dict) -> str:
    text = "## By truth\n"
    for name, parts in numbers["splits"].items():
        rows = [
            [part, str(row["images"]), *(percent(row[key]) for key in _SPLIT_COLUMNS.values())]
            for part, row in parts.items()
        ]
        text += "\n" + table([name, "images", *_SPLIT_COLUMNS], rows)
    return text


def _why(numbers: dict) -> str:
    text = """## Why images get the wrong label

Causes are conditions on the truth. An image may have several: *failures* counts it under each,
*first* under the first in this order only, so that it adds up to all. The last two columns are the
share of images with and without the cause that fail: a cause that explains nothing has them equal.
Causes and thresholds were chosen on the failures of a network of a shorter training, among the same
held-out images.
"""
    for rule, part in numbers["causes"].items():
        rows = [
            [
                row["cause"],
                str(row["images"]),
                str(row["failures"]),
                str(row["first"]),
                percent(row["rate_with"]),
                percent(row["rate_without"]),
            ]
            for row in part["rows"]
        ]
        head = ["cause", "images", "failures", "first", "fail with it", "fail without it"]
        text += f"\nBy {rule}: {part['failures']} of {numbers['images']} images fail.\n\n"
        text += table(head, rows)
    meanings = [
        f"- **{row['cause']}**: {row['meaning']}."
        for row in numbers["causes"][ALL_PIXELS]["rows"]
        if row["meaning"]
    ]
    return (
        text
        + "\n"
        + "\n".join(meanings)
        + "\n\nThe failures with the clearest votes for the wrong label; the title ends with the "
        "first cause:\n\n![failures](failures.png)\n"
    )


def _larger(sets: dict[str, dict]) -> str:
    head = ["events", "window", "images", "same labels", *_SPLIT_COLUMNS]
    rows = [
        [
            name,
            window,
            str(row["images"]),
            percent(row["same labels"]),
            *(percent(row[key]) for key in _SPLIT_COLUMNS.values()),
        ]
        for name, windows in sets.items()
        for window, row in windows.items()
    ]
    return """## Larger events

Single particles simulated as for the training, with larger images, and windows cut from their
middle. Sides that are no multiple of 16 are filled with empty pixels and cropped back. The truth of
a window is that of its own pixels; *same labels* is the share of its lit pixels that are called the
same in the whole image.

""" + table(head, rows)


def _foreign(part: dict) -> str:
    every = [
        [name, rule, *_agreement_cells(parts["all"])]
        for name, rules in part["agreement"].items()
        for rule, parts in rules.items()
    ]
    first = next(iter(part["agreement"].values()))[ALL_PIXELS]
    chosen = [[name, *_agreement_cells(row)] for name, row in first.items()]
    met = "met" if first["all"]["image agreement"]["value"] >= TARGET else "**missed**"
    head = ["n", "agreement", "tracks found", "showers found"]
    return (
        f"""## Another simulation

Crops in MeV of events with several particles, without diffusion. Tracks are crops with less than
{TRACK_BELOW:.0%} of the energy from electrons and photons, showers those with more than
{SHOWER_ABOVE:.0%}. Target {TARGET:.0%}: {met}. To call everything by the more common kind gives
{part["majority"]:.1%}, so the last two columns say more.

"""
        + table(["images", "rule", *head], every)
        + "\nAs they are, by all pixels:\n\n"
        + table(["images with", *head], chosen)
        + "\nImages with the wrong label, by what they truly are (logarithmic grey):\n"
        "\n![foreign failures](foreign_failures.png)\n"
    )


def _agreement_cells(row: dict) -> list[str]:
    names = ("image agreement", "track images found", "shower images found")
    return [str(row["images"]), *(percent(row[name]) for name in names)]
