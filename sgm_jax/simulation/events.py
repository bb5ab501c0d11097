"""Events: one or several primaries from one vertex."""

from dataclasses import dataclass, replace

import ml_collections
import numpy as np

from sgm_jax.simulation.particles import Primaries, draw_primaries


@dataclass(frozen=True)
class Events:
    """The primaries of ``m`` events, ``n`` in all."""

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
    # No number is drawn where there is no choice: single particles then are what they ever were.
    size = rng.integers(low, high + 1, count) if low < high else np.full(count, low)
    event = np.repeat(np.arange(count), size)
    primaries = draw_primaries(rng, event.size, config)
    first = np.cumsum(size) - size
    return Events(replace(primaries, position_cm=primaries.position_cm[first[event]]), event)
