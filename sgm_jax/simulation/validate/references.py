"""The reference of each measurement: its source, the tolerance, and the reason for the tolerance.

A tolerance says how far a correct simulation may be off: the accuracy of the reference plus the
known simplifications of the measurement. All were set before the first comparison, unless the
reason says otherwise.
"""

from dataclasses import dataclass

from sgm_jax.simulation.validate.theory import DENSITY_G_PER_CM3

# Groom, Mokhov and Striganov, At. Data Nucl. Data Tables 78 (2001) 183, liquid argon.
MUON_RANGE_G_PER_CM2 = {100.0: 42.50, 140.0: 67.32, 200.0: 106.3, 300.0: 172.5, 400.0: 238.5}
MUON_MINIMUM_MEV = 266.0  # kinetic energy of minimum ionisation
MUON_MINIMUM_MEV_PER_CM = 1.508 * DENSITY_G_PER_CM3
# PDG, Atomic and nuclear properties of materials.
CRITICAL_ENERGY_MEV = 32.84
MOLIERE_RADIUS_CM = 9.04
PROTON_INTERACTION_CM = 119.7 / DENSITY_G_PER_CM3
# Between PDG's 136.7 g/cm2 for aluminium and 160.8 for iron by a power of the mass number.
PION_INTERACTION_CM = 136.7 * (39.948 / 26.982) ** 0.2232 / DENSITY_G_PER_CM3
MICHEL_END_POINT_MEV = 52.828  # (m_mu^2 + m_e^2) / 2 m_mu
MICHEL_MEAN_MEV = 0.7 * MICHEL_END_POINT_MEV
# Suzuki, Measday and Roalsvig, Phys. Rev. C 35 (1987) 2212: mu- live 537 +- 32 ns in argon;
# 0.99 is Huff's factor for the slower decay of a bound muon.
BOUND_MUON_DECAY_SHARE = 0.99 * 537.0 / 2197.0


@dataclass(frozen=True)
class Standard:
    """Where a reference comes from and how near to it the simulation should be."""

    source: str
    tolerance: float  # as a fraction of the reference
    reason: str
    if_failed: str = ""  # what is known about a failure


