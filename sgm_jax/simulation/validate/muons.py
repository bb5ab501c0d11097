"""Muons: energy loss, range, scattering, decay."""

import numpy as np

from sgm_jax.simulation.validate import estimators as est
from sgm_jax.simulation.validate import references as ref
from sgm_jax.simulation.validate import theory
from sgm_jax.simulation.validate.report import Curve, Figure, Measurement, Study, histogram
from sgm_jax.simulation.validate.transport import Argon, Beam

_THICKNESS_CM = 10.0
_PITCH_CM = 0.3
_LOSS_ENERGIES_MEV = (100.0, ref.MUON_MINIMUM_MEV, 500.0, 1000.0)
_MASS = theory.MUON_MASS_MEV


def slice_energies(beam: Beam, *, pitch_cm: float, num_slices: int) -> np.ndarray:
    """Return the energy ``[count, num_slices]`` left in slices across the beam.

    A deposit along a step is spread evenly over the depths of the step.
    """
    deposits = beam.deposits
    parts = np.maximum(1, np.ceil(deposits["length"] / (0.1 * pitch_cm))).astype(np.int64)
    owner = np.repeat(np.arange(parts.size), parts)
    number = np.arange(owner.size) - np.repeat(np.cumsum(parts) - parts, parts)
    along = (number + 0.5) / parts[owner] - 0.5
    depth = deposits["depth"][owner] + along * deposits["length"][owner]
    cell = np.floor(depth / pitch_cm).astype(np.int64)
    inside = (cell >= 0) & (cell < num_slices)
    flat = deposits["event"][owner] * num_slices + cell
    energy = (deposits["energy"] / parts)[owner]
    summed = np.bincount(flat[inside], energy[inside], minlength=beam.count * num_slices)
    return summed.reshape(beam.count, num_slices)


def _mean_loss(beam: Beam, kinetic_mev: float) -> list[Measurement]:
    """Hold the loss of the muons themselves against Bethe and, at the minimum, against Groom."""
    loss = (kinetic_mev - beam.last["energy"]) / beam.path_cm
    left = theory.kinetic_after(kinetic_mev, _MASS, beam.path_cm.mean())
    expected = (kinetic_mev - float(left)) / beam.path_cm.mean()
    name, unit = f"mu- {kinetic_mev:g} MeV, mean dE/dx", "MeV/cm"
    measured = est.mean(loss)
    rows = [Measurement(name, unit, measured, expected, "muon_mean")]
    if kinetic_mev == ref.MUON_MINIMUM_MEV:
        minimum = ref.MUON_MINIMUM_MEV_PER_CM
        name = "mu- minimum dE/dx"
        rows.append(Measurement(name, unit, measured, minimum, "muon_minimum"))
    return rows


def _most_probable(slices: np.ndarray, kinetic_mev: float) -> Measurement:
    """Hold the most probable energy in 3 mm against Landau, Vavilov and Bichsel."""
    measured = est.most_probable(slices.ravel() / _PITCH_CM)
    middle = theory.kinetic_after(kinetic_mev, _MASS, 0.5 * slices.shape[1] * _PITCH_CM)
    expected = theory.most_probable_loss_mev(float(middle), _MASS, _PITCH_CM) / _PITCH_CM
    name = f"mu- {kinetic_mev:g} MeV, most probable dE/dx in 3 mm"
    return Measurement(name, "MeV/cm", measured, expected, "muon_most_probable")


def _scattering(beam: Beam, kinetic_mev: float) -> Measurement:
    """Hold the plane scattering angle behind the target against Highland."""
    way = beam.last["direction"][beam.last["process"] == b"Transport"]
    angles = np.concatenate([np.arctan2(way[:, axis], way[:, 2]) for axis in (0, 1)])
    expected = theory.scattering_angle(kinetic_mev, _MASS, _THICKNESS_CM)
    measured = est.Estimate(*(1e3 * x for x in est.central_width(angles)))
    name = f"mu- {kinetic_mev:g} MeV, scattering angle in {_THICKNESS_CM:g} cm"
    return Measurement(name, "mrad", measured, 1e3 * expected, "highland")


