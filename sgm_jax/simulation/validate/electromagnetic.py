"""Photons and electrons: conversion, radiation, showers, and telling the two apart."""

import numpy as np

from sgm_jax.simulation.validate import estimators as est
from sgm_jax.simulation.validate import references as ref
from sgm_jax.simulation.validate import theory
from sgm_jax.simulation.validate.report import Curve, Figure, Measurement, Study, histogram
from sgm_jax.simulation.validate.transport import Argon, Beam

_HARD = (b"Conversion", b"Compton", b"Photoelectric", b"photonNuclear")
_X0 = theory.RADIATION_LENGTH_CM
_SHOWER_MEV = 1000.0
_DEPTH_EDGES = np.arange(0.0, 16.0, 0.5)  # radiation lengths
_DEPTH = 0.5 * (_DEPTH_EDGES[1:] + _DEPTH_EDGES[:-1])
_STUB_CM = 3.0
_STUB_RADIUS_CM = 2.0


def photon_paths(argon: Argon, events: int) -> Study:
    """Measure how deep photons get before they interact; Rayleigh scattering does not count."""
    rows, points = [], []
    for kinetic_mev in (1.0, 10.0, 100.0, 300.0, 1000.0):
        beam = argon.shoot(22, kinetic_mev, 5 * events, depth_cm=40.0, alone=True)
        depth, interacted = beam.first_of(*_HARD)
        measured = est.interaction_length(depth, interacted)
        expected = theory.photon_free_path_cm(kinetic_mev)
        standard = "compton" if kinetic_mev == 1.0 else "photon_path"
        name = f"photon {kinetic_mev:g} MeV, mean free path"
        rows.append(Measurement(name, "cm", measured, expected, standard))
        points.append((kinetic_mev, measured.value, measured.stderr))
    grid = np.geomspace(1.0, 2000.0, 200)
    energy, path, error = np.array(points).T
    expected = np.array([theory.photon_free_path_cm(e) for e in grid])
    curves = [
        Curve("Klein-Nishina and pairs", grid, expected),
        Curve("9/7 of a radiation length", grid, np.full(grid.size, 9.0 / 7.0 * _X0)),
        Curve("Geant4", energy, path, error, style="points"),
    ]
    title = "Mean free path of photons in liquid argon"
    return Study(rows, [Figure("photon_path", title, "energy (MeV)", "cm", curves, log_x=True)])


def radiation_length(argon: Argon, events: int) -> Study:
    """Measure the radiation length by the photons that 1 GeV electrons radiate in 1 cm.

    The mean energy falls as exp(-x / X0) where radiation is in proportion to the energy.
    """
    kinetic_mev, count = 1000.0, 40 * events
    beam = argon.shoot(11, kinetic_mev, count, depth_cm=1.0)
    event, energy = beam.made_by(b"Bremsstrahlung", 22)
    radiated = est.mean(np.bincount(event, energy, minlength=count) / kinetic_mev)
    length = -1.0 / np.log(1.0 - radiated.value)
    error = radiated.stderr * length**2 / (1.0 - radiated.value)
    measured = est.Estimate(float(length), float(error))
    name = "e- 1000 MeV, radiation length by radiated energy"
    return Study([Measurement(name, "cm", measured, _X0, "radiation_length")])


def _profile(beam: Beam, use: np.ndarray) -> np.ndarray:
    """Return the energy in each bin of depth, in MeV an event and radiation length."""
    kept = use[beam.deposits["event"]]
    depth = beam.deposits["depth"][kept] / _X0
    energy, _ = np.histogram(depth, _DEPTH_EDGES, weights=beam.deposits["energy"][kept])
    return energy / (use.sum() * np.diff(_DEPTH_EDGES))


