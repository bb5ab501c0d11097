"""From energy deposits to smeared charge on the pixel grid: pieces, drift, diffusion, lifetime.

The anode lies at the low end of x, so charge at x drifts x + half the cube. Diffusion with
constants D_L along the drift and D_T across it widens a point to a Gaussian of
sigma = sqrt(2 D t). The Gaussian's integral shares each piece of charge among the pixels, so no
random noise is added. The share exp(-t / lifetime) of the charge arrives after a drift time t.
"""

import itertools
from dataclasses import dataclass

import ml_collections
import numpy as np
from scipy.special import ndtr

from sgm_jax.simulation.geant4 import Deposits
from sgm_jax.simulation.ionisation import escaped_charge_mev
from sgm_jax.simulation.truth import PixelClass

_REACH_SIGMA = 2.5  # pixels within this distance share all of the charge
_SMALLEST_SIGMA_PX = 1e-6  # at the anode nothing diffuses, and 0 / 0 must not happen


@dataclass(frozen=True)
class Pieces:
    """Charge at ``n`` points, ordered by event; of tracks or of showers, Michels and deltas."""

    event: np.ndarray  # [n]
    is_track: np.ndarray  # [n] bool
    position_px: np.ndarray  # [n, 3] on the pixel grid of the argon cube
    energy_mev: np.ndarray  # [n] as deposited
    charge_mev: np.ndarray  # [n]; the same numbers without recombination
    class_mev: np.ndarray  # [n, PixelClass] the charge by class


@dataclass(frozen=True)
class Charge:
    """Smeared charge: ``n`` pieces, each over ``width`` neighbouring pixels an axis."""

    event: np.ndarray  # [n], rising
    is_track: np.ndarray  # [n] bool
    energy_mev: np.ndarray  # [n] as deposited
    charge_mev: np.ndarray  # [n] as it arrives
    class_mev: np.ndarray  # [n, PixelClass] the charge by class
    first_px: np.ndarray  # [n, 3] lowest pixel that gets a share, on the grid of the cube
    share: np.ndarray  # [n, 3, width], summing to one over the last axis

    def of_events(self, count: int) -> list["Charge"]:
        """Split into one ``Charge`` for each event 0 .. count - 1."""
        bounds = np.searchsorted(self.event, np.arange(count + 1))
        return [
            Charge(**{name: values[low:high] for name, values in vars(self).items()})
            for low, high in itertools.pairwise(bounds)
        ]

    def centre_px(self) -> np.ndarray:
        """Return the pixel ``[3]`` that holds the charge centroid; there must be charge."""
        middle = self.first_px + self.share.shape[2] // 2
        # Sums, not matrix products: how those round may depend on the number of threads.
        mean = (self.charge_mev[:, None] * middle).sum(axis=0) / self.charge_mev.sum()
        return np.floor(mean).astype(np.int64)


def _split(deposits: Deposits, cell_cm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut deposits into equal pieces: owner ``[m]``, middle ``[m, 3]`` in cm, share ``[m]``."""
    step = deposits.end_cm - deposits.start_cm
    count = np.maximum(1, np.ceil(np.linalg.norm(step, axis=1) / cell_cm)).astype(np.int64)
    owner = np.repeat(np.arange(count.size), count)
    number = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
    fraction = (number + 0.5) / count[owner]
    middle = deposits.start_cm[owner] + fraction[:, None] * step[owner]
    return owner, middle, count[owner]


def gather_pieces(deposits: Deposits, config: ml_collections.ConfigDict) -> Pieces:
    """Cut long deposits and merge short ones, so that about one piece is left for each cell.

    Pieces of one event in one cell of ``config.cell_mm`` merge at their charge centroid, but
    tracks not with the rest. Geant4 steps are mostly far shorter than a pixel; merging makes the
    images three times faster.
    """
    owner, middle_cm, pieces_each = _split(deposits, 0.1 * config.cell_mm)
    energy = deposits.energy_mev[owner] / pieces_each
    charge = escaped_charge_mev(deposits, config)[owner] / pieces_each
    half_cm = 0.05 * config.volume_pixels * config.pixel_mm
    side = int(np.ceil(20.0 * half_cm / config.cell_mm)) + 1
    cell = np.clip(np.floor((middle_cm + half_cm) * 10.0 / config.cell_mm), 0, side - 1)
    pixel_class = deposits.pixel_class[owner]
    is_track = pixel_class == PixelClass.TRACK
    group = deposits.event[owner] * 2 + is_track
    for axis in range(3):
        group = group * side + cell[:, axis].astype(np.int64)
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    total = np.bincount(inverse, charge)
    # A piece without charge still needs a place; equal weights then give it one.
    weight = charge + np.where(total[inverse] > 0.0, 0.0, 1.0)
    norm = np.bincount(inverse, weight)
    moments = [np.bincount(inverse, weight * middle_cm[:, axis]) / norm for axis in range(3)]
    kinds = len(PixelClass)
    by_class = np.bincount(inverse * kinds + pixel_class, charge, minlength=first.size * kinds)
    return Pieces(
        event=deposits.event[owner[first]],
        is_track=is_track[first],
        position_px=(np.stack(moments, axis=1) + half_cm) * 10.0 / config.pixel_mm,
        energy_mev=np.bincount(inverse, energy),
        charge_mev=total,
        class_mev=by_class.reshape(-1, kinds),
    )


def drift_time_us(drift_px: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the time in microseconds to drift over ``drift_px`` pixels."""
    return drift_px * config.pixel_mm / config.drift_speed_mm_per_us


def arriving_share(drift_px: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the share of charge that impurities do not absorb over ``drift_px`` pixels."""
    if config.electron_lifetime_ms == 0.0:  # stands for no loss
        return np.ones_like(drift_px)
    return np.exp(-1e-3 * drift_time_us(drift_px, config) / config.electron_lifetime_ms)


def sigma_px(drift_px: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the Gaussian widths ``[n, 3]`` in pixels after drifting ``drift_px`` pixels."""
    time_s = drift_time_us(drift_px, config) * 1e-6
    across = config.transverse_diffusion_cm2_per_s
    constants = np.array([config.longitudinal_diffusion_cm2_per_s, across, across])
    variance_cm2 = 2.0 * config.diffusion_scale * constants * time_s[:, None]
    return 10.0 * np.sqrt(variance_cm2) / config.pixel_mm


def diffuse(pieces: Pieces, config: ml_collections.ConfigDict) -> Charge:
    """Drift charge to the anode: lose a part, share the rest among the pixels it diffuses to."""
    # One width for every piece, set by the longest drift, keeps the arrays rectangular.
    longest = sigma_px(np.array([float(config.volume_pixels)]), config).max()
    reach = int(np.ceil(_REACH_SIGMA * longest))
    first = np.floor(pieces.position_px).astype(np.int64) - reach
    drift_px = np.maximum(pieces.position_px[:, 0], 0.0)
    sigma = np.maximum(sigma_px(drift_px, config), _SMALLEST_SIGMA_PX)
    edges = first[..., None] + np.arange(2 * reach + 2)
    share = np.diff(ndtr((edges - pieces.position_px[..., None]) / sigma[..., None]), axis=-1)
    share /= share.sum(axis=-1, keepdims=True)
    arriving = arriving_share(drift_px, config)
    return Charge(
        event=pieces.event,
        is_track=pieces.is_track,
        energy_mev=pieces.energy_mev,
        charge_mev=pieces.charge_mev * arriving,
        class_mev=pieces.class_mev * arriving[:, None],
        first_px=first,
        share=share,
    )
