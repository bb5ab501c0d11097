"""Observables: one number for each image, the bins they are counted in, and what they mean."""

from types import MappingProxyType

import numpy as np
import tqdm

from evaluation.images.sets import Table
from evaluation.metrics import histograms, physics

_PAPER = histograms.PAPER_EDGES

# Bin edges; values outside are counted in the outermost bins. The first three are the paper's.
EDGES = MappingProxyType(
    {
        "track_length_px": _PAPER["track_length_px"],
        "track_width_px": _PAPER["track_width_px"],
        "charge": _PAPER["shower_charge"],
        "hit_multiplicity": np.arange(-10.0, 930.0, 20.0),
        "charge_per_pixel": np.arange(0.0, 258.0, 3.0),
        "peak": np.arange(-3.5, 257.0, 4.0),
        "holes": np.arange(-0.5, 21.0, 1.0),
        "lit_neighbours": np.arange(0.0, 8.1, 0.2),
        "angle_deg": np.arange(-90.0, 91.0, 5.0),
        "clusters": np.arange(-0.5, 16.0, 1.0),
    }
)
MEANINGS = MappingProxyType(
    {
        "track_length_px": "largest distance within the largest cluster (DBSCAN 3 px, 5 pixels)",
        "track_width_px": "extent of that cluster along its second principal axis, plus one",
        "charge": "sum of the pixels of an image",
        "hit_multiplicity": "pixels above zero",
        "charge_per_pixel": "mean of the pixels above zero",
        "peak": "largest pixel",
        "holes": "zero pixels of which all four direct neighbours are above zero",
        "lit_neighbours": "mean number of the 8 neighbours of a pixel above zero that are as well",
        "angle_deg": "direction of the charge-weighted main axis, from a row; undefined left out",
        "clusters": "number of clusters (DBSCAN 3 px, 5 pixels)",
    }
)
_BLOCK = 256
_BESIDE = ((-1, 0), (0, -1), (0, 1), (1, 0))  # steps to other pixels, in rows and columns
_AROUND = (*_BESIDE, (-1, -1), (-1, 1), (1, -1), (1, 1))


def measure(images: np.ndarray) -> Table:
    """Measure every observable on ``[N, H, W]`` images: ``[N]`` each."""
    starts = tqdm.trange(0, len(images), _BLOCK, unit_scale=_BLOCK, unit="img", desc="observables")
    blocks = [_measure_block(images[start : start + _BLOCK]) for start in starts]
    return {name: np.concatenate([block[name] for block in blocks]) for name in EDGES}


def holes(images: np.ndarray) -> np.ndarray:
    """Count the zero pixels of which all four direct neighbours are lit, of ``[N, H, W]``: ``[N]``.

    Charge leaves none: this is where single dropped pixels show.
    """
    lit = images > 0
    return ((_count(lit, _BESIDE) == 4) & ~lit).sum(axis=(1, 2))


def lit_neighbours(images: np.ndarray) -> np.ndarray:
    """Return how many of their 8 neighbours the lit pixels of ``[N, H, W]`` have lit: mean ``[N]``.

    0 without lit pixels.
    """
    lit = images > 0
    around = _count(lit, _AROUND) * lit
    return around.sum(axis=(1, 2)) / np.maximum(lit.sum(axis=(1, 2)), 1)


def _count(lit: np.ndarray, steps: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Count the marked pixels of ``[N, H, W]`` that lie some steps of one pixel from each."""
    height, width = lit.shape[1:]
    padded = np.pad(lit.astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
    return sum(
        padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        for down, right in steps
    )


def _measure_block(images: np.ndarray) -> Table:
    shapes = physics.track_shapes(images)
    return {
        "track_length_px": shapes.length_px,
        "track_width_px": shapes.width_px,
        "charge": physics.total_charge(images),
        "hit_multiplicity": physics.lit_pixels(images).astype(np.float64),
        "charge_per_pixel": physics.charge_per_lit_pixel(images),
        "peak": images.max(axis=(1, 2)).astype(np.float64),
        "holes": holes(images).astype(np.float64),
        "lit_neighbours": lit_neighbours(images),
        "angle_deg": physics.axis_angle_deg(images),
        "clusters": shapes.clusters.astype(np.float64),
    }
