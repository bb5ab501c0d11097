"""Electromagnetic cross sections of argon for Geant4 (``G4EMLOW``).

Photoelectric effect and Rayleigh scattering (``epics2017/phot``, ``epics2017/rayl``) are the tables
of Elam, Ravel and Sieber, Radiat. Phys. Chem. 63 (2002) 121, taken from xraydb. They end at
800 keV, and power laws continue them.

Bremsstrahlung is the table that Geant4's Seltzer-Berger model reads (``brem_SB/br18``): the scaled
cross section ``(beta^2 / Z^2) k dsigma/dk`` in millibarn on a grid of the photon fraction ``k/T``
and ``ln(T / MeV)`` (Seltzer and Berger, At. Data Nucl. Data Tables 35, 1986). The original table
may not be distributed, so it is computed here from the screened Born formula.
"""

from pathlib import Path

import numpy as np

from sgm_jax.simulation.physics_vector import write_physics_vector

AVOGADRO = 6.02214076e23
ARGON_MOLAR_MASS = 39.948
IONISATION_ENERGY_MEV = 15.76e-6
_MM2_PER_BARN = 1e-22
_TABLE_MEV = (1.02e-4, 0.8)
_LAST_MEV = 1e5
# Slopes above 0.8 MeV: the photoelectric slope flattens from E^-3 towards E^-1 (Sauter 1931);
# coherent scattering falls as E^-2 once the form factor cuts it off.
_PHOTOELECTRIC_SLOPE = -1.1
_RAYLEIGH_SLOPE = -2.0

ATOMIC_NUMBER = 18
ELECTRON_MASS_MEV = 0.51099895
FINE_STRUCTURE = 1.0 / 137.035999
ELECTRON_RADIUS_CM = 2.8179403e-13
_MB_PER_CM2 = 1e27

# Below a few MeV the Born formula fails; a straight line in the photon fraction stands in for the
# Seltzer-Berger values there (tens of per cent accuracy, where radiation is ~2 % of the loss).
_LOW_ENERGY_INTERCEPT_MB = 8.5
_LOW_ENERGY_SLOPE_MB = -4.5
_CROSSOVER_MEV = 1.5
_CROSSOVER_WIDTH = 0.35  # in ln T
_TIP_MB = 2.0  # the cross section stays finite where the electron gives up all its energy

_DECADE = np.array([1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300])
KINETIC_ENERGY_MEV = np.unique(
    np.concatenate([_DECADE * scale for scale in (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)])
)
PHOTON_FRACTION = np.concatenate(
    [
        [1e-12, 0.025, 0.05, 0.075],
        np.round(np.arange(0.1, 0.925, 0.05), 3),
        [0.925, 0.95, 0.97, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 1.0],
    ]
)


def _table_grid_mev(edges_ev: list[float]) -> np.ndarray:
    """Return the energies of the tabulated range, with a pair of points tight around each edge."""
    grid = np.geomspace(*_TABLE_MEV, 600)
    around = np.array([e * 1e-6 * side for e in edges_ev for side in (0.9999, 1.0001)])
    inside = around[(around > _TABLE_MEV[0]) & (around < _TABLE_MEV[1])]
    return np.unique(np.concatenate([grid, inside]))