def showers(argon: Argon, events: int) -> Study:
    """Measure the profiles of 1 GeV showers along and across."""
    rows, curves = [], []
    for pdg, name, offset in ((11, "e-", -0.5), (22, "photon", 0.5)):
        beam = argon.shoot(pdg, _SHOWER_MEV, max(20, events // 5), depth_cm=300.0)
        what = f"{name} {_SHOWER_MEV:g} MeV, "
        rows += [*_depth_rows(beam, what, offset), *_moliere(beam, what)]
        whole = _profile(beam, np.ones(beam.count, bool))
        curves.append(Curve(f"{name}: Geant4", _DEPTH, whole, style="steps"))
        curves.append(_fit_curve(f"{name}: gamma distribution", whole))
        if pdg == 11:
            rows += _second_opinion(rows)
    rows.append(_growth(argon, rows[0].measured, max(20, events // 50)))
    title, y_label = "Showers of 1 GeV", "MeV per radiation length"
    return Study(rows, [Figure("shower_profile", title, "depth (X0)", y_label, curves)])


def _second_opinion(rows: list[Measurement]) -> list[Measurement]:
    """Hold the electrons' maximum, slope and 90 % radius against Grindhammer and Peters, too."""
    by_standard = {row.standard: row for row in rows}
    maximum, slope = theory.shower_shape(_SHOWER_MEV)
    radius = theory.containment_radius_cm(_SHOWER_MEV)
    pairs = (
        (by_standard["shower_maximum"], "profile_maximum", maximum),
        (by_standard["shower_slope"], "profile_slope", slope),
        (by_standard["moliere"], "profile_radius", radius),
    )
    return [
        Measurement(f"{row.quantity}, second reference", row.unit, row.measured, reference, name)
        for row, name, reference in pairs
    ]


def _growth(argon: Argon, at_one_gev: est.Estimate, count: int) -> Measurement:
    """Measure by how much the maximum of electron showers goes deeper for ten times the energy.

    This is free of the constant in the PDG's rule.
    """
    beam = argon.shoot(11, 10.0 * _SHOWER_MEV, count, depth_cm=500.0)
    deep = est.over_groups(lambda use: est.gamma_profile(_DEPTH, _profile(beam, use))[0], count)
    error = np.hypot(deep.stderr, at_one_gev.stderr)
    measured = est.Estimate(deep.value - at_one_gev.value, float(error))
    name = "e- from 1 to 10 GeV, growth of the depth of the maximum"
    return Measurement(name, "X0", measured, float(np.log(10.0)), "shower_growth")


def _depth_rows(beam: Beam, what: str, offset: float) -> list[Measurement]:
    """Fit the gamma distribution and hold it against the PDG's rules."""

    def fitted(use: np.ndarray) -> tuple[float, float]:
        return est.gamma_profile(_DEPTH, _profile(beam, use))

    deepest = est.over_groups(lambda use: fitted(use)[0], beam.count)
    slope = est.over_groups(lambda use: fitted(use)[1], beam.count)
    centroid = est.over_groups(
        lambda use: float(np.average(_DEPTH, weights=_profile(beam, use))), beam.count
    )
    highest = est.over_groups(lambda use: est.peak(_profile(beam, use), _DEPTH), beam.count)
    expected = float(np.log(_SHOWER_MEV / ref.CRITICAL_ENERGY_MEV)) + offset
    return [
        Measurement(what + "shower maximum", "X0", deepest, expected, "shower_maximum"),
        Measurement(what + "slope b", "", slope, 0.5, "shower_slope"),
        Measurement(what + "highest point of the profile, without a fit", "X0", highest),
        Measurement(what + "mean depth", "X0", centroid),
    ]


def containment_radius(beam: Beam, chosen: np.ndarray) -> est.Estimate:
    """Return the radius in cm that holds 90 % of the energy of the chosen deposits, on average."""
    deposits = beam.deposits

    def radius(use: np.ndarray) -> float:
        kept = use[deposits["event"]] & chosen
        return est.containment_radius(deposits["radius"][kept], deposits["energy"][kept])

    return est.over_groups(radius, beam.count)


def _moliere(beam: Beam, what: str) -> list[Measurement]:
    """Measure the radius of the cylinder that holds 90 % of the energy, on average.

    Again without the electrons that photons knock on: the halo of soft photons has the scale of
    their free path, 25-29 cm at some MeV, not that of the scattering of electrons.
    """
    knocked = np.isin(beam.tracks["creator"], [b"Compton", b"Photoelectric"])
    halo = beam.descends_from(knocked & (beam.tracks["pid"] == 11))
    measured = containment_radius(beam, np.ones(halo.size, bool))
    core = containment_radius(beam, ~halo)
    reference = ref.MOLIERE_RADIUS_CM
    inside = est.mean(beam.energy_left(beam.deposits["radius"] < reference) / beam.energy_left())
    return [
        Measurement(what + "radius of 90 %", "cm", measured, reference, "moliere"),
        Measurement(what + "radius of 90 %, Compton and photoelectrons left out", "cm", core),
        Measurement(what + f"share of energy within {reference:g} cm", "", inside),
    ]


def _fit_curve(label: str, profile: np.ndarray) -> Curve:
    """Return the fitted gamma distribution on a fine grid."""
    deepest, b = est.gamma_profile(_DEPTH, profile)
    grid = np.linspace(0.01, _DEPTH[-1], 200)
    shape = grid ** (b * deepest) * np.exp(-b * grid)
    return Curve(label, grid, shape / shape.sum() * profile.sum() * len(grid) / len(_DEPTH))


def stub_dedx(beam: Beam, start_cm: np.ndarray) -> np.ndarray:
    """Return the energy ``[count]`` per centimetre in the first 3 cm from a depth ``[count]``."""
    deposits = beam.deposits
    away = deposits["depth"] - start_cm[deposits["event"]]
    near = (away >= 0.0) & (away < _STUB_CM) & (deposits["radius"] < _STUB_RADIUS_CM)
    return beam.energy_left(near) / _STUB_CM


def electron_photon(argon: Argon, events: int) -> Study:
    """Measure dE/dx at the start of showers of 300 MeV electrons and converted photons."""
    kinetic_mev = 300.0
    beam = argon.shoot(11, kinetic_mev, 2 * events, depth_cm=6.0)
    electron = stub_dedx(beam, np.zeros(beam.count))
    beam = argon.shoot(22, kinetic_mev, 3 * events, depth_cm=30.0)
    start, interacted = beam.first_of(*_HARD)
    inside = interacted & (start < 30.0 - 1.5 * _STUB_CM)
    photon = stub_dedx(beam, start)[inside]
    mass = theory.ELECTRON_MASS_MEV
    expected = theory.most_probable_loss_mev(kinetic_mev, mass, _STUB_CM) / _STUB_CM
    unit, what = "MeV/cm", "300 MeV, most probable dE/dx in 3 cm"
    peaks = est.most_probable(electron), est.most_probable(photon)
    rows = [
        Measurement(f"e- {what}", unit, peaks[0], expected, "electron_peak"),
        Measurement(f"photon {what}", unit, peaks[1], 2.0 * peaks[0].value, "photon_peak"),
    ]
    cut = 1.5 * peaks[0].value
    kept = est.share(int(np.sum(electron < cut)), electron.size)
    lost = est.share(int(np.sum(photon >= cut)), photon.size)
    rows.append(Measurement(f"e- with dE/dx below {cut:.2f} MeV/cm", "", kept))
    rows.append(Measurement(f"photons with dE/dx above {cut:.2f} MeV/cm", "", lost))
    edges = np.linspace(0.0, 10.0, 101)
    curves = [histogram("electrons", electron, edges), histogram("photons", photon, edges)]
    title = "First 3 cm of showers of 300 MeV"
    return Study(rows, [Figure("electron_photon", title, "dE/dx (MeV/cm)", "share", curves)])
