"""Choose momenta and detector settings: every choice is a trial, the best has the least merit."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np

from studies.published import (
    TARGETS,
    ImageTable,
    Measured,
    figure_of_merit,
    is_track,
    measure,
    relabel,
)
from studies.scan import WIDE_MEV, Ranges, range_weights

Detector = dict[str, object]  # changes to the default settings

SHOWER_MINIMA_MEV = (35.0, 100.0)
SHOWER_MAXIMA_MEV = (*range(400, 1000, 50), *range(1000, 1601, 100))
TRACK_RANGES_MEV: dict[str, Ranges] = {
    "default": {"muon": (90.0, 1000.0), "pion": (100.0, 1000.0), "proton": (300.0, 1400.0)},
    "slow": {"muon": (90.0, 500.0), "pion": (100.0, 500.0), "proton": (300.0, 1000.0)},
    "fast": {"muon": (90.0, 1600.0), "pion": (100.0, 1600.0), "proton": (300.0, 1800.0)},
    "fast protons": {"muon": (90.0, 1000.0), "pion": (100.0, 1000.0), "proton": (450.0, 1400.0)},
}
TRUTH, STAND_IN = "truth", "stand-in"  # who says what is a track


@dataclass(frozen=True)
class Trial:
    """One choice of settings and what it gives."""

    detector: Detector
    tracks: str  # key of TRACK_RANGES_MEV
    shower_range_mev: tuple[float, float]
    labels: str  # TRUTH or STAND_IN
    measured: dict[str, Measured]

    def merit(self, weights: Mapping[str, float] = MappingProxyType({})) -> float:
        """Return the figure of merit, with some of its weights replaced."""
        return figure_of_merit(self.measured, weights)

    def ranges_mev(self) -> Ranges:
        """Return the momentum range of every kind."""
        return ranges_of(self.tracks, self.shower_range_mev)

    def as_json(self) -> dict:
        """Return the trial as JSON values."""
        return asdict(self) | {"merit": self.merit()}


def ranges_of(tracks: str, shower_range_mev: tuple[float, float]) -> Ranges:
    """Return the momentum range of every kind."""
    showers = {"electron": shower_range_mev, "photon": shower_range_mev}
    return showers | dict(TRACK_RANGES_MEV[tracks])


def label_images(table: ImageTable, weight: np.ndarray, labels: str) -> np.ndarray:
    """Return which images ``[n]`` are tracks by truth, or by the stand-in for the network."""
    track = is_track(table)
    if labels == TRUTH:
        return track
    return relabel(track, weight, table.lit, share=TARGETS["track_share"].value)


def try_momenta(
    detector: Detector,
    table: ImageTable,
    *,
    tracks: tuple[str, ...] = tuple(TRACK_RANGES_MEV),
    minima_mev: tuple[float, ...] = SHOWER_MINIMA_MEV,
    maxima_mev: tuple[float, ...] = SHOWER_MAXIMA_MEV,
) -> list[Trial]:
    """Measure one detector setting with every choice of momenta and both labels."""
    trials = []
    for name, low, high in itertools.product(tracks, minima_mev, maxima_mev):
        weight = range_weights(table, WIDE_MEV, ranges_of(name, (low, high)))
        for labels in (TRUTH, STAND_IN):
            measured = measure(table, weight, label_images(table, weight, labels))
            trials.append(Trial(detector, name, (low, float(high)), labels, measured))
    return trials


def best(
    trials: list[Trial], labels: str, weights: Mapping[str, float] = MappingProxyType({})
) -> Trial:
    """Return the trial with these labels that has the smallest figure of merit."""
    return min((t for t in trials if t.labels == labels), key=lambda trial: trial.merit(weights))


def refine(winner: Trial) -> list[Detector]:
    """Return detector settings to the four sides of a winner, about half a coarse step away."""
    diffusion = float(winner.detector["diffusion_scale"])
    threshold = float(winner.detector["threshold_mev"])
    return [
        winner.detector
        | {
            "diffusion_scale": round(diffusion * by_diffusion, 2),
            "threshold_mev": round(threshold * by_threshold, 3),
        }
        for by_diffusion, by_threshold in [(1.0, 0.8), (1.0, 1.4), (0.7, 1.0), (1.3, 1.0)]
    ]