def elam_barn(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return Elam's argon cross section, extended down to ionisation and up to 100 GeV.

    Args:
        kind: ``"photo"`` or ``"coh"`` (Rayleigh).

    Returns:
        Energies ``[n]`` in MeV and cross sections ``[n]`` in barn per atom.

    Raises:
        ModuleNotFoundError: if xraydb is not installed.
    """
    try:
        import xraydb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the argon data need xraydb: pip install "sgm_jax[sim]"', name="xraydb"
        ) from error
    database = xraydb.XrayDB()
    edges = [edge.energy for edge in database.xray_edges("Ar").values()]
    middle = _table_grid_mev(edges)
    # The last grid point may exceed 800 keV by a rounding error, which xraydb warns about.
    energy_ev = np.minimum(middle * 1e6, 799_999.0)
    table = np.asarray(database.cross_section_elam("Ar", energy_ev, kind=kind))
    table = table * ARGON_MOLAR_MASS / AVOGADRO * 1e24  # cm2/g -> barn per atom
    low = np.geomspace(IONISATION_ENERGY_MEV, 1e-4, 20)
    high = np.geomspace(0.85, _LAST_MEV, 60)
    slope = {"photo": _PHOTOELECTRIC_SLOPE, "coh": _RAYLEIGH_SLOPE}[kind]
    tail = table[-1] * (high / middle[-1]) ** slope
    energy = np.concatenate([low, middle, high])
    return energy, np.concatenate([np.full(low.size, table[0]), table, tail])


def write_photoelectric(folder: Path) -> None:
    """Write the photoelectric files of argon under ``folder/epics2017/phot``.

    The table holds cross section times energy cubed, in barn MeV^3. The two parametrisation files
    say "above 10^9 MeV only", so Geant4 uses the table, with one effective shell.
    """
    target = folder / "epics2017" / "phot"
    target.mkdir(parents=True)
    energy, barn = elam_barn("photo")
    write_physics_vector(target / "pe-cs-18.dat", energy, barn * energy**3)
    unused_coefficients = " ".join(["0"] * 6)
    for name in ("pe-high-18.dat", "pe-low-18.dat"):
        text = f"1 1 1e9\n{IONISATION_ENERGY_MEV:.6g} {unused_coefficients}\n"
        (target / name).write_text(text)


def write_rayleigh(folder: Path) -> None:
    """Write ``epics2017/rayl/re-cs-18.dat``: cross section times energy squared, mm^2 MeV^2."""
    target = folder / "epics2017" / "rayl"
    target.mkdir(parents=True)
    energy, barn = elam_barn("coh")
    write_physics_vector(target / "re-cs-18.dat", energy, barn * _MM2_PER_BARN * energy**2)


def coulomb_correction(atomic_number: int) -> float:
    """Return Davies, Bethe and Maximon's f(Z), PR 93 (1954) 788, in Tsai's polynomial form."""
    a2 = (FINE_STRUCTURE * atomic_number) ** 2
    return a2 * (1.0 / (1.0 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3)


def _screening(delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Thomas-Fermi screening functions phi1, phi2 (Butcher and Messel 1960)."""
    far = 21.12 - 4.184 * np.log(delta + 0.952)
    phi1 = np.where(delta <= 1.0, 20.867 - 3.242 * delta + 0.625 * delta**2, far)
    phi2 = np.where(delta <= 1.0, 20.029 - 1.930 * delta - 0.086 * delta**2, far)
    return phi1, phi2


def _born_mb(kinetic_mev: np.ndarray, photon_fraction: np.ndarray) -> np.ndarray:
    """Return the screened Born value, Koch and Motz, Rev. Mod. Phys. 31 (1959) 920, formula 3BS.

    With E' = E - k it is 4 alpha r_e^2 Z (Z + xi) { (1 + (E'/E)^2) [phi1/4 - ln(Z)/3 - f]
    - (2/3)(E'/E) [phi2/4 - ln(Z)/3 - f] }, and xi stands for the atomic electrons (Tsai 1974).
    """
    z = ATOMIC_NUMBER
    coulomb = coulomb_correction(z)
    electrons = np.log(1194.0 * z ** (-2 / 3)) / (np.log(184.15 * z ** (-1 / 3)) - coulomb)
    energy = kinetic_mev + ELECTRON_MASS_MEV
    photon = np.minimum(photon_fraction, 0.9995) * kinetic_mev
    rest = energy - photon
    delta = 136.0 * z ** (-1 / 3) * photon * ELECTRON_MASS_MEV / (energy * rest)
    phi1, phi2 = _screening(delta)
    # The correction belongs to high energies; it is faded in between 1 and 50 MeV.
    fade = np.clip(np.log(np.maximum(kinetic_mev, 1e-9)) / np.log(50.0), 0.0, 1.0)
    shift = np.log(z) / 3.0 + coulomb * fade
    ratio = rest / energy
    braces = (1.0 + ratio**2) * (phi1 / 4.0 - shift) - 2.0 / 3.0 * ratio * (phi2 / 4.0 - shift)
    scale = 4.0 * FINE_STRUCTURE * ELECTRON_RADIUS_CM**2 * _MB_PER_CM2 * z * (z + electrons)
    beta2 = 1.0 - (ELECTRON_MASS_MEV / energy) ** 2
    return beta2 / z**2 * scale * np.maximum(braces, 0.0)


def scaled_cross_section_mb(kinetic_mev: np.ndarray, photon_fraction: np.ndarray) -> np.ndarray:
    """Return ``(beta^2 / Z^2) k dsigma/dk`` of argon.

    Args:
        kinetic_mev: kinetic energies ``[n]`` in MeV.
        photon_fraction: photon energies over kinetic energy ``[m]``, 0 to 1.

    Returns:
        Values ``[n, m]`` in millibarn.
    """
    kinetic, fraction = kinetic_mev[:, None], photon_fraction[None, :]
    low = _LOW_ENERGY_INTERCEPT_MB + _LOW_ENERGY_SLOPE_MB * fraction
    high = np.maximum(_born_mb(kinetic, fraction), _TIP_MB)
    weight = 1.0 / (1.0 + np.exp(-np.log(kinetic / _CROSSOVER_MEV) / _CROSSOVER_WIDTH))
    return weight * high + (1.0 - weight) * low


def write_bremsstrahlung(folder: Path) -> None:
    """Write ``brem_SB/br18`` under ``folder`` as a Geant4 two-dimensional physics vector."""
    values = scaled_cross_section_mb(KINETIC_ENERGY_MEV, PHOTON_FRACTION)
    tables = [PHOTON_FRACTION[None], np.log(KINETIC_ENERGY_MEV)[None], values]
    # 9 is Geant4's code for "a vector that may be interpolated linearly" in this file kind.
    lines = [f"9 {PHOTON_FRACTION.size} {KINETIC_ENERGY_MEV.size}"]
    lines += [" ".join(f"{x:.8g}" for x in row) for table in tables for row in table]
    path = folder / "brem_SB" / f"br{ATOMIC_NUMBER}"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
