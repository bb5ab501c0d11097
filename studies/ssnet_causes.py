"""Why images get the wrong label, measured: causes are conditions on the truth of an image."""

import numpy as np

from sgm_jax.simulation.particles import ParticleKind
from sgm_jax.simulation.truth import PixelClass
from studies.ssnet_numbers import Number, Split, ratio
from studies.ssnet_tally import RULES, Tally

_CLOSE, _NOTABLE = 0.2, 0.1  # shares of lit pixels
# Pixels for each pixel of extent; a straight track has two to three.
_DENSE_PX, _THIN_PX = 5.0, 4.0
_SOFT_MEV, _FEW = 200.0, 0.02  # kinetic energy; share of all pixels of the image
NO_CAUSE = "none of these"

MEANINGS = {
    "close call": f"track and shower pixels differ by less than {_CLOSE:.0%} of the lit ones",
    "Michel": f"Michel electrons make {_NOTABLE:.0%} of the lit pixels or more",
    "delta": f"delta electrons make {_NOTABLE:.0%} of the lit pixels or more",
    "hadron shower": "a pion or proton, and showers (pi0, photons of nuclei) make "
    f"{_NOTABLE:.0%} of the lit pixels or more",
    "dense stub": f"a track image with at least {_DENSE_PX:g} track pixels for each pixel of the "
    "track's extent: stars, stubs, tracks seen end-on",
    "unbranched shower": "an electron or photon with less than "
    f"{_THIN_PX:g} lit pixels for each pixel of extent: no more than a line is in the image",
    "soft shower": f"an electron or photon of less than {_SOFT_MEV:g} MeV, which hardly showers",
    "shower start": "an electron or photon that starts in the image: its trunk is a track",
    "few pixels": f"less than {_FEW:.0%} of the image is lit",
}


def causes(table: Tally, *, image_pixels: int) -> Split:
    """Return which images have each cause; an image may have several.

    Args:
        table: the images.
        image_pixels: of one image, lit or not.
    """
    of, lit = table.of_code, table.lit
    track = of[:, PixelClass.TRACK]
    hadron = np.isin(table.kind, (ParticleKind.PION, ParticleKind.PROTON))
    light = np.isin(table.kind, (ParticleKind.ELECTRON, ParticleKind.PHOTON))
    dense = track >= _DENSE_PX * np.maximum(table.track_extent_px, 1)
    had = {
        "close call": np.abs(2 * track - lit) < _CLOSE * lit,
        "Michel": of[:, PixelClass.MICHEL] >= _NOTABLE * lit,
        "delta": of[:, PixelClass.DELTA] >= _NOTABLE * lit,
        "hadron shower": hadron & (of[:, PixelClass.SHOWER] >= _NOTABLE * lit),
        "dense stub": table.is_track & dense,
        "unbranched shower": light & (lit < _THIN_PX * table.extent_px),
        "soft shower": light & (table.kinetic_mev < _SOFT_MEV),
        "shower start": light & table.starts_inside,
        "few pixels": lit < _FEW * image_pixels,
    }
    return had | {NO_CAUSE: ~np.any(list(had.values()), axis=0)}


def explain(table: Tally, *, rule: str, image_pixels: int) -> list[dict]:
    """Return one row a cause: how many images have it and fail, beside those without.

    ``first`` counts failures by the first of their causes, in the order of ``MEANINGS``, so that it
    adds up to all; ``failures`` counts an image under each of its causes.
    """
    fails, rows = table.fails(rule), []
    unexplained = fails.copy()
    for name, has in causes(table, image_pixels=image_pixels).items():
        rows.append(
            {
                "cause": name,
                "meaning": MEANINGS.get(name, ""),
                "images": int(has.sum()),
                "failures": int((fails & has).sum()),
                "first": int((unexplained & has).sum()),
                "rate_with": _rate(fails, has, table.event),
                "rate_without": _rate(fails, ~has, table.event),
            }
        )
        unexplained &= ~has
    return rows


def first_cause(table: Tally, *, image_pixels: int) -> np.ndarray:
    """Return the name of the first cause of each image, ``[n]``."""
    had = causes(table, image_pixels=image_pixels)
    return np.array(list(had))[np.argmax(list(had.values()), axis=0)]


def worst(table: Tally, *, rule: str, count: int) -> np.ndarray:
    """Return the images with the wrong label and the clearest votes for it, worst first."""
    track, shower = table.votes[:, RULES.index(rule)].T.astype(np.float64)
    clear = np.abs(track - shower) / np.maximum(track + shower, 1.0)
    order = np.argsort(-np.where(table.fails(rule), clear, -1.0), kind="stable")
    return order[: min(count, int(table.fails(rule).sum()))]


def wrong_pixels(prediction: np.ndarray, classes: np.ndarray, event: np.ndarray) -> dict:
    """Return how many lit pixels are wrong where track meets shower, and elsewhere.

    Args:
        prediction: class of each pixel, ``[n, H, W]``.
        classes: the true one, Michels and deltas folded into showers; 0 is not lit.
        event: of each image.
    """
    lit, wrong = classes > 0, (prediction != classes) & (classes > 0)
    meets = np.zeros(classes.shape, bool)
    padded = np.pad(classes, ((0, 0), (1, 1), (1, 1)))
    height, width = classes.shape[1:]
    for down in range(3):
        for right in range(3):
            near = padded[:, down : down + height, right : right + width]
            meets |= lit & (near > 0) & (near != classes)
    per_image = {"axis": (1, 2)}
    of_all = (wrong & meets).sum(**per_image), wrong.sum(**per_image)
    return {
        "pixels that touch the other class": ratio(
            meets.sum(**per_image), lit.sum(**per_image), event
        ),
        "of these wrong": ratio(of_all[0], meets.sum(**per_image), event),
        "of the others wrong": ratio(
            (wrong & ~meets).sum(**per_image), (lit & ~meets).sum(**per_image), event
        ),
        "share of all wrong pixels": ratio(*of_all, event),
    }


def _rate(fails: np.ndarray, chosen: np.ndarray, event: np.ndarray) -> Number:
    return ratio(fails[chosen], np.ones(int(chosen.sum())), event[chosen])
