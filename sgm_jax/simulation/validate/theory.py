"""What theory expects of liquid argon: energy loss, scattering, photon and hadron cross sections.

Formulas are those of the PDG's review "Passage of particles through matter" (Navas et al., Phys.
Rev. D 110, 030001, 2024, section 34) unless another source is named. Nothing here uses Geant4 or
the data written for it.
"""

import numpy as np
from scipy.integrate import cumulative_trapezoid, quad
from scipy.optimize import brentq
from scipy.stats import gamma

DENSITY_G_PER_CM3 = 1.396
RADIATION_LENGTH_CM = 19.55 / DENSITY_G_PER_CM3
MUON_MASS_MEV = 105.6583755
PROTON_MASS_MEV = 938.27209
ELECTRON_MASS_MEV = 0.51099895
_AVOGADRO = 6.02214076e23
_MOLAR_MASS = 39.948
_ATOMIC_NUMBER = 18
_K = 0.307075  # MeV cm2/mol
_EXCITATION_MEV = 188e-6
_FINE_STRUCTURE = 1.0 / 137.035999
_ELECTRON_RADIUS_CM = 2.8179403e-13
_LOWEST_BETA_GAMMA = 0.05
# Mean showers of Grindhammer and Peters, hep-ex/0001020: formulas fitted to GEANT3 showers in
# several materials, with depths in radiation lengths.
_CRITICAL_MEV = 2.66 * (19.55 * _ATOMIC_NUMBER / _MOLAR_MASS) ** 1.1
_MOLIERE_CM = 0.0265 * RADIATION_LENGTH_CM * (_ATOMIC_NUMBER + 1.2)


def momentum(kinetic_mev: np.ndarray, mass_mev: float) -> np.ndarray:
    """Return the momentum in MeV/c."""
    return np.sqrt(kinetic_mev * (kinetic_mev + 2.0 * mass_mev))


def density_effect(beta_gamma: np.ndarray) -> np.ndarray:
    """Return Sternheimer's delta for liquid argon (parameters of Groom et al. 2001)."""
    x = np.log10(beta_gamma)
    high = 2.0 * np.log(10.0) * x - 5.2146
    middle = high + 0.19559 * np.maximum(3.0 - x, 0.0) ** 3
    return np.where(x < 0.2, 0.0, middle)


def shell_correction(beta_gamma2: np.ndarray) -> np.ndarray:
    """Return C / Z of Barkas and Berger (NASA SP-3013, 1964); constant below beta gamma 0.13."""
    u = 1.0 / np.maximum(beta_gamma2, 0.13**2)
    excitation_ev = 1e6 * _EXCITATION_MEV
    second = 0.422377 * u + 0.0304043 * u**2 - 0.00038106 * u**3
    third = 3.858019 * u - 0.1667989 * u**2 + 0.00157955 * u**3
    total = 1e-6 * second * excitation_ev**2 + 1e-9 * third * excitation_ev**3
    return total / _ATOMIC_NUMBER


def stopping_power(kinetic_mev: np.ndarray, mass_mev: float) -> np.ndarray:
    """Return Bethe's mean ionisation loss in MeV cm2/g (PDG 34.5), for charge one.

    With density effect and shell correction, without Barkas' and Bloch's terms.
    """
    gamma = 1.0 + np.asarray(kinetic_mev) / mass_mev
    beta2 = 1.0 - gamma**-2
    ratio = ELECTRON_MASS_MEV / mass_mev
    bg2 = beta2 * gamma**2
    largest = 2.0 * ELECTRON_MASS_MEV * bg2 / (1.0 + 2.0 * gamma * ratio + ratio**2)
    log_term = 0.5 * np.log(2.0 * ELECTRON_MASS_MEV * bg2 * largest / _EXCITATION_MEV**2)
    bracket = log_term - beta2 - 0.5 * density_effect(np.sqrt(bg2)) - shell_correction(bg2)
    return _K * _ATOMIC_NUMBER / _MOLAR_MASS / beta2 * bracket


def _range_table(mass_mev: float, highest_mev: float) -> tuple[np.ndarray, np.ndarray]:
    """Return kinetic energies and CSDA ranges in cm up to ``highest_mev``."""
    lowest = mass_mev * (np.sqrt(1.0 + _LOWEST_BETA_GAMMA**2) - 1.0)
    energy = np.geomspace(lowest, highest_mev, 4000)
    inverse = 1.0 / stopping_power(energy, mass_mev)
    # Below the lowest energy the loss goes about as T^-0.7, so the rest of the range is T / 1.7 S.
    table = cumulative_trapezoid(inverse, energy, initial=0.0) + lowest * inverse[0] / 1.7
    return energy, table / DENSITY_G_PER_CM3


