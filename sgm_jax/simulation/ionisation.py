"""From deposited energy to the charge that escapes recombination.

The denser ions and electrons are, the more of them recombine, so heavily ionising particles lose
more of their charge. Charge is given in MeV of a minimum ionising particle (2.1 MeV/cm): the energy
that such a particle would deposit to leave as much charge. Such a particle keeps its energy with or
without recombination, and thresholds and noise keep their meaning.
"""

import ml_collections
import numpy as np

from sgm_jax.simulation.config import BIRKS, MODIFIED_BOX, NO_RECOMBINATION
from sgm_jax.simulation.geant4 import Deposits

ARGON_DENSITY_G_PER_CM3 = 1.396  # of Geant4's G4_lAr
REFERENCE_MEV_PER_CM = 2.1  # energy loss that keeps its charge
_BIRKS_A, _BIRKS_K = 0.800, 0.0486  # ICARUS; k in (kV/cm) (g/cm2) / MeV
_BOX_ALPHA, _BOX_BETA = 0.93, 0.212  # ArgoNeuT; beta in (kV/cm) (g/cm2) / MeV
# dE/dx is averaged over this length of a track, and shorter deposits count as this long. The
# models were fitted to tracks resolved at millimetres, including their short electrons. Step by
# step, these electrons would count as dense, and a muon would lose a tenth of its charge.
_STRETCH_CM = 0.03
_LOWEST_MEV_PER_CM = 1.0  # only fluctuations are below, where the models fail


def birks(de_dx_mev_per_cm: np.ndarray, field_kv_per_cm: float) -> np.ndarray:
    """Return the share of the charge that escapes by Birks' law with the constants of ICARUS.

    R = A / (1 + k dE/dx / (density field)) (Amoruso et al., NIM A 523 (2004) 275).
    """
    density = _BIRKS_K * de_dx_mev_per_cm / (ARGON_DENSITY_G_PER_CM3 * field_kv_per_cm)
    return _BIRKS_A / (1.0 + density)


def modified_box(de_dx_mev_per_cm: np.ndarray, field_kv_per_cm: float) -> np.ndarray:
    """Return the share of the charge that escapes by the modified box model of ArgoNeuT.

    R = ln(alpha + xi) / xi with xi = beta dE/dx / (density field) (arXiv:1306.1712).
    """
    density = _BOX_BETA * de_dx_mev_per_cm / (ARGON_DENSITY_G_PER_CM3 * field_kv_per_cm)
    return np.log(_BOX_ALPHA + density) / density


_MODELS = {BIRKS: birks, MODIFIED_BOX: modified_box}


def stopping_power(deposits: Deposits) -> np.ndarray:
    """Return dE/dx ``[n]`` in MeV/cm around each deposit.

    Energy and length are summed over stretches of 0.3 mm of a track, and what is shorter counts as
    0.3 mm long. A deposit at a point stands alone.
    """
    length = np.linalg.norm(deposits.end_cm - deposits.start_cm, axis=1)
    power = deposits.energy_mev / _STRETCH_CM
    line = np.flatnonzero(length > 0.0)
    line = line[np.argsort(deposits.track[line], kind="stable")]
    if line.size == 0:
        return power
    track, step = deposits.track[line], length[line]
    is_new = np.diff(track, prepend=track[0] - 1) != 0
    travelled = np.cumsum(step) - step
    travelled -= travelled[is_new][np.cumsum(is_new) - 1]
    stretch = np.floor((travelled + 0.5 * step) / _STRETCH_CM)
    is_new |= np.diff(stretch, prepend=-1.0) != 0.0
    group = np.cumsum(is_new) - 1
    summed = np.bincount(group, deposits.energy_mev[line])
    power[line] = (summed / np.maximum(np.bincount(group, step), _STRETCH_CM))[group]
    return power


def escaped_charge_mev(deposits: Deposits, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the charge ``[n]`` of deposits in MeV of a minimum ionising particle."""
    if config.recombination == NO_RECOMBINATION:
        return deposits.energy_mev
    model, field = _MODELS[config.recombination], config.field_kv_per_cm
    de_dx = stopping_power(deposits)
    escaped = model(np.maximum(de_dx, _LOWEST_MEV_PER_CM), field)
    return deposits.energy_mev * escaped / model(np.array(REFERENCE_MEV_PER_CM), field)
