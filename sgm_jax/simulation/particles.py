"""The five kinds of particle and the drawing of primaries."""

from dataclasses import dataclass, replace
from enum import IntEnum

import ml_collections
import numpy as np

from sgm_jax.simulation.config import KIND_NAMES, START


class ParticleKind(IntEnum):
    """Code of a particle in the label file; its lower-case name is its name in the config."""

    ELECTRON = 0
    PHOTON = 1
    MUON = 2
    PION = 3
    PROTON = 4


PDG_CODE = np.array([11, 22, 13, 211, 2212])
MASS_MEV = np.array([0.51099895, 0.0, 105.6583755, 139.57039, 938.27209])


@dataclass(frozen=True)
class Primaries:
    """``n`` primary particles, as arrays of equal length."""

    kind: np.ndarray  # [n] ParticleKind
    pdg: np.ndarray  # [n]; pions come in both charges
    momentum_mev: np.ndarray  # [n, 3] in MeV/c
    position_cm: np.ndarray  # [n, 3], from the centre of the argon

    @property
    def kinetic_mev(self) -> np.ndarray:
        """Kinetic energies ``[n]`` in MeV."""
        mass = MASS_MEV[self.kind]
        return np.hypot(np.linalg.norm(self.momentum_mev, axis=1), mass) - mass


def draw_primaries(
    rng: np.random.Generator, count: int, config: ml_collections.ConfigDict
) -> Primaries:
    """Draw ``count`` primaries: kinds equally often; uniform momentum, direction and vertex.

    Crops around the vertex lie in the argon whatever the momentum: no track leaves it within them.
    """
    kind = rng.permutation(np.arange(count) % len(ParticleKind))
    sign = np.where((kind == ParticleKind.PION) & (rng.random(count) < 0.5), -1, 1)
    bounds = np.array([config.momentum_mev[name] for name in KIND_NAMES])[kind]
    size = rng.uniform(bounds[:, 0], bounds[:, 1])
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    margin = config.image_size if config.crop == START else 0
    half_cm = 0.5 * (config.volume_pixels - margin) * config.pixel_mm / 10.0
    return Primaries(
        kind=kind,
        pdg=PDG_CODE[kind] * sign,
        momentum_mev=size[:, None] * direction,
        position_cm=rng.uniform(-half_cm, half_cm, (count, 3)),
    )


@dataclass(frozen=True)
class Events:
    """The primaries of ``m`` events, ``n`` in all; those of one event have one vertex."""

    primaries: Primaries
    event: np.ndarray  # [n] 0 to m - 1, rising; every event has at least one primary

    @property
    def num_particles(self) -> np.ndarray:
        """Number of primaries ``[m]`` of each event."""
        return np.bincount(self.event)

    def leading(self) -> np.ndarray:
        """Return the row ``[m]`` of each event's primary of most kinetic energy."""
        order = np.lexsort((self.primaries.kinetic_mev, self.event))
        return order[np.cumsum(self.num_particles) - 1]


def draw_events(rng: np.random.Generator, count: int, config: ml_collections.ConfigDict) -> Events:
    """Draw ``count`` events; their numbers of primaries are uniform within the bounds."""
    low, high = config.particles_per_event
    # No number is drawn where there is no choice: it would change all later ones.
    size = rng.integers(low, high + 1, count) if low < high else np.full(count, low)
    event = np.repeat(np.arange(count), size)
    primaries = draw_primaries(rng, event.size, config)
    first = np.cumsum(size) - size
    return Events(replace(primaries, position_cm=primaries.position_cm[first[event]]), event)
