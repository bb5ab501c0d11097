"""Beams into a large cube of liquid argon, with everything that Geant4 records."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sgm_jax.simulation.geant4 import VOLUME, argon_cube, import_calzone

HALF_SIDE_CM = 300.0  # 21 radiation lengths: holds any shower and muon range of the report
PRODUCTION_CUT_CM = 0.004


@dataclass(frozen=True)
class Beam:
    """What ``count`` equal particles did; depth is counted along the beam from where it starts."""

    count: int
    start_cm: float  # z of the start
    deposits: np.ndarray  # calzone's lines and points as one record: event, tid, depth, radius, ...
    tracks: np.ndarray
    vertices: np.ndarray

    @cached_property
    def primary(self) -> np.ndarray:
        """Vertices of the beam particles, in order along each."""
        return self.vertices[self.vertices["tid"] == 1]

    @cached_property
    def last(self) -> np.ndarray:
        """The last vertex ``[count]`` of every beam particle."""
        return self.primary[
            np.searchsorted(self.primary["event"], np.arange(self.count), "right") - 1
        ]

    @cached_property
    def path_cm(self) -> np.ndarray:
        """Length ``[count]`` of the path of every beam particle, along its vertices."""
        step = np.linalg.norm(np.diff(self.primary["position"], axis=0), axis=1)
        same = np.diff(self.primary["event"].astype(np.int64)) == 0
        return np.bincount(self.primary["event"][1:][same], step[same], minlength=self.count)

    def energy_left(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the energy ``[count]`` that each event left in chosen deposits, or in all."""
        deposits = self.deposits[chosen]
        return np.bincount(deposits["event"], deposits["energy"], minlength=self.count)

    def first_of(self, *processes: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return depth ``[count]`` (where it ended, if none) and presence of the first of these."""
        hit = self.primary[np.isin(self.primary["process"], processes)]
        events, rows = np.unique(hit["event"], return_index=True)
        depth = self.last["position"][:, 2] - self.start_cm
        depth[events] = hit["position"][rows, 2] - self.start_cm
        return depth, np.isin(np.arange(self.count), events)

    def made_by(self, creator: bytes, pdg: int) -> tuple[np.ndarray, np.ndarray]:
        """Return event and initial kinetic energy of what the beam particles made directly."""
        wanted = (self.tracks["parent"] == 1) & (self.tracks["creator"] == creator)
        wanted &= self.tracks["pid"] == pdg
        born = self.vertices[self.vertices["process"] == b""]
        rows = np.isin(_track_key(born), _track_key(self.tracks[wanted]))
        return born["event"][rows].astype(np.int64), born["energy"][rows]

    def descends_from(self, chosen: np.ndarray) -> np.ndarray:
        """Return which deposits were left by chosen tracks (mask over ``tracks``) or offspring."""
        order = np.argsort(_track_key(self.tracks))
        tracks = self.tracks[order]
        key = _track_key(tracks)
        parent = np.searchsorted(key, _track_key(tracks, "parent"))
        rows = np.arange(tracks.size)
        parent = np.where(tracks["parent"] > 0, np.minimum(parent, tracks.size - 1), rows)
        marked = chosen[order]
        while True:
            grown = marked | marked[parent]
            if np.array_equal(grown, marked):
                return marked[np.searchsorted(key, _track_key(self.deposits))]
            marked, parent = grown, parent[parent]


def _track_key(records: np.ndarray, name: str = "tid") -> np.ndarray:
    """Return one number for each pair of event and track."""
    return records["event"].astype(np.int64) * 10**7 + records[name]


def _deposit_table(lines: np.ndarray, points: np.ndarray, start_cm: float) -> np.ndarray:
    """Return lines (at their middle) and points as one table."""
    fields = [("event", "i8"), ("tid", "i8"), ("energy", "f8"), ("depth", "f8"), ("radius", "f8")]
    place = np.concatenate([(lines["start"] + lines["end"]) / 2.0, points["position"]])
    table = np.empty(len(place), [*fields, ("length", "f8")])
    for name, source in (("event", "event"), ("tid", "tid"), ("energy", "value")):
        table[name] = np.concatenate([lines[source], points[source]])
    table["depth"] = place[:, 2] - start_cm
    table["radius"] = np.hypot(place[:, 0], place[:, 1])
    rise = np.abs(lines["end"][:, 2] - lines["start"][:, 2])
    table["length"] = np.concatenate([rise, np.zeros(len(points))])
    return table


class Argon:
    """A cube of liquid argon in Geant4. One a process: Geant4 keeps global state."""

    def __init__(self, folder: Path, *, seed: int):
        self._seed = seed
        self._calzone = import_calzone()
        self._simulation = argon_cube(
            folder, side_cm=2.0 * HALF_SIDE_CM, production_cut_cm=PRODUCTION_CUT_CM
        )

    def shoot(
        self, pdg: int, kinetic_mev: float, count: int, *, depth_cm: float, alone: bool = False
    ) -> Beam:
        """Track ``count`` particles that have ``depth_cm`` of argon ahead of them.

        A short depth makes a thin target: what leaves it is not tracked any further. The random
        numbers depend on the seed and the arguments, not on what was shot before.

        Args:
            pdg: PDG code of the particles.
            kinetic_mev: their kinetic energy.
            count: how many, one an event.
            depth_cm: argon ahead of them.
            alone: drop everything that they make; much faster where only their own path matters.
        """
        start = HALF_SIDE_CM - depth_cm
        what = [self._seed, abs(pdg), int(pdg < 0), round(1e6 * kinetic_mev), round(1e3 * depth_cm)]
        state = np.random.SeedSequence(what).generate_state(1, np.uint64)
        self._simulation.secondaries = not alone
        self._simulation.random = self._calzone.Random(int(state[0]))
        place = {"position": (0.0, 0.0, start), "direction": (0.0, 0.0, 1.0)}
        particles = self._calzone.particles(count, pid=pdg, energy=kinetic_mev, **place)
        result = self._simulation.run(particles)
        if VOLUME not in result.deposits:
            raise ValueError(
                f"{count} particles of {kinetic_mev:g} MeV left nothing in {depth_cm:g} cm; "
                "shoot more, or deeper"
            )
        recorded = result.deposits[VOLUME]
        deposits = _deposit_table(recorded.line, recorded.point, start)
        return Beam(count, start, deposits, result.tracks, result.vertices)


def run_apart(function: Callable, *args):
    """Return ``function(*args)``, run in a fresh process so that Geant4 starts anew."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()
