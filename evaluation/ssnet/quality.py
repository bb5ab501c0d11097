"""Measure how well SSNet labels held-out pixels and images: the numbers of its model card.

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
    python -m evaluation.ssnet.quality --real=data/lar64/test/larcv_png_64 \\
        --labels=data/lar64/labels.h5 --out=runs/ssnet_quality

OUT gets report.md, numbers.json, and pictures of the calibration and of images with the wrong
label. Errors take all projections of one event as one draw, because they are not independent.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation.report import render
from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.lock import open_hdf5
from sgm_jax.run.log import LOGGER

CLASSES = ("background", "shower", "track")
SHOWER, TRACK = 1, 2
# Pixel truth as the simulation writes it, and the class that SSNet is taught for each.
TRUTH = ("background", "shower", "track", "michel", "delta")
CLASS_OF_TRUTH = np.array([0, SHOWER, TRACK, SHOWER, SHOWER])
RULES = ("all pixels", "lit pixels")  # which pixels vote for the label of an image
BINS = 20  # of certainty
SHOWN, _SHOWN_A_ROW = 24, 3
_COLOURS = ("white", "#d9602b", "#1f6fb4", "#8a5bb5", "#2a9d6f")  # of TRUTH


class Labelled(NamedTuple):
    """Simulated images and their truth, ``n`` images."""

    images: np.ndarray  # [n, H, W] on 0..255
    truth: np.ndarray  # [n, H, W] index in TRUTH
    event: np.ndarray  # [n] equal for all projections of one event


class Tally(NamedTuple):
    """Counts of each image, which can be summed with errors."""

    event: np.ndarray  # [n]
    pixels: np.ndarray  # [n, 5, 3] lit pixels by truth and by the class of the largest score
    votes: np.ndarray  # [n, 2, 2] by rule: for track, for shower
    certainty: np.ndarray  # [n, 3, BINS] lit pixels, right ones, sum of the largest scores

    def called_track(self, rule: str) -> np.ndarray:
        """Tell which images SSNet takes for tracks, ``[n]``."""
        track, shower = self.votes[:, RULES.index(rule)].T
        return track > shower

    @property
    def is_track(self) -> np.ndarray:
        """Tell which images are tracks by truth: most of their lit pixels are, ``[n]``."""
        of_truth = self.pixels.sum(axis=2)
        return 2 * of_truth[:, TRACK] > of_truth.sum(axis=1)


class Share(NamedTuple):
    """A share, its error, and how many pixels or images it is of."""

    value: float
    error: float
    n: int

    def __str__(self) -> str:
        """Return per cent, with as many digits as the error has."""
        digits = 1 if self.error >= 1e-3 else 2
        return f"{100 * self.value:.{digits}f} ± {100 * self.error:.{digits}f}"


def share(part: np.ndarray, whole: np.ndarray, event: np.ndarray) -> Share:
    """Return ``sum(part) / sum(whole)`` over images ``[n]``, with an error by event.

    The error is that of a ratio of sums over independent events, to first order.
    """
    total = whole.sum()
    if not total:
        return Share(float("nan"), float("nan"), 0)
    value = part.sum() / total
    _, row = np.unique(event, return_inverse=True)
    residual = np.bincount(row, part - value * whole)
    return Share(float(value), float(np.sqrt((residual**2).sum()) / total), int(total))


def read(images: str, labels: Path, *, split: str, count: int) -> Labelled:
    """Read up to ``count`` evenly spaced simulated images and their truth.

    Raises:
        FileNotFoundError: if either is not there.
        ValueError: if they do not belong together.
    """
    from evaluation.ssnet.data import open_labelled
    from sgm_jax.data.images import evenly_spaced

    if not labels.is_file():
        raise FileNotFoundError(f"no label file {labels}; it is written beside simulated images")
    with open_hdf5(labels) as file:
        if split not in file:
            raise ValueError(f"{labels} has no group {split}, only {', '.join(file)}; set --split")
        truth, event = (file[split][name] for name in ("pixel_label", "event_id"))
        checked = open_labelled(images, str(labels), split=split, image_size=truth.shape[1])
        rows = evenly_spaced(len(checked.images), count)
        return Labelled(checked.images[rows][..., 0], truth[:][rows], event[:][rows])


def tally(data: Labelled, score: Any, *, batch_size: int) -> tuple[Tally, np.ndarray, np.ndarray]:
    """Run SSNet over the images; return counts, and class and certainty of pixels ``[n, H, W]``."""
    from evaluation.ssnet.scores import blocks, count_votes
    from sgm_jax.data import from_array

    opened = from_array(data.images, num_channels=1, image_size=None)
    counted, classes, certainty = [], [], []
    for rows, scored in blocks(opened, score, batch_size=batch_size):
        truth = data.truth[rows]
        counts = [count_votes(scored.scores, among) for among in (None, truth > 0)]
        votes = np.stack([np.stack([c.num_track, c.num_shower], axis=1) for c in counts], axis=1)
        classes.append(scored.scores.argmax(axis=-1).astype(np.uint8))
        certainty.append(scored.scores.max(axis=-1))
        counted.append((*_count(truth, classes[-1], certainty[-1]), votes))
    pixels, bins, votes = (np.concatenate(part) for part in zip(*counted, strict=True))
    table = Tally(data.event, pixels, votes, bins)
    return table, np.concatenate(classes), np.concatenate(certainty)


def _count(
    truth: np.ndarray, classes: np.ndarray, certainty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``pixels`` and ``certainty`` of a :class:`Tally`."""
    count, lit = len(truth), truth > 0
    image = np.broadcast_to(np.arange(count)[:, None, None], truth.shape)[lit]
    pixels = np.zeros((count, len(TRUTH), len(CLASSES)), np.int64)
    np.add.at(pixels, (image, truth[lit], classes[lit]), 1)
    place = np.minimum((certainty[lit] * BINS).astype(int), BINS - 1)
    right = classes[lit] == CLASS_OF_TRUTH[truth[lit]]
    bins = np.zeros((count, 3, BINS))
    for row, weight in enumerate((1.0, right, certainty[lit])):
        np.add.at(bins[:, row], (image, place), weight)
    return pixels, bins


