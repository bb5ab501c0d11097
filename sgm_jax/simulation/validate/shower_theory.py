"""Mean showers in a uniform medium by Grindhammer and Peters, hep-ex/0001020.

Their formulas were fitted to GEANT3 showers in several materials. Depths are in radiation lengths.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import gamma

from sgm_jax.simulation.validate.theory import RADIATION_LENGTH_CM

_Z = 18
_CRITICAL_MEV = 2.66 * (19.55 * _Z / 39.948) ** 1.1
_MOLIERE_CM = 0.0265 * RADIATION_LENGTH_CM * (_Z + 1.2)


def shower_shape(energy_mev: float) -> tuple[float, float]:
    """Return the depth of the maximum and the slope of the mean profile of an electron."""
    log = np.log(energy_mev / _CRITICAL_MEV)
    deepest = log - 0.858
    a = 0.21 + (0.492 + 2.38 / _Z) * log
    return float(deepest), float((a - 1.0) / deepest)


def _share_within(radius: float, energy_mev: float) -> float:
    """Return the share of the energy within ``radius`` Moliere radii of the axis, all depths."""
    log_gev = np.log(energy_mev / 1000.0)
    deepest, slope = shower_shape(energy_mev)
    depth = np.linspace(0.05, 20.0, 400)
    weight = gamma.pdf(depth, slope * deepest + 1.0, scale=1.0 / slope)
    age = depth / deepest
    core = 0.0251 + 0.00319 * log_gev + (0.1162 - 0.000381 * _Z) * age
    growth = np.exp(-2.59 * (age - 0.645)) + np.exp((0.3585 + 0.0421 * log_gev) * (age - 0.645))
    tail = (0.659 - 0.00309 * _Z) * growth
    u = (0.401 + 0.00187 * _Z - age) / (1.313 - 0.0686 * log_gev)
    part = (2.632 - 0.00094 * _Z) * np.exp(u - np.exp(u))
    inside = part / (radius**2 + core**2) + (1.0 - part) / (radius**2 + tail**2)
    return float(np.average(radius**2 * inside, weights=weight))


def containment_radius_cm(energy_mev: float, *, part: float = 0.9) -> float:
    """Return the radius that holds ``part`` of an electron's shower on average."""
    found = brentq(lambda r: _share_within(r, energy_mev) - part, 0.01, 30.0)
    return float(found * _MOLIERE_CM)
