"""Photonuclear absorption for Geant4 (``G4PARTICLEXS/gamma``) below 130 MeV.

The giant dipole resonance plus the quasi-deuteron effect; Geant4's own parametrisation takes over
above 150 MeV. All elements are opened at start-up and so all are written.
"""

from pathlib import Path

import numpy as np

from sgm_jax.simulation.argon_neutrons import mass_number
from sgm_jax.simulation.physics_vector import write_physics_vector

ELEMENTS = range(1, 101)
ENERGY_MEV = np.linspace(2.0, 130.0, 129)
SUM_RULE_MB_MEV = 60.0  # Thomas-Reiche-Kuhn: integral = 60 NZ/A mb MeV
EXCHANGE_ENHANCEMENT = 1.25  # measured integrals exceed the classical sum rule by about this
_WIDTH_MEV = 6.0
_SEPARATION_MEV = 8.0  # no nucleon leaves below about this energy
_LEVINGER = 6.5
_PAULI_BLOCKING_MEV = 60.0
_DEUTERON_BINDING_MEV = 2.2246
_FLOOR_MB = 1e-9
_MM2_PER_MB = 1e-25


def giant_dipole_mb(atomic_number: int, mass: int, energy_mev: np.ndarray) -> np.ndarray:
    """Return the giant-dipole Lorentzian ``[n]`` (Berman and Fultz, Rev. Mod. Phys. 47, 1975).

    Its peak lies at 31.2 A^(-1/3) + 20.6 A^(-1/6) MeV and its area is the enhanced sum rule.
    """
    peak = 31.2 * mass ** (-1 / 3) + 20.6 * mass ** (-1 / 6)
    area = EXCHANGE_ENHANCEMENT * SUM_RULE_MB_MEV * (mass - atomic_number) * atomic_number / mass
    height = 2.0 * area / (np.pi * _WIDTH_MEV)
    lorentzian = height / (1.0 + ((energy_mev**2 - peak**2) / (energy_mev * _WIDTH_MEV)) ** 2)
    return np.where(energy_mev > _SEPARATION_MEV, lorentzian, 0.0)


def quasi_deuteron_mb(atomic_number: int, mass: int, energy_mev: np.ndarray) -> np.ndarray:
    """Return Levinger's quasi-deuteron term ``[n]`` (Phys. Rev. 84, 1951).

    The free deuteron is 61.2 (E - B)^1.5 / E^3 mb (Chadwick et al., Phys. Rev. C 44, 1991).
    """
    above = np.maximum(energy_mev - _DEUTERON_BINDING_MEV, 0.0)
    deuteron = 61.2 * above**1.5 / energy_mev**3
    blocking = np.exp(-_PAULI_BLOCKING_MEV / energy_mev)
    return _LEVINGER * (mass - atomic_number) * atomic_number / mass * deuteron * blocking


def write_photonuclear(folder: Path) -> None:
    """Write ``gamma/inelZ`` under ``folder`` for every element, in mm^2."""
    target = folder / "gamma"
    target.mkdir(parents=True)
    for element in ELEMENTS:
        mass = mass_number(element)
        absorbed = giant_dipole_mb(element, mass, ENERGY_MEV)
        absorbed = absorbed + quasi_deuteron_mb(element, mass, ENERGY_MEV)
        values = np.maximum(absorbed, _FLOOR_MB) * _MM2_PER_MB
        write_physics_vector(target / f"inel{element}", ENERGY_MEV, values)
