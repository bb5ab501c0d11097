"""Efficiencies, purities and agreement of SSNet, each with its error, for any choice of images."""

import itertools

import numpy as np

from evaluation.ssnet.network import CLASSES, SHOWER, TRACK
from sgm_jax.simulation.config import KIND_NAMES
from sgm_jax.simulation.truth import PixelClass
from studies.published import weighted_mean
from studies.ssnet_tally import ALL_PIXELS, CALIBRATION_BINS, RULES, Tally

LEAST_LIT = 10  # pixels that an image must have in the row "at least ..."
TARGETS = {
    "pixel accuracy": 0.97,
    "track efficiency": 0.95,
    "track purity": 0.95,
    "shower efficiency": 0.95,
    "shower purity": 0.95,
    f"image agreement, {ALL_PIXELS}": 0.97,
}
_SHARE_EDGES = (0.0, 0.05, 0.2)  # of Michel and delta pixels
_LIT_QUANTILES = (0.2, 0.4, 0.6, 0.8)

Number = dict[str, float | int | None]
Split = dict[str, np.ndarray]  # name of a part -> which images belong to it


def ratio(part: np.ndarray, whole: np.ndarray, event: np.ndarray) -> Number:
    """Return ``sum(part) / sum(whole)`` over images, with two errors.

    ``error`` takes the projections of one event as one draw; ``binomial_error`` takes all pixels,
    or images, as independent, which they are not.
    """
    part, whole = (values.astype(np.float64) for values in (part, whole))
    if not whole.sum():
        return {"value": None, "error": None, "binomial_error": None, "n": 0}
    found = weighted_mean(part / np.maximum(whole, 1.0), whole, event)
    binomial = np.sqrt(found.value * (1.0 - found.value) / whole.sum())
    n = int(whole.sum())
    return {
        "value": found.value,
        "error": found.error,
        "binomial_error": float(binomial),
        "n": n,
    }


def quality(table: Tally) -> dict[str, Number]:
    """Return the numbers of some images: of lit pixels, then of whole images."""
    counts, event = table.by_class, table.event
    right, true, found = np.einsum("nkk->nk", counts), counts.sum(axis=2), counts.sum(axis=1)
    numbers = {"pixel accuracy": ratio(right.sum(axis=1), table.lit, event)}
    for k in (TRACK, SHOWER):
        union = true[:, k] + found[:, k] - right[:, k]
        numbers |= {
            f"{CLASSES[k]} efficiency": ratio(right[:, k], true[:, k], event),
            f"{CLASSES[k]} purity": ratio(right[:, k], found[:, k], event),
            f"{CLASSES[k]} IoU": ratio(right[:, k], union, event),
        }
    for rule in RULES:
        numbers |= agreement(table.called_track(rule), table.is_track, event, rule=rule)
    return numbers


def agreement(
    called_track: np.ndarray, is_track: np.ndarray, event: np.ndarray, *, rule: str
) -> dict[str, Number]:
    """Return how often image labels are right: over all, over true tracks, over true showers."""
    same, every = called_track == is_track, np.ones(len(is_track))
    return {
        f"image agreement, {rule}": ratio(same, every, event),
        f"track images found, {rule}": ratio(same & is_track, is_track, event),
        f"shower images found, {rule}": ratio(same & ~is_track, ~is_track, event),
    }


def splits(table: Tally) -> dict[str, Split]:
    """Return the ways to split images by truth."""
    odd = table.of_code[:, (PixelClass.MICHEL, PixelClass.DELTA)].sum(axis=1)
    share = odd / np.maximum(table.lit, 1)
    low, high = _SHARE_EDGES[1:]
    edges = np.unique(np.quantile(table.lit, _LIT_QUANTILES).round().astype(int))
    return {
        "particle": {name: table.kind == code for code, name in enumerate(KIND_NAMES)},
        "lit pixels": bins(table.lit, edges.tolist()),
        "Michel and delta share of lit pixels": {
            "none": odd == 0,
            f"up to {low:.0%}": (share > 0) & (share <= low),
            f"{low:.0%} to {high:.0%}": (share > low) & (share <= high),
            f"above {high:.0%}": share > high,
        },
        "cut": {f"at least {LEAST_LIT} lit pixels": table.lit >= LEAST_LIT},
    }


def bins(values: np.ndarray, edges: list[int]) -> Split:
    """Return the images below, between and from whole-numbered edges on."""
    inner = {f"{a} to {b - 1}": (values >= a) & (values < b) for a, b in itertools.pairwise(edges)}
    below, above = values < edges[0], values >= edges[-1]
    return {f"below {edges[0]}": below} | inner | {f"{edges[-1]} and more": above}


def split_quality(table: Tally) -> dict[str, dict[str, dict]]:
    """Return the numbers of all parts that have images, by split and part."""
    return {
        name: {
            part: {"images": int(chosen.sum())} | quality(table.take(chosen))
            for part, chosen in parts.items()
            if chosen.any()
        }
        for name, parts in splits(table).items()
    }


def truth_classes(table: Tally) -> dict[str, dict]:
    """Return for each true kind of pixel its share and what the network calls it."""
    rows = {}
    for code in list(PixelClass)[1:]:
        called = table.pixels[:, code]
        rows[code.name.lower()] = {
            "share of lit pixels": ratio(called.sum(axis=1), table.lit, table.event)
        } | {
            f"called {name}": ratio(called[:, k], called.sum(axis=1), table.event)
            for k, name in enumerate(CLASSES)
        }
    return rows


def calibration(table: Tally) -> dict:
    """Return how often pixels of each certainty are right, and the mean absolute difference.

    The difference is the expected calibration error: bins weighted with their pixels.
    """
    pixels, right, score = table.calibration.sum(axis=0)
    seen = np.flatnonzero(pixels)
    return {
        "from": (seen / CALIBRATION_BINS).tolist(),
        "pixels": pixels[seen].astype(int).tolist(),
        "certainty": (score[seen] / pixels[seen]).tolist(),
        "accuracy": [
            ratio(table.calibration[:, 1, b], table.calibration[:, 0, b], table.event) for b in seen
        ],
        "calibration_error": float(np.abs(score - right).sum() / pixels.sum()),
    }


def against_targets(numbers: dict[str, Number]) -> list[dict]:
    """Return one row a target: what was asked for, what was reached."""
    return [
        {"what": name, "target": target, "met": numbers[name]["value"] >= target} | numbers[name]
        for name, target in TARGETS.items()
    ]
