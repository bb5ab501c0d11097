"""The effect of the approximated Geant4 data: scale one input and measure an observable again."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sgm_jax.simulation.physics_vector import read_physics_vector, write_physics_vector
from sgm_jax.simulation.validate import estimators as est
from sgm_jax.simulation.validate.electromagnetic import containment_radius, stub_dedx
from sgm_jax.simulation.validate.report import FACTOR, Shift
from sgm_jax.simulation.validate.transport import Argon, run_apart

_SOFT_MEV = 2.0  # bremsstrahlung of electrons below this is ad hoc
_NEUTRON, _PHOTON, _ELECTRON, _PION = 2112, 22, 11, -211
_NEAR_CM = 20.0  # about the side of a crop of 64 pixels of 3 mm


def scale_vectors(folder: Path, pattern: str) -> None:
    """Scale every physics vector under ``folder`` that matches ``pattern``, in place."""
    for path in folder.glob(pattern):
        energy, values = read_physics_vector(path)
        write_physics_vector(path, energy, FACTOR * values)


def scale_soft_bremsstrahlung(folder: Path) -> None:
    """Scale the bremsstrahlung of electrons below 2 MeV in argon's table, in place."""
    path = next(folder.glob("G4EMLOW*/brem_SB/br18"))
    words = path.read_text().split()
    num_fractions, num_energies = int(words[1]), int(words[2])
    head = 3 + num_fractions + num_energies
    log_energy = np.array(words[3 + num_fractions : head], float)
    table = np.array(words[head:], float).reshape(num_energies, num_fractions)
    table[np.exp(log_energy) < _SOFT_MEV] *= FACTOR
    lines = [" ".join(words[:3]), " ".join(words[3 : 3 + num_fractions])]
    lines.append(" ".join(words[3 + num_fractions : head]))
    lines += [" ".join(f"{value:.6g}" for value in row) for row in table]
    path.write_text("\n".join(lines) + "\n")


def scale_neutrons(folder: Path) -> None:
    """Scale all cross sections of neutrons in place."""
    scale_vectors(folder, "G4PARTICLEXS*/neutron/*")


def scale_photonuclear(folder: Path) -> None:
    """Scale photonuclear absorption below 130 MeV in place."""
    scale_vectors(folder, "G4PARTICLEXS*/gamma/*")


def _neutron_energy(argon: Argon, events: int) -> list[tuple[str, str, est.Estimate]]:
    """Measure what the neutrons of stopped pi- leave near the place of the capture."""
    beam = argon.shoot(_PION, 1.0, max(50, events // 4), depth_cm=300.0)
    near = np.hypot(beam.deposits["depth"], beam.deposits["radius"]) < _NEAR_CM
    energy = beam.energy_left(near & beam.descends_from(beam.tracks["pid"] == _NEUTRON))
    what = f"energy left by neutrons within {_NEAR_CM:g} cm of a stopped pi-"
    return [(what, "MeV", est.mean(energy))]


def _electron_shape(argon: Argon, events: int) -> list[tuple[str, str, est.Estimate]]:
    """Measure the start and the width of electron showers."""
    beam = argon.shoot(_ELECTRON, 300.0, max(50, events // 4), depth_cm=300.0)
    radius = containment_radius(beam, np.ones(len(beam.deposits), bool))
    halo = beam.energy_left(beam.deposits["radius"] > 1.0)
    stub = stub_dedx(beam, np.zeros(beam.count))
    trimmed = np.sort(stub)[: int(0.7 * stub.size)]
    return [
        ("e- 300 MeV, radius of 90 %", "cm", radius),
        ("e- 300 MeV, energy beyond 1 cm of the axis", "MeV", est.mean(halo)),
        ("e- 300 MeV, dE/dx in 3 cm, lower 70 %", "MeV/cm", est.mean(trimmed)),
    ]


def _photon_losses(argon: Argon, events: int) -> list[tuple[str, str, est.Estimate]]:
    """Measure how often nuclei absorb photons of showers, and what the neutrons of that leave."""
    beam = argon.shoot(_PHOTON, 500.0, max(50, events // 2), depth_cm=300.0)
    absorbed = beam.vertices["event"][beam.vertices["process"] == b"photonNuclear"]
    count = np.bincount(absorbed.astype(np.int64), minlength=beam.count)
    neutrons = beam.descends_from(beam.tracks["pid"] == _NEUTRON)
    blips = beam.energy_left(neutrons)
    return [
        ("photon 500 MeV, photons absorbed by nuclei", "per event", est.mean(count)),
        ("photon 500 MeV, energy left by neutrons", "MeV", est.mean(blips)),
    ]


_CASES: dict[str, tuple[Callable[[Path], None], Callable]] = {
    "neutron cross sections": (scale_neutrons, _neutron_energy),
    "bremsstrahlung below 2 MeV": (scale_soft_bremsstrahlung, _electron_shape),
    "photonuclear cross sections": (scale_photonuclear, _photon_losses),
}


def _observe(folder: Path, names: list[str], events: int, seed: int) -> dict[str, list]:
    """Take the observables of the named cases with the data in ``folder``."""
    argon = Argon(folder, seed=seed)
    return {name: _CASES[name][1](argon, events) for name in names}


def input_shifts(folder: Path, events: int, seed: int) -> list[Shift]:
    """Scale each approximated input by 1.3 in a copy of ``folder`` and measure again.

    Each copy is used in a process of its own.
    """
    before = run_apart(_observe, folder, list(_CASES), events, seed)
    shifts = []
    for name, (perturb, _) in _CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "data"
            shutil.copytree(folder, copy)
            perturb(copy)
            # Another seed: equal numbers do not pair events once their cross sections differ.
            after = run_apart(_observe, copy, [name], events, seed + 1)
        pairs = zip(before[name], after[name], strict=True)
        shifts += [Shift(name, old[0], old[1], old[2], new[2]) for old, new in pairs]
    return shifts