def numbers(table: Tally) -> dict[str, Share]:
    """Return the numbers of the card: of lit pixels, then of whole images."""
    event, pixels = table.event, table.pixels
    by_class = np.stack(
        [pixels[:, k == CLASS_OF_TRUTH].sum(axis=1) for k in range(len(CLASSES))], axis=1
    )
    right, true, called = np.einsum("nkk->nk", by_class), by_class.sum(axis=2), by_class.sum(axis=1)
    shares = {"pixel accuracy": share(right.sum(axis=1), true.sum(axis=1), event)}
    for k in (TRACK, SHOWER):
        union = true[:, k] + called[:, k] - right[:, k]
        shares[f"{CLASSES[k]} efficiency"] = share(right[:, k], true[:, k], event)
        shares[f"{CLASSES[k]} purity"] = share(right[:, k], called[:, k], event)
        shares[f"{CLASSES[k]} IoU"] = share(right[:, k], union, event)
    is_track = table.is_track
    for rule in RULES:
        same = table.called_track(rule) == is_track
        every = np.ones(len(same))
        shares[f"image agreement, {rule}"] = share(same, every, event)
        shares[f"track images found, {rule}"] = share(same & is_track, is_track, event)
        shares[f"shower images found, {rule}"] = share(same & ~is_track, ~is_track, event)
    return shares


def confusion(table: Tally) -> dict[str, dict[str, Share]]:
    """Return what SSNet calls the lit pixels of each kind of truth."""
    return {
        TRUTH[code]: {
            f"called {name}": share(called[:, k], called.sum(axis=1), table.event)
            for k, name in enumerate(CLASSES)
        }
        for code in range(1, len(TRUTH))
        for called in [table.pixels[:, code]]
    }


def calibration(table: Tally) -> tuple[list[tuple[float, Share]], float]:
    """Return certainty and share of right pixels in each bin, and the calibration error.

    The calibration error is the mean absolute difference of the two, weighted with pixels.
    """
    pixels, right, certainty = table.certainty.sum(axis=0)
    bins = [
        (
            certainty[b] / pixels[b],
            share(table.certainty[:, 1, b], table.certainty[:, 0, b], table.event),
        )
        for b in np.flatnonzero(pixels)
    ]
    return bins, float(np.abs(certainty - right).sum() / pixels.sum())


