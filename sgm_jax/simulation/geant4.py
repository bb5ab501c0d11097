"""Geant4 through calzone: primaries in, energy deposits out."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sgm_jax.run.files import ensure_home
from sgm_jax.simulation.argon_data import DATA_VARIABLE, GEANT4_VERSION, Geant4Data
from sgm_jax.simulation.particles import Primaries
from sgm_jax.simulation.truth import label_deposits

PHYSICS_LIST = "FTFP_BERT"
VOLUME = "Argon"


@dataclass(frozen=True)
class Deposits:
    """Energy left in the argon: ``n`` straight pieces, ordered by event."""

    event: np.ndarray  # [n] index of the primary
    start_cm: np.ndarray  # [n, 3], from the centre of the argon
    end_cm: np.ndarray  # [n, 3]; equal to start for a deposit at a point
    energy_mev: np.ndarray  # [n]
    pixel_class: np.ndarray  # [n] PixelClass of what left it
    track: np.ndarray  # [n] number of the track that left it; its steps come in order of time


NO_DEPOSITS = Deposits(
    event=np.zeros(0, np.int64),
    start_cm=np.zeros((0, 3)),
    end_cm=np.zeros((0, 3)),
    energy_mev=np.zeros(0),
    pixel_class=np.zeros(0, np.int8),
    track=np.zeros(0, np.int64),
)


def import_calzone() -> ModuleType:
    """Import calzone, or say how to get it.

    Raises:
        ModuleNotFoundError: if calzone is not installed.
        RuntimeError: if it brings another Geant4 than the data folder is written for.
    """
    ensure_home()  # calzone asks for it
    try:
        import calzone
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the simulation needs Geant4 from calzone: pip install "sgm_jax[sim]"', name="calzone"
        ) from error
    if calzone.GEANT4_VERSION != GEANT4_VERSION:
        raise RuntimeError(
            f"calzone {calzone.VERSION} brings Geant4 {calzone.GEANT4_VERSION}, but the data are "
            f'written for {GEANT4_VERSION}: pip install "sgm_jax[sim]"'
        )
    return calzone


def argon_cube(folder: Path, *, side_cm: float, production_cut_cm: float) -> Any:
    """Return calzone's simulation of a cube of liquid argon, all of whose deposits are recorded.

    There can be one in a process: Geant4 keeps global state.

    Args:
        folder: of Geant4's data.
        side_cm: side of the cube.
        production_cut_cm: electrons of a shorter range are not tracked.
    """
    # Geant4 reads the variable when it builds the physics, in this process only.
    os.environ[DATA_VARIABLE] = str(folder)
    calzone = import_calzone()
    cube = {"box": side_cm, "material": "G4_lAr", "role": "record_deposits"}
    simulation = calzone.Simulation(calzone.Geometry({VOLUME: cube}))
    simulation.physics = calzone.Physics(
        "standard", had_model=PHYSICS_LIST, default_cut=production_cut_cm
    )
    simulation.sample_deposits = "detailed"
    simulation.secondaries = True
    simulation.tracking = True  # records who made whom, needed for the labels
    return simulation


class Geant4:
    """Tracks primaries through the cube of argon."""

    def __init__(self, data: Geant4Data, *, side_cm: float, production_cut_cm: float):
        self._calzone = import_calzone()
        self._simulation = argon_cube(
            data.folder, side_cm=side_cm, production_cut_cm=production_cut_cm
        )

    def run(self, primaries: Primaries, *, seed: int, delta_min_mev: float) -> Deposits:
        """Track the primaries, one event each; equal seeds give equal deposits.

        Args:
            primaries: particles to track.
            seed: seed of Geant4's random numbers, 0 to 2^64 - 1.
            delta_min_mev: knock-on electrons from this kinetic energy up count as delta rays.
        """
        momentum = np.linalg.norm(primaries.momentum_mev, axis=1, keepdims=True)
        particles = self._calzone.particles(
            primaries.kind.size,
            pid=primaries.pdg,
            energy=primaries.kinetic_mev,
            position=primaries.position_cm,
            direction=primaries.momentum_mev / momentum,
        )
        self._simulation.random = self._calzone.Random(seed)
        result = self._simulation.run(particles)
        if VOLUME not in result.deposits:  # everything left the argon without a trace
            return NO_DEPOSITS
        lines, points = result.deposits[VOLUME].line, result.deposits[VOLUME].point
        classes, rows = label_deposits(result.tracks, lines, points, delta_min_mev=delta_min_mev)
        event = np.concatenate([lines["event"], points["event"]]).astype(np.int64)
        order = np.argsort(event, kind="stable")
        return Deposits(
            event=event[order],
            start_cm=np.concatenate([lines["start"], points["position"]])[order],
            end_cm=np.concatenate([lines["end"], points["position"]])[order],
            energy_mev=np.concatenate([lines["value"], points["value"]])[order],
            pixel_class=classes[order],
            track=rows[order],
        )
