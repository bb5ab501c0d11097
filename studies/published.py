"""The published figures of the training images, and how well a set of images meets them.

The figures are those of arXiv:2307.13687 on its validation set. A set of images is an
``ImageTable`` with a weight for each image: the weights let one wide simulation stand for any
narrower range of momenta. Errors take the projections of one event as one draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

import numpy as np

from evaluation.metrics.histograms import PAPER_EDGES
from evaluation.metrics.physics import nearest_neighbours, occupancy
from sgm_jax.simulation.particles import ParticleKind
from sgm_jax.simulation.truth import PixelClass

TRACK_KINDS = (ParticleKind.MUON, ParticleKind.PION, ParticleKind.PROTON)


@dataclass(frozen=True)
class ImageTable:
    """What was measured on ``n`` images, and the truth about them."""

    event: np.ndarray  # [n] equal for the projections of one event
    kind: np.ndarray  # [n] ParticleKind
    momentum_mev: np.ndarray  # [n] of the particle, MeV/c
    lit: np.ndarray  # [n] pixels above zero
    charge: np.ndarray  # [n] sum of the 8-bit values
    length_px: np.ndarray  # [n]
    width_px: np.ndarray  # [n]
    label_pixels: np.ndarray  # [n, 5] lit pixels of each PixelClass
    label_charge: np.ndarray  # [n, 5] 8-bit sum of each PixelClass

    def save(self, path: Path) -> None:
        """Write the table to an ``.npz`` file."""
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "ImageTable":
        """Read a table that ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


@dataclass(frozen=True)
class Target:
    """A published figure and how much a deviation from it counts."""

    value: float
    weight: float
    note: str


@dataclass(frozen=True)
class Measured:
    """A value with its statistical error."""

    value: float
    error: float

    def __str__(self) -> str:
        digits = max(0, 1 - int(np.floor(np.log10(self.error)))) if self.error > 0 else 3
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


TARGETS = {
    "track_share": Target(0.690, 0.5, "by the authors' network, not by truth"),
    "shower_charge": Target(15134.0, 1.0, "mean 8-bit sum of shower images"),
    "narrow_share": Target(0.53, 1.0, "track images at most 5 px wide"),
    "track_occupancy": Target(0.020, 0.01, "ten tracks, near neighbours of one"),
    "shower_occupancy": Target(0.072, 0.01, "ten showers, near neighbours of one"),
}
TRACK_LENGTH_PEAK_PX = (62.0, 64.0)  # the published bin with most tracks; not fitted


def is_track(table: ImageTable, convention: str = "pixels") -> np.ndarray:
    """Return which images ``[n]`` count as tracks; ties are showers, as in the published script.

    Args:
        table: the images.
        convention: ``pixels`` or ``energy``: more of them is track than shower, Michel and delta
            electrons together. ``pixels_michel_delta_track``: those two count as track.
            ``kind``: the particle is a muon, pion or proton.

    Raises:
        ValueError: if the convention is none of these.
    """
    if convention == "kind":
        return np.isin(table.kind, TRACK_KINDS)
    amounts = table.label_charge if convention == "energy" else table.label_pixels
    if convention in ("pixels", "energy"):
        track = amounts[:, PixelClass.TRACK]
        return track > amounts.sum(axis=1) - track
    if convention == "pixels_michel_delta_track":
        shower = amounts[:, PixelClass.SHOWER]
        return amounts.sum(axis=1) - shower > shower
    raise ValueError(f"convention = {convention!r} must be one of {CONVENTIONS}")


CONVENTIONS = ("pixels", "energy", "pixels_michel_delta_track", "kind")


def relabel(
    track: np.ndarray, weight: np.ndarray, order: np.ndarray, *, share: float
) -> np.ndarray:
    """Call the showers lowest in ``order`` tracks until tracks have the wanted share.

    A stand-in for a network that takes small or thin showers for tracks.

    Args:
        track: ``[n]`` which images are tracks by truth.
        weight: ``[n]`` weights of the images.
        order: ``[n]`` the quantity in which the mistaken showers are low.
        share: wanted share of tracks; a share already reached changes nothing.
    """
    showers = np.flatnonzero(~track & (weight > 0))
    showers = showers[np.argsort(order[showers], kind="stable")]
    missing = share * weight.sum() - weight[track].sum()
    changed = track.copy()
    changed[showers[np.cumsum(weight[showers]) <= missing]] = True
    return changed


def weighted_mean(values: np.ndarray, weight: np.ndarray, event: np.ndarray) -> Measured:
    """Return the weighted mean of ``values`` ``[n]`` with an error that knows of shared events.

    Raises:
        ValueError: if all weights are zero.
    """
    total = weight.sum()
    if not total > 0:
        raise ValueError(f"none of the {len(values)} images has a weight: nothing to average")
    mean = float((weight * values).sum() / total)
    _, row = np.unique(event, return_inverse=True)
    pulls = np.bincount(row, weight * (values - mean))
    return Measured(mean, float(np.sqrt((pulls**2).sum()) / total))


def measure(table: ImageTable, weight: np.ndarray, track: np.ndarray) -> dict[str, Measured]:
    """Measure every quantity of ``TARGETS``, given which images ``[n]`` count as tracks."""
    filled = table.lit / 4096.0
    tracks, showers = weight * track, weight * ~track
    return {
        "track_share": weighted_mean(track.astype(float), weight, table.event),
        "shower_charge": weighted_mean(table.charge, showers, table.event),
        "narrow_share": weighted_mean((table.width_px <= 5).astype(float), tracks, table.event),
        "track_occupancy": weighted_mean(filled, tracks, table.event),
        "shower_occupancy": weighted_mean(filled, showers, table.event),
    }


def length_peak_px(table: ImageTable, weight: np.ndarray, track: np.ndarray) -> float:
    """Return the lower edge of the published length bin that holds most tracks."""
    edges = PAPER_EDGES["track_length_px"]
    counts = np.histogram(table.length_px[track], edges, weights=weight[track])[0]
    return float(edges[counts.argmax()])


def figure_of_merit(
    measured: Mapping[str, Measured], weights: Mapping[str, float] = MappingProxyType({})
) -> float:
    """Return the weighted root mean square of the relative deviations from ``TARGETS``.

    Args:
        measured: as from ``measure``.
        weights: replace those of ``TARGETS`` of the same name.
    """
    weight = np.array([weights.get(name, target.weight) for name, target in TARGETS.items()])
    ratio = np.array([measured[name].value / target.value for name, target in TARGETS.items()])
    return float(np.sqrt((weight * (ratio - 1.0) ** 2).sum() / weight.sum()))


def neighbour_occupancy(images: np.ndarray, *, count: int = 5, queries: int = 500) -> dict:
    """Return how full the nearest neighbours of an image are, against all images.

    The ten images behind the published occupancies are neighbours of one image. This says what
    mean occupancy five neighbours (by pixel distance) of an arbitrary image have.

    Args:
        images: ``[n, H, W]`` of one class.
        count: neighbours of each query.
        queries: images, the first ones, that serve as queries.

    Returns:
        Mean occupancy of all images, and median and bounds of 95 % of the means of neighbours.
    """
    filled = occupancy(images)
    asked = images[:queries]
    # The nearest of all is the query itself, or an exact copy of it: either way no news.
    _, place = nearest_neighbours(asked, images, count=count + 1)
    low, middle, high = np.percentile(filled[place[:, 1:]].mean(axis=1), [2.5, 50, 97.5])
    return {"all": filled.mean(), "low": low, "median": middle, "high": high}