def csda_range_cm(kinetic_mev: float, mass_mev: float) -> float:
    """Return the range in cm in the continuous-slowing-down approximation, ionisation only."""
    return float(_range_table(mass_mev, kinetic_mev)[1][-1])


def kinetic_after(kinetic_mev: float, mass_mev: float, path_cm: np.ndarray) -> np.ndarray:
    """Return the mean kinetic energy left after ``path_cm``.

    Raises:
        ValueError: if the path is longer than the range.
    """
    energy, ranges = _range_table(mass_mev, kinetic_mev)
    left = ranges[-1] - np.asarray(path_cm)
    if np.min(left) < ranges[0]:
        raise ValueError(
            f"a path of {np.max(path_cm):g} cm is longer than the range of {ranges[-1]:g} cm at "
            f"{kinetic_mev:g} MeV; shorten it or raise the energy"
        )
    return np.interp(left, ranges, energy)


def most_probable_loss_mev(kinetic_mev: float, mass_mev: float, thickness_cm: float) -> float:
    """Return the Landau-Vavilov most probable loss in ``thickness_cm`` (PDG 34.12)."""
    gamma = 1.0 + kinetic_mev / mass_mev
    beta2 = 1.0 - gamma**-2
    bg2 = beta2 * gamma**2
    xi = landau_width_mev(beta2, thickness_cm)
    first = np.log(2.0 * ELECTRON_MASS_MEV * bg2 / _EXCITATION_MEV)
    second = np.log(xi / _EXCITATION_MEV)
    return float(xi * (first + second + 0.2 - beta2 - density_effect(np.sqrt(bg2))))


def landau_width_mev(beta2: float, thickness_cm: float) -> float:
    """Return Landau's xi; the full width at half maximum of the loss is 4 xi."""
    grams = DENSITY_G_PER_CM3 * thickness_cm
    return 0.5 * _K * _ATOMIC_NUMBER / _MOLAR_MASS * grams / beta2


def scattering_angle(kinetic_mev: float, mass_mev: float, thickness_cm: float) -> float:
    """Return Highland's plane scattering angle in radians (PDG 34.16).

    The loss of energy on the way is taken in by averaging ``1 / (p beta)^2`` over the thickness.
    """
    depth = np.linspace(0.0, thickness_cm, 101)
    kinetic = kinetic_after(kinetic_mev, mass_mev, depth)
    p = momentum(kinetic, mass_mev)
    inverse2 = np.mean(((kinetic + mass_mev) / p**2) ** 2)
    beta2 = np.mean((p / (kinetic + mass_mev)) ** 2)
    lengths = thickness_cm / RADIATION_LENGTH_CM
    return float(13.6 * np.sqrt(inverse2 * lengths) * (1.0 + 0.038 * np.log(lengths / beta2)))


def klein_nishina_cm2(energy_mev: float) -> float:
    """Return the Compton cross section of a free electron (Klein and Nishina 1929)."""
    k = energy_mev / ELECTRON_MASS_MEV
    log = np.log(1.0 + 2.0 * k)
    first = (1.0 + k) / k**2 * (2.0 * (1.0 + k) / (1.0 + 2.0 * k) - log / k)
    second = log / (2.0 * k) - (1.0 + 3.0 * k) / (1.0 + 2.0 * k) ** 2
    return float(2.0 * np.pi * _ELECTRON_RADIUS_CM**2 * (first + second))


def _electron_share() -> float:
    """Return xi in Z (Z + xi): pairs made in the field of the electrons (Tsai 1974)."""
    z = _ATOMIC_NUMBER
    nucleus = np.log(184.15 * z ** (-1 / 3)) - _coulomb()
    return float(np.log(1194.0 * z ** (-2 / 3)) / nucleus)


