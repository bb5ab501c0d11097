"""Nuclear cross sections for Geant4 (``G4PARTICLEXS``).

For neutrons (``neutron``) these are inelastic scattering, elastic scattering and capture. For
photons (``gamma``) it is absorption below 130 MeV: the giant dipole resonance and the
quasi-deuteron effect. Geant4's own parametrisation takes over above 150 MeV. Geant4 opens the files
of every element at start-up, so all are written; only argon is tuned.
"""

from pathlib import Path

import numpy as np

from sgm_jax.simulation.physics_vector import write_physics_vector

ELEMENTS = range(1, 93)
ARGON, ARGON_MASS_NUMBER = 18, 40
_MM2_PER_BARN = 1e-22
_FIRST_LEVEL_MEV = 1.5  # 40Ar's first excited state lies at 1.46 MeV
_LIGHTEST_NUCLEUS_THRESHOLD_MEV = 20.0
_NUCLEAR_RADIUS_FM = 1.3
_WAVELENGTH_CAP_FM = 3.0  # keeps slow-neutron elastic scattering at a few barn
_REDUCED_WAVELENGTH_FM = 4.55  # hbar / sqrt(2 m E) of a neutron of 1 MeV
_THERMAL_CAPTURE_BARN = 0.66  # 40Ar at 0.0253 eV
_THERMAL_MEV = 2.53e-8
_FLOOR_BARN = 1e-12
ELASTIC_ENERGY_MEV = np.geomspace(1e-5, 2e4, 181)
INELASTIC_ENERGY_MEV = np.geomspace(0.2, 2e4, 121)

PHOTONUCLEAR_ELEMENTS = range(1, 101)
PHOTON_ENERGY_MEV = np.linspace(2.0, 130.0, 129)
SUM_RULE_MB_MEV = 60.0  # Thomas-Reiche-Kuhn: integral = 60 NZ/A mb MeV
EXCHANGE_ENHANCEMENT = 1.25  # measured integrals exceed the classical sum rule by about this
_WIDTH_MEV = 6.0
_SEPARATION_MEV = 8.0  # no nucleon leaves below about this energy
_LEVINGER = 6.5
_PAULI_BLOCKING_MEV = 60.0
_DEUTERON_BINDING_MEV = 2.2246
_FLOOR_MB = 1e-9
_MM2_PER_MB = 1e-25


def mass_number(atomic_number: int) -> int:
    """Return the mass number on the valley of stability, Z = A / (1.98 + 0.0155 A^(2/3))."""
    if atomic_number == ARGON:
        return ARGON_MASS_NUMBER
    mass = 2.0 * atomic_number
    for _ in range(30):
        mass = atomic_number * (1.98 + 0.0155 * mass ** (2 / 3))
    return max(1, round(mass)) if atomic_number > 1 else 1


def inelastic_barn(mass: int, energy_mev: np.ndarray) -> np.ndarray:
    """Return the inelastic cross section ``[n]`` of Letaw et al., ApJ Suppl. 51 (1983) 271.

    Their fit holds from 10 MeV up; below, its value at 10 MeV is kept and a threshold at the first
    nuclear level switches it on over 1.5 MeV.
    """
    plateau = 45e-3 * mass**0.7 * (1.0 + 0.016 * np.sin(5.3 - 2.63 * np.log(mass)))
    energy = np.maximum(energy_mev, 10.0)
    shape = 1.0 - 0.62 * np.exp(-energy / 200.0) * np.sin(10.9 * energy**-0.28)
    threshold = _FIRST_LEVEL_MEV if mass > 4 else _LIGHTEST_NUCLEUS_THRESHOLD_MEV
    onset = 1.0 - np.exp(-np.maximum(energy_mev - threshold, 0.0) / 1.5)
    return plateau * shape * onset


def elastic_barn(mass: int, energy_mev: np.ndarray) -> np.ndarray:
    """Return the elastic cross section ``[n]``: a black disc's 2 pi (R + lambda)^2 less inelastic.

    Above 50 MeV nuclei turn transparent; a fourth-root fall with energy stands in for that.
    """
    radius_fm = _NUCLEAR_RADIUS_FM * mass ** (1 / 3)
    wavelength_fm = _REDUCED_WAVELENGTH_FM / np.sqrt(energy_mev) * (mass + 1) / mass
    total = 2e-2 * np.pi * (radius_fm + np.minimum(wavelength_fm, _WAVELENGTH_CAP_FM)) ** 2
    elastic = np.maximum(total - inelastic_barn(mass, energy_mev), 0.2 * total)
    return elastic * np.minimum(1.0, (energy_mev / 50.0) ** -0.25)


def capture_barn(energy_mev: np.ndarray) -> np.ndarray:
    """Return the 1/v capture cross section ``[n]``, fixed to argon's thermal value."""
    return np.maximum(_THERMAL_CAPTURE_BARN * np.sqrt(_THERMAL_MEV / energy_mev), 1e-9)


def write_neutrons(folder: Path) -> None:
    """Write ``neutron/{inel,el,cap}Z`` under ``folder`` for every element, in mm^2."""
    target = folder / "neutron"
    target.mkdir(parents=True)
    for element in ELEMENTS:
        mass = mass_number(element)
        inelastic = np.maximum(inelastic_barn(mass, INELASTIC_ENERGY_MEV), _FLOOR_BARN)
        tables = {
            "inel": (INELASTIC_ENERGY_MEV, inelastic),
            "el": (ELASTIC_ENERGY_MEV, elastic_barn(mass, ELASTIC_ENERGY_MEV)),
            "cap": (ELASTIC_ENERGY_MEV, capture_barn(ELASTIC_ENERGY_MEV)),
        }
        for name, (energy, barn) in tables.items():
            write_physics_vector(target / f"{name}{element}", energy, barn * _MM2_PER_BARN)


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
    for element in PHOTONUCLEAR_ELEMENTS:
        mass = mass_number(element)
        absorbed = giant_dipole_mb(element, mass, PHOTON_ENERGY_MEV)
        absorbed = absorbed + quasi_deuteron_mb(element, mass, PHOTON_ENERGY_MEV)
        values = np.maximum(absorbed, _FLOOR_MB) * _MM2_PER_MB
        write_physics_vector(target / f"inel{element}", PHOTON_ENERGY_MEV, values)