STANDARDS = {
    "muon_minimum": Standard(
        "Groom et al. 2001: 1.508 MeV cm2/g",
        0.01,
        "stopping powers are known to 1 %; the same mean excitation energy, 188 eV, on both sides",
    ),
    "muon_mean": Standard(
        "Bethe's formula with the density effect of Groom et al., over the same 10 cm",
        0.01,
        "stopping powers are known to 1 %; radiation, left out, is 0.1 % at 1 GeV",
    ),
    "muon_most_probable": Standard(
        "PDG 34.12 (Landau-Vavilov-Bichsel)",
        0.03,
        "Landau's approximation is good to 1-2 % in 3 mm, steps of Geant4 are longer than that, "
        "and knock-on electrons leave the 3 mm",
    ),
    "muon_range": Standard(
        "Groom et al. 2001, CSDA",
        0.015,
        "1 % of the table, and the way is measured along chords of the scattered steps",
    ),
    "muon_range_integral": Standard(
        "Bethe's formula integrated (Groom's table has no 500 MeV)",
        0.015,
        "as for the table; the integral agrees with it to 0.1 %",
    ),
    "highland": Standard("Highland, PDG 34.16", 0.11, "the PDG quotes 11 % for the formula"),
    "michel_end": Standard(
        "(m_mu^2 + m_e^2) / 2 m_mu",
        0.005,
        "the highest of n electrons lies below the end point by about 26 / n MeV",
    ),
    "michel_mean": Standard(
        "V-A spectrum x^2 (3 - 2x): 0.7 of the end point",
        0.02,
        "radiative corrections and the electron's mass, left out, are of the order of 1 %",
    ),
    "michel_shape": Standard(
        "V-A spectrum: share above 40 MeV",
        0.05,
        "radiative corrections lower the upper end by a few per cent",
    ),
    "bound_muon": Standard(
        "mean life in argon of Suzuki et al. 1987, Huff factor 0.99",
        0.08,
        "the mean life is known to 6 %",
        "Geant4 has another capture rate for argon, 1.273 +- 0.065 per us (the mean of two "
        "measurements), which gives 0.258; no input of ours enters.",
    ),
    "compton": Standard(
        "Klein-Nishina, 18 free electrons", 0.03, "binding, and 0.2 % photoelectric effect"
    ),
    "photon_path": Standard(
        "Klein-Nishina and Bethe-Heitler pairs (Maximon 1968 below 30 MeV, screened above)",
        0.04,
        "the Born formulas with Thomas-Fermi screening are good to 2-3 % in argon",
    ),
    "radiation_length": Standard(
        "PDG: 19.55 g/cm2",
        0.04,
        "screening is not complete at 1 GeV (1-2 %); the PDG's Tsai values are good to 1-2 %",
    ),
    "shower_maximum": Standard(
        "PDG 34.37: ln(E / E_c) -+ 0.5, E_c = 32.84 MeV",
        0.10,
        "the PDG's own scatter around the formula is 0.2-0.3 radiation lengths",
        "In part the fit: the gamma distribution does not follow the rise from the surface, and "
        "the profile itself is highest 0.1 radiation lengths deeper. The rest is most likely the "
        "constant of the rule at 1 GeV: the growth from 1 to 10 GeV is right, Grindhammer and "
        "Peters agree with the electrons' fit to the tolerance, and what makes a shower, radiation "
        "and free path of photons, passes by itself.",
    ),
    "shower_growth": Standard(
        "PDG 34.37: ln 10", 0.12, "the rule is good to 0.2-0.3 radiation lengths"
    ),
    "shower_slope": Standard(
        "PDG figure 34.22: b about 0.5 in light and medium elements",
        0.15,
        "b ranges from 0.45 to 0.6 with material and energy",
        "0.5 is a round number for all materials; Grindhammer and Peters have 0.53 for argon.",
    ),
    "moliere": Standard(
        "PDG: 9.04 cm; holds 90 % of a shower on average",
        0.15,
        "a rule of thumb: the 90 % radius depends on energy and on how soft photons are counted",
        "Most likely the rule, not the simulation: 17 % of the energy is left beyond 9 cm by "
        "electrons that soft photons knock on, whose free path of 25-29 cm at some MeV is three "
        "Moliere radii (in lead it is 1.3). Without them the radius is 7.5 cm. Grindhammer and "
        "Peters have 90 % within two Moliere radii in argon.",
    ),
    "profile_maximum": Standard(
        "Grindhammer and Peters, hep-ex/0001020, for argon",
        0.10,
        "the tolerance of the PDG's rule; added after the first comparison",
    ),
    "profile_slope": Standard(
        "Grindhammer and Peters, hep-ex/0001020, for argon",
        0.15,
        "the tolerance of the PDG's rule; added after the first comparison",
    ),
    "profile_radius": Standard(
        "Grindhammer and Peters, hep-ex/0001020, with R_M = 0.0265 X0 (Z + 1.2) = 7.1 cm",
        0.15,
        "the tolerance of the rule of thumb; added after the first comparison. With the PDG's "
        "9.04 cm for R_M their formulas give 18 cm",
    ),
    "electron_peak": Standard(
        "PDG 34.12 for an electron in 3 cm",
        0.10,
        "the formula is for heavy particles; electrons radiate and scatter",
    ),
    "photon_peak": Standard(
        "twice the electron's", 0.10, "a pair is two electrons; some open or share unevenly"
    ),
    "proton_range": Standard(
        "Bethe's formula with Barkas and Berger's shell correction, integrated",
        0.015,
        "1 % of the stopping power. The shell correction, 1.6 % at 50 MeV, was added after the "
        "first comparison, with the same tolerance",
    ),
    "bragg": Standard(
        "Bethe's formula integrated: 80 % of the dose beyond the peak lies at the mean range",
        0.02,
        "as for the range; scattering shortens the depth by up to 1 %",
    ),
    "proton_length": Standard(
        "PDG: nuclear interaction length 119.7 g/cm2",
        0.06,
        "the PDG's is for 200 GeV; cross sections grow by some per cent from 20 GeV",
    ),
    "pion_length": Standard(
        "PDG: pion interaction length, interpolated between aluminium and iron: 149 g/cm2",
        0.08,
        "interpolation 2 %; the PDG's is for 200 GeV, cross sections at 20 GeV differ by some per "
        "cent",
    ),
    "letaw": Standard(
        "Letaw et al. 1983, fit to proton data",
        0.07,
        "the authors quote 5 % below 2 GeV",
    ),
}