def draw_calibration(bins: list[tuple[float, Share]], error: float) -> Figure:
    """Draw the share of right pixels against their certainty."""
    figure = Figure(figsize=(5.0, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#9aa3ad", linewidth=1)
    certainty, right = zip(*bins, strict=True)
    axes.errorbar(
        certainty, [s.value for s in right], [s.error for s in right], fmt="o", markersize=4
    )
    axes.set_title(f"lit pixels; calibration error {error:.4f}", fontsize=10)
    axes.set(xlabel="certainty (largest score)", ylabel="share of right pixels", xlim=(0.3, 1.01))
    return figure


def draw_failures(
    data: Labelled, table: Tally, classes: np.ndarray, certainty: np.ndarray
) -> Figure:
    """Draw images with the wrong label: image, truth, class and certainty, clearest votes first."""
    track, shower = table.votes[:, 0].T.astype(float)
    clear = np.abs(track - shower) / np.maximum(track + shower, 1.0)
    wrong = np.flatnonzero(table.called_track(RULES[0]) != table.is_track)
    rows = wrong[np.argsort(-clear[wrong], kind="stable")][:SHOWN]
    lines = max(-(-len(rows) // _SHOWN_A_ROW), 1)
    figure = Figure(figsize=(15.0, 1.55 * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, 4 * _SHOWN_A_ROW, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    kinds = {"cmap": ListedColormap(_COLOURS), "vmin": -0.5, "vmax": 4.5}
    for place, row in enumerate(rows):
        lit = data.truth[row] > 0
        shown = (
            (np.log1p(data.images[row].astype(np.float32)), {"cmap": "Greys"}),
            (data.truth[row], kinds),
            (np.where(lit, classes[row], 0), kinds),
            (np.where(lit, certainty[row], np.nan), {"cmap": "viridis", "vmin": 0.3, "vmax": 1}),
        )
        four = panels[4 * place : 4 * place + 4]
        for axes, (values, options) in zip(four, shown, strict=True):
            axes.imshow(values, interpolation="nearest", **options)
        four[0].set_title(f"votes: {track[row]:.0f} track, {shower[row]:.0f} shower", fontsize=6.5)
    patches = [Patch(color=c, label=n) for c, n in zip(_COLOURS[1:], TRUTH[1:], strict=True)]
    figure.legend(handles=patches, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    return figure


def measure(data: Labelled, weights: Any, out: Path) -> dict[str, Any]:
    """Measure with held-out images; write report.md, numbers.json and the pictures to ``out``."""
    from evaluation.ssnet.scores import batch_size, score_function
    from sgm_jax.run.files import write_json

    score = score_function(weights.net, weights.variables)
    table, classes, certainty = tally(data, score, batch_size=batch_size(weights.net))
    bins, error = calibration(table)
    content = {
        "images": len(data.images),
        "events": len(np.unique(data.event)),
        "weights_sha256": weights.sha256,
        "numbers": numbers(table),
        "confusion": confusion(table),
        "calibration_error": error,
    }
    out.mkdir(parents=True, exist_ok=True)
    draw_calibration(bins, error).savefig(out / "calibration.png", dpi=100)
    draw_failures(data, table, classes, certainty).savefig(out / "failures.png", dpi=100)
    text = render("ssnet_quality.md", content | {"classes": CLASSES})
    (out / "report.md").write_text(text)
    write_json(out / "numbers.json", content)
    return content


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.ssnet.quality", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="held-out simulated images")
    parser.add_argument("--labels", required=True, type=Path, help="labels.h5 beside them")
    parser.add_argument("--split", default="test", help="group of the label file (default: test)")
    parser.add_argument("--num_images", type=int, default=5000, help="evenly spaced over the set")
    parser.add_argument("--ssnet", type=Path, help="weights (default: the package's)")
    parser.add_argument("--out", type=Path, default=Path("runs/ssnet_quality"), help="folder")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    from evaluation.ssnet.weights import open_weights

    start_jax(alone="python -m evaluation.ssnet.quality")
    data = read(options.real, options.labels, split=options.split, count=options.num_images)
    measure(data, open_weights(options.ssnet), options.out)
    LOGGER.info("look at %s", options.out / "report.md")


if __name__ == "__main__":
    main()
