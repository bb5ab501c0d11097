"""Photoelectric effect and Rayleigh scattering in argon (``epics2017/phot``, ``epics2017/rayl``).

Cross sections are the tables of Elam, Ravel and Sieber, Radiat. Phys. Chem. 63 (2002) 121, taken
from xraydb. They end at 800 keV; above that power laws continue them.
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