def muon_energy_loss(argon: Argon, events: int) -> Study:
    """Measure mean and most probable dE/dx and multiple scattering in 10 cm."""
    rows, spectra = [], []
    edges = np.linspace(1.0, 4.0, 121)
    for kinetic_mev in _LOSS_ENERGIES_MEV:
        beam = argon.shoot(13, kinetic_mev, 2 * events, depth_cm=_THICKNESS_CM)
        rows += _mean_loss(beam, kinetic_mev)
        # The first slices lack knock-on electrons from before them; the loss changes down the rest.
        slices = slice_energies(beam, pitch_cm=_PITCH_CM, num_slices=20)[:, 2:]
        rows += [_most_probable(slices, kinetic_mev), _scattering(beam, kinetic_mev)]
        dedx = slices.ravel() / _PITCH_CM
        spectra.append(histogram(f"{kinetic_mev:g} MeV", dedx, edges))
    title = "Muon dE/dx in slices of 3 mm"
    return Study(rows, [Figure("muon_dedx", title, "dE/dx (MeV/cm)", "share of slices", spectra)])


def muon_range(argon: Argon, events: int) -> Study:
    """Measure the range from 100 to 500 MeV."""
    rows, measured = [], []
    energies = (*ref.MUON_RANGE_G_PER_CM2, 500.0)
    for kinetic_mev in energies:
        count = max(20, events // 3)
        expected = theory.csda_range_cm(kinetic_mev, _MASS)
        beam = argon.shoot(13, kinetic_mev, count, depth_cm=1.5 * expected, alone=True)
        measured.append(est.mean(beam.path_cm[beam.last["energy"] == 0.0]))
        table = ref.MUON_RANGE_G_PER_CM2.get(kinetic_mev)
        standard = "muon_range_integral"
        if table is not None:
            expected, standard = table / theory.DENSITY_G_PER_CM3, "muon_range"
        name = f"mu- {kinetic_mev:g} MeV, range"
        rows.append(Measurement(name, "cm", measured[-1], expected, standard))
    energy = np.array(energies)
    grid = np.linspace(50.0, 550.0, 51)
    curve = np.array([theory.csda_range_cm(e, _MASS) for e in grid])
    table = np.array(list(ref.MUON_RANGE_G_PER_CM2.items())).T
    curves = [
        Curve("Bethe, integrated", grid, curve),
        Curve("Groom et al.", table[0], table[1] / theory.DENSITY_G_PER_CM3, style="crosses"),
        Curve("Geant4", energy, *np.array(measured).T, style="points"),
    ]
    title = "Range of muons in liquid argon"
    return Study(rows, [Figure("muon_range", title, "kinetic energy (MeV)", "cm", curves)])


def muon_decay(argon: Argon, events: int) -> Study:
    """Measure the Michel spectrum of mu+ and how many mu- escape capture, at rest."""
    beam = argon.shoot(-13, 1e-3, events, depth_cm=150.0)
    _, energy = beam.made_by(b"Decay", -11)
    total = energy + theory.ELECTRON_MASS_MEV
    end = ref.MICHEL_END_POINT_MEV
    above = est.share(int(np.sum(total > 40.0)), total.size)
    expected = theory.michel_share_above(40.0 / end)
    negative = argon.shoot(13, 1e-3, events, depth_cm=150.0)
    # Auger electrons of a muonic argon atom stay below 1 MeV.
    free = negative.made_by(b"Capture", 11)
    decays = est.share(int(np.unique(free[0][free[1] > 3.0]).size), negative.count)
    michel, highest = "Michel positrons, ", est.Estimate(total.max(), 0.0)
    mean = est.mean(total)
    free_share = ref.BOUND_MUON_DECAY_SHARE
    rows = [
        Measurement(michel + "highest energy", "MeV", highest, end, "michel_end"),
        Measurement(michel + "mean energy", "MeV", mean, ref.MICHEL_MEAN_MEV, "michel_mean"),
        Measurement(michel + "share above 40 MeV", "", above, expected, "michel_shape"),
        Measurement("mu- at rest, share that decays", "", decays, free_share, "bound_muon"),
    ]
    edges = np.linspace(0.0, 56.0, 57)
    x = np.minimum(0.5 * (edges[1:] + edges[:-1]) / end, 1.0)
    curves = [
        Curve("V-A", x * end, 2.0 * x**2 * (3.0 - 2.0 * x) / end),
        histogram("Geant4, positron", total, edges),
        histogram("Geant4, energy left in 3 m of argon", beam.energy_left(), edges),
    ]
    title = "Positrons of mu+ decaying at rest"
    return Study(rows, [Figure("michel", title, "energy (MeV)", "share per MeV", curves)])