def _coulomb() -> float:
    """Return Davies, Bethe and Maximon's f(Z) (PDG 34.28)."""
    a2 = (_FINE_STRUCTURE * _ATOMIC_NUMBER) ** 2
    return a2 * (1.0 / (1.0 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3)


def _bare_pair_strength(energy_mev: float) -> float:
    """Return the unscreened Bethe-Heitler integral in units of alpha r_e^2 Z^2.

    Maximon's series in 2 m / E, J. Res. NBS 72B (1968) 79, good above 2 MeV.
    """
    log = np.log(2.0 * energy_mev / ELECTRON_MASS_MEV)
    small = (2.0 * ELECTRON_MASS_MEV / energy_mev) ** 2
    zeta3 = 1.2020569
    middle = 2.0 / 3.0 * log**3 - log**2 + (6.0 - np.pi**2 / 3.0) * log
    middle += 2.0 * zeta3 + np.pi**2 / 6.0 - 3.5
    tail = small**2 * (3.0 / 16.0 * log + 0.125)
    return 28.0 / 9.0 * log - 218.0 / 27.0 + small * middle - tail


def _screened_pair_strength(energy_mev: float) -> float:
    """Return the screened Bethe-Heitler integral in units of alpha r_e^2 Z^2 (Koch and Motz 3D).

    Screening functions of Butcher and Messel, Nucl. Phys. 20 (1960) 15.
    """
    shift = np.log(_ATOMIC_NUMBER) / 3.0 + _coulomb()

    def density(x: float) -> float:
        scale = 136.0 * _ATOMIC_NUMBER ** (-1 / 3) * ELECTRON_MASS_MEV / energy_mev
        delta = scale / (x * (1.0 - x))
        far = 21.12 - 4.184 * np.log(delta + 0.952)
        phi1 = 20.867 - 3.242 * delta + 0.625 * delta**2 if delta <= 1.0 else far
        phi2 = 20.029 - 1.930 * delta - 0.086 * delta**2 if delta <= 1.0 else far
        both = (x**2 + (1.0 - x) ** 2) * (phi1 / 4.0 - shift)
        both += 2.0 / 3.0 * x * (1.0 - x) * (phi2 / 4.0 - shift)
        return max(4.0 * both, 0.0)

    edge = ELECTRON_MASS_MEV / energy_mev
    return quad(density, edge, 1.0 - edge, limit=200, epsabs=1e-6)[0]


def pair_cm2(energy_mev: float) -> float:
    """Return the pair-production cross section of an argon atom, electrons' field included.

    The exact Born formula without screening below 30 MeV, the high-energy one with screening above.
    At 30 MeV the two differ by 2.5 %, which is about their accuracy there.
    """
    if energy_mev < 2.0 * ELECTRON_MASS_MEV:
        return 0.0
    bare = energy_mev < 30.0
    strength = (_bare_pair_strength if bare else _screened_pair_strength)(energy_mev)
    z = _ATOMIC_NUMBER
    return _FINE_STRUCTURE * _ELECTRON_RADIUS_CM**2 * z * (z + _electron_share()) * strength


def photon_free_path_cm(energy_mev: float) -> float:
    """Return the mean free path for Compton scattering and pair production, 1 MeV and up."""
    cross_section = _ATOMIC_NUMBER * klein_nishina_cm2(energy_mev) + pair_cm2(energy_mev)
    return interaction_length_cm(cross_section * 1e24)


def interaction_length_cm(barn: float) -> float:
    """Return the mean free path in liquid argon for a cross section per atom."""
    return _MOLAR_MASS / (_AVOGADRO * barn * 1e-24 * DENSITY_G_PER_CM3)


def michel_share_above(fraction: float) -> float:
    """Return the share of muon decays with an electron above ``fraction`` of the end point.

    The V-A spectrum x^2 (3 - 2 x) without radiative corrections or the electron's mass.
    """
    return 1.0 - (2.0 * fraction**3 - fraction**4)


def shower_shape(energy_mev: float) -> tuple[float, float]:
    """Return the depth of the maximum and the slope of an electron's mean profile, in X0.

    Formulas of Grindhammer and Peters, hep-ex/0001020.
    """
    log = np.log(energy_mev / _CRITICAL_MEV)
    deepest = log - 0.858
    a = 0.21 + (0.492 + 2.38 / _ATOMIC_NUMBER) * log
    return float(deepest), float((a - 1.0) / deepest)


def _share_within(radius: float, energy_mev: float) -> float:
    """Return the share of the energy within ``radius`` Moliere radii of the axis, all depths."""
    log_gev = np.log(energy_mev / 1000.0)
    deepest, slope = shower_shape(energy_mev)
    depth = np.linspace(0.05, 20.0, 400)
    weight = gamma.pdf(depth, slope * deepest + 1.0, scale=1.0 / slope)
    age = depth / deepest
    core = 0.0251 + 0.00319 * log_gev + (0.1162 - 0.000381 * _ATOMIC_NUMBER) * age
    growth = np.exp(-2.59 * (age - 0.645)) + np.exp((0.3585 + 0.0421 * log_gev) * (age - 0.645))
    tail = (0.659 - 0.00309 * _ATOMIC_NUMBER) * growth
    u = (0.401 + 0.00187 * _ATOMIC_NUMBER - age) / (1.313 - 0.0686 * log_gev)
    part = (2.632 - 0.00094 * _ATOMIC_NUMBER) * np.exp(u - np.exp(u))
    inside = part / (radius**2 + core**2) + (1.0 - part) / (radius**2 + tail**2)
    return float(np.average(radius**2 * inside, weights=weight))


def containment_radius_cm(energy_mev: float, *, part: float = 0.9) -> float:
    """Return the radius that holds ``part`` of an electron's shower on average."""
    radius = brentq(lambda r: _share_within(r, energy_mev) - part, 0.01, 30.0)
    return float(radius * _MOLIERE_CM)
