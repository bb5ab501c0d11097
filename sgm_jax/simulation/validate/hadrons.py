"""Protons and pions: range, Bragg peak, interaction length."""

import numpy as np

from sgm_jax.simulation.argon_nuclear import ARGON_MASS_NUMBER, inelastic_barn
from sgm_jax.simulation.validate import estimators as est
from sgm_jax.simulation.validate import references as ref
from sgm_jax.simulation.validate import theory
from sgm_jax.simulation.validate.report import Curve, Figure, Measurement, Study
from sgm_jax.simulation.validate.transport import Argon

_INELASTIC = (b"Inelastic", b"pi+Inelastic", b"pi-Inelastic")
_MASS = theory.PROTON_MASS_MEV


def proton_range(argon: Argon, events: int) -> Study:
    """Measure the path of protons that stop without an inelastic collision."""
    rows = []
    for kinetic_mev in (50.0, 100.0, 200.0):
        expected = theory.csda_range_cm(kinetic_mev, _MASS)
        beam = argon.shoot(2212, kinetic_mev, max(20, events), depth_cm=2.0 * expected, alone=True)
        _, interacted = beam.first_of(*_INELASTIC)
        stopped = ~interacted & (beam.last["energy"] == 0.0)
        measured = est.mean(beam.path_cm[stopped])
        name = f"p {kinetic_mev:g} MeV, path of those that stop"
        rows.append(Measurement(name, "cm", measured, expected, "proton_range"))
    return Study(rows)


def bragg_peak(argon: Argon, events: int) -> Study:
    """Measure the dose of 150 MeV protons against depth."""
    kinetic_mev, count = 150.0, events
    expected = theory.csda_range_cm(kinetic_mev, _MASS)
    beam = argon.shoot(2212, kinetic_mev, count, depth_cm=1.5 * expected)
    edges = np.arange(0.0, 1.3 * expected, 0.1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    deposits = beam.deposits

    def dose(use: np.ndarray) -> np.ndarray:
        kept = use[deposits["event"]]
        summed, _ = np.histogram(deposits["depth"][kept], edges, weights=deposits["energy"][kept])
        return summed / (use.sum() * 0.1)

    end = est.over_groups(lambda use: est.distal_depth(middle, dose(use)), count)
    peak = est.over_groups(lambda use: dose(use).max() / dose(use)[5:15].mean(), count)
    depth = np.linspace(0.0, 0.995 * expected, 300)
    power = theory.stopping_power(theory.kinetic_after(kinetic_mev, _MASS, depth), _MASS)
    whole = dose(np.ones(count, bool))
    curves = [
        Curve("Geant4", middle, whole, style="steps"),
        # Of a proton that neither straggles nor interacts.
        Curve("Bethe, one proton", depth, power * theory.DENSITY_G_PER_CM3),
    ]
    rows = [
        Measurement("p 150 MeV, depth of 80 % dose", "cm", end, expected, "bragg"),
        Measurement("p 150 MeV, Bragg peak over entrance (1 mm bins)", "", peak),
    ]
    title = "Dose of 150 MeV protons"
    return Study(rows, [Figure("bragg_peak", title, "depth (cm)", "MeV/cm per proton", curves)])


def interaction_lengths(argon: Argon, events: int) -> Study:
    """Measure inelastic mean free paths in 20 cm: Letaw's energies, and 20 GeV against the PDG."""
    cases = [(2212, "p", e, "letaw") for e in (300.0, 600.0, 1000.0)]
    cases += [(2212, "p", 2e4, "proton_length"), (211, "pi+", 2e4, "pion_length")]
    cases += [(211, "pi+", e, "") for e in (200.0, 500.0, 1000.0)]
    fixed = {"proton_length": ref.PROTON_INTERACTION_CM, "pion_length": ref.PION_INTERACTION_CM}
    rows, points = [], {"p": [], "pi+": []}
    for pdg, name, kinetic_mev, standard in cases:
        measured, middle_mev = _free_path(argon, pdg, kinetic_mev, events)
        reference = fixed.get(standard)
        if standard == "letaw":
            barn = inelastic_barn(ARGON_MASS_NUMBER, np.array([middle_mev]))[0]
            reference = theory.interaction_length_cm(float(barn))
        quantity = f"{name} {kinetic_mev:g} MeV, inelastic mean free path"
        rows.append(Measurement(quantity, "cm", measured, reference, standard))
        points[name].append((middle_mev, measured.value, measured.stderr))
    return Study(rows, [_free_path_figure(points)])


def _free_path(
    argon: Argon, pdg: int, kinetic_mev: float, events: int
) -> tuple[est.Estimate, float]:
    """Return the inelastic mean free path in 20 cm of argon and the mean energy on the way."""
    beam = argon.shoot(pdg, kinetic_mev, 4 * events, depth_cm=20.0, alone=True)
    _, interacted = beam.first_of(*_INELASTIC)
    # Those that decay, or turn back, count as having left unharmed.
    through = beam.last["energy"][beam.last["process"] == b"Transport"]
    return est.interaction_length(beam.path_cm, interacted), 0.5 * (kinetic_mev + through.mean())


def _free_path_figure(points: dict[str, list[tuple[float, float, float]]]) -> Figure:
    """Draw mean free paths against energy."""
    grid = np.geomspace(100.0, 2.5e4, 100)
    barn = inelastic_barn(ARGON_MASS_NUMBER, grid)
    curves = [Curve("p: Letaw et al.", grid, theory.interaction_length_cm(1.0) / barn)]
    for name, value in (("p", ref.PROTON_INTERACTION_CM), ("pi+", ref.PION_INTERACTION_CM)):
        curves.append(Curve(f"{name}: PDG, 200 GeV", grid[-20:], np.full(20, value)))
        energy, path, error = np.array(points[name]).T
        curves.append(Curve(f"{name}: Geant4", energy, path, error, style="points"))
    title = "Inelastic mean free path in liquid argon"
    return Figure("interaction_length", title, "kinetic energy (MeV)", "cm", curves, log_x=True)
