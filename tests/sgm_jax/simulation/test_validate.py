"""The estimators of the physics report on samples with known answers, and two quick beams."""

import json
import shutil

import numpy as np
import pytest
from scipy.stats import gamma, moyal

from sgm_jax.simulation.validate import estimators, theory
from sgm_jax.simulation.validate.inputs import (
    FACTOR,
    scale_neutrons,
    scale_photonuclear,
    scale_soft_bremsstrahlung,
)
from sgm_jax.simulation.validate.muons import slice_energies
from sgm_jax.simulation.validate.references import (
    MICHEL_END_POINT_MEV,
    MUON_RANGE_G_PER_CM2,
    STANDARDS,
)
from sgm_jax.simulation.validate.report import Curve, Figure, Measurement, Study, write_report
from sgm_jax.simulation.validate.studies import validate
from sgm_jax.simulation.validate.transport import Argon, Beam, run_apart

DEPOSIT = [(name, "f8") for name in ("energy", "depth", "radius", "length")]
DEPOSIT = [("event", "i8"), ("tid", "i8"), *DEPOSIT]
TRACK = [("event", "u8"), ("tid", "i4"), ("parent", "i4"), ("pid", "i4"), ("creator", "S16")]
VERTEX = [("event", "u8"), ("tid", "i4"), ("energy", "f8"), ("position", "f8", 3)]
VERTEX = [*VERTEX, ("direction", "f8", 3), ("process", "S16")]


def beam(count=1, deposits=(), tracks=(), vertices=()):
    return Beam(
        count=count,
        start_cm=5.0,
        deposits=np.array(list(deposits), DEPOSIT),
        tracks=np.array(list(tracks), TRACK),
        vertices=np.array(list(vertices), VERTEX),
    )


def vertex(event, tid, energy, z, process, x=0.0):
    return event, tid, energy, (x, 0.0, z), (0.0, 0.0, 1.0), process


# Theory against published numbers.


@pytest.mark.parametrize(("kinetic_mev", "grams"), MUON_RANGE_G_PER_CM2.items())
def test_the_integrated_stopping_power_gives_the_ranges_of_groom(kinetic_mev, grams):
    found = theory.csda_range_cm(kinetic_mev, theory.MUON_MASS_MEV) * theory.DENSITY_G_PER_CM3
    assert found == pytest.approx(grams, rel=1.5e-3)


def test_muons_lose_least_at_266_mev_with_the_pdg_minimum():
    energy = np.linspace(150.0, 500.0, 351)
    loss = theory.stopping_power(energy, theory.MUON_MASS_MEV)
    assert loss.min() == pytest.approx(1.508, rel=2e-3)
    assert energy[np.argmin(loss)] == pytest.approx(266.0, abs=10.0)


def test_what_is_left_after_a_path_has_the_rest_of_the_range():
    left = theory.kinetic_after(300.0, theory.MUON_MASS_MEV, np.array(50.0))
    whole = theory.csda_range_cm(300.0, theory.MUON_MASS_MEV)
    assert theory.csda_range_cm(float(left), theory.MUON_MASS_MEV) == pytest.approx(whole - 50.0)


def test_a_path_beyond_the_range_is_refused():
    with pytest.raises(ValueError, match="200 cm is longer than the range"):
        theory.kinetic_after(300.0, theory.MUON_MASS_MEV, np.array([10.0, 200.0]))


def test_the_most_probable_loss_is_landaus_by_hand():
    # xi = 0.307075 / 2 x 18 / 39.948 x 0.3 x 1.396 = 0.0289734 MeV at beta = 1; at high energy
    # delta takes the log of beta gamma away: xi (ln(2 m xi / I_p^2) + 0.2), I_p = 21.5 eV here.
    xi = 0.5 * 0.307075 * 18.0 / 39.948 * 0.3 * 1.396
    assert theory.landau_width_mev(1.0, 0.3) == pytest.approx(xi)
    plasma_mev = 188e-6 * np.exp(-(5.2146 - 1.0) / 2.0)
    expected = xi * (np.log(2.0 * theory.ELECTRON_MASS_MEV * xi / plasma_mev**2) + 0.2)
    found = theory.most_probable_loss_mev(1e7, theory.MUON_MASS_MEV, 0.3)
    assert found == pytest.approx(expected, rel=1e-3)


def test_highland_by_hand_for_one_radiation_length():
    # A fast muon keeps its energy: 13.6 MeV / 10 GeV x 1 = 1.36 mrad.
    found = theory.scattering_angle(1e4, theory.MUON_MASS_MEV, theory.RADIATION_LENGTH_CM)
    assert 1e3 * found == pytest.approx(1.36, rel=0.01)


def test_photon_cross_sections_have_the_known_limits():
    thomson_cm2 = 6.6524587e-25
    assert theory.klein_nishina_cm2(1e-4) == pytest.approx(thomson_cm2, rel=1e-3)
    assert theory.pair_cm2(1.0) == 0.0
    # Complete screening: 7/9 of an interaction in a radiation length.
    asymptotic = 9.0 / 7.0 * theory.RADIATION_LENGTH_CM
    assert theory.photon_free_path_cm(1e6) == pytest.approx(asymptotic, rel=0.02)


def test_the_two_pair_formulas_meet():
    # Screening takes off some per cent already where the bare formula hands over.
    below, above = theory.pair_cm2(29.9), theory.pair_cm2(30.1)
    assert 0.95 < above / below < 1.0


def test_the_michel_share_is_the_integral_of_the_spectrum():
    x = np.linspace(0.7, 1.0, 10001)
    integral = np.trapezoid(2.0 * x**2 * (3.0 - 2.0 * x), x)
    assert theory.michel_share_above(0.7) == pytest.approx(integral, rel=1e-6)
    assert theory.michel_share_above(0.0) == 1.0


def test_the_shell_correction_takes_two_per_cent_off_at_10_mev():
    # By hand for beta gamma^2 = 0.02143 and I = 188 eV: C / Z = 1.52 / 18 = 0.084.
    assert theory.shell_correction(np.array(0.02143)) == pytest.approx(0.084, abs=0.001)
    assert abs(theory.shell_correction(np.array(100.0))) < 1e-4


def test_mean_showers_by_hand_and_their_radius():
    # Argon: E_c = 2.66 x 8.809^1.1 = 29.13 MeV, ln(1000 / 29.13) = 3.536.
    deepest, slope = theory.shower_shape(1000.0)
    assert deepest == pytest.approx(3.536 - 0.858, abs=2e-3)
    assert slope * deepest + 1.0 == pytest.approx(0.21 + (0.492 + 2.38 / 18) * 3.536, abs=2e-3)
    radii = [theory.containment_radius_cm(1000.0, part=p) for p in (0.5, 0.8, 0.9)]
    assert radii == sorted(radii)
    assert radii[2] == pytest.approx(2.0 * 7.125, rel=0.03)


# Estimators on samples with a known answer.


@pytest.mark.parametrize("seed", range(3))
def test_the_most_probable_value_of_a_moyal_sample_is_its_location(seed):
    sample = moyal.rvs(loc=1.6, scale=0.1, size=20_000, random_state=seed)
    found = estimators.most_probable(sample)
    assert found.stderr < 0.01
    assert abs(found.value - 1.6) < 4.0 * found.stderr


def test_a_peak_needs_values():
    with pytest.raises(ValueError, match="100 values make no peak"):
        estimators.most_probable(np.ones(100))


@pytest.mark.parametrize("thickness_cm", [20.0, 200.0])
def test_the_interaction_length_allows_for_those_that_leave(thickness_cm):
    way = np.random.default_rng(0).exponential(80.0, 40_000)
    found = estimators.interaction_length(np.minimum(way, thickness_cm), way < thickness_cm)
    assert abs(found.value - 80.0) < 3.5 * found.stderr < 0.05 * 80.0


def test_an_interaction_length_needs_interactions():
    with pytest.raises(ValueError, match="none of 3 particles interacted"):
        estimators.interaction_length(np.ones(3), np.zeros(3, bool))


def test_the_central_width_is_that_of_the_core_whatever_the_tails():
    rng = np.random.default_rng(1)
    core = rng.normal(0.0, 2.0, 50_000)
    found = estimators.central_width(core)
    assert abs(found.value - 2.0) < 4.0 * found.stderr
    tails = rng.normal(0.0, 40.0, 100)
    assert estimators.central_width(np.concatenate([core, tails])).value < 1.05 * found.value


def test_the_shower_fit_recovers_a_gamma_distribution():
    depth = np.arange(0.25, 16.0, 0.5)
    deepest, slope = estimators.gamma_profile(depth, 1000.0 * gamma.pdf(depth, 2.5, scale=2.0))
    assert (deepest, slope) == pytest.approx((3.0, 0.5), rel=1e-4)


def test_the_containment_radius_of_a_uniform_disc():
    radius = np.sqrt(np.random.default_rng(2).random(20_000))
    found = estimators.containment_radius(radius, np.ones(radius.size))
    assert found == pytest.approx(np.sqrt(0.9), rel=0.01)


def test_the_distal_depth_is_interpolated_beyond_the_peak():
    dose = np.array([0.9, 0.7, 1.0, 0.9, 0.5, 0.0])
    assert estimators.distal_depth(np.arange(6.0), dose) == pytest.approx(3.25)


def test_groups_give_the_error_of_a_mean():
    values = np.random.default_rng(3).normal(size=4000)
    found = estimators.over_groups(lambda use: values[use].mean(), values.size)
    assert found.value == pytest.approx(values.mean())
    assert found.stderr == pytest.approx(1.0 / np.sqrt(4000), rel=0.6)
    with pytest.raises(ValueError, match="15 events give no error"):
        estimators.over_groups(lambda use: 0.0, 15)


# Beams made by hand.


def test_the_path_of_a_fabricated_track_is_the_length_of_its_chords():
    first = [vertex(0, 1, 9.0, 5.0, b""), vertex(0, 1, 5.0, 8.0, b"Ionisation", 4.0)]
    first += [vertex(0, 1, 0.0, 9.0, b"Decay", 4.0), vertex(0, 2, 3.0, 9.0, b"")]
    second = [vertex(1, 1, 9.0, 5.0, b""), vertex(1, 1, 0.0, 7.5, b"Compton")]
    shot = beam(2, vertices=first + second, tracks=[(0, 2, 1, -11, b"Decay")])
    np.testing.assert_allclose(shot.path_cm, [6.0, 2.5])
    assert list(shot.last["process"]) == [b"Decay", b"Compton"]
    depth, hit = shot.first_of(b"Compton")
    np.testing.assert_allclose(depth, [4.0, 2.5])
    assert list(hit) == [False, True]
    event, energy = shot.made_by(b"Decay", -11)
    assert (list(event), list(energy)) == ([0], [3.0])


def test_offspring_is_found_through_any_number_of_generations():
    # 1 -> neutron 2 -> 3 -> 4 -> ... -> 9 in event 0; event 1 has the same ids and no neutron.
    family = [(0, tid, tid - 1, 2112 if tid == 2 else 22, b"x") for tid in range(1, 10)]
    family += [(1, tid, tid - 1, 22, b"x") for tid in range(1, 10)]
    left = [(event, tid, 1.0, 0.0, 0.0, 0.0) for event in (0, 1) for tid in (1, 2, 3, 9)]
    shot = beam(2, deposits=left, tracks=family[::-1])
    found = shot.descends_from(shot.tracks["pid"] == 2112)
    assert list(found) == [False, True, True, True, False, False, False, False]


def test_a_long_step_shares_its_energy_among_the_slices():
    # 3 MeV from depth 0.3 to 1.2 cm; a point at 0.1; one behind the last slice.
    left = [(0, 1, 3.0, 0.75, 0.0, 0.9), (1, 1, 0.5, 0.1, 0.0, 0.0), (1, 1, 7.0, 9.0, 0.0, 0.0)]
    slices = slice_energies(beam(2, deposits=left), pitch_cm=0.3, num_slices=4)
    np.testing.assert_allclose(slices.sum(axis=1), [3.0, 0.5])
    np.testing.assert_allclose(slices, [[0.0, 1.0, 1.0, 1.0], [0.5, 0.0, 0.0, 0.0]], atol=0.11)


# Verdicts and the report.


@pytest.mark.parametrize(
    ("value", "stderr", "verdict"),
    [(1.009, 0.001, "pass"), (0.985, 0.001, "fail"), (1.0, 0.006, "undecided")],
)
def test_verdicts_follow_the_tolerance(value, stderr, verdict):
    assert STANDARDS["muon_mean"].tolerance == 0.01
    assert (
        Measurement("x", "MeV", estimators.Estimate(value, stderr), 1.0, "muon_mean").verdict
        == verdict
    )


def test_the_report_has_every_measurement_and_picture(tmp_path):
    rows = [
        Measurement("good", "cm", estimators.Estimate(1.0, 0.001), 1.0, "muon_mean"),
        Measurement("bad", "cm", estimators.Estimate(2.0, 0.001), 1.0, "muon_mean"),
        Measurement("only information", "", estimators.Estimate(2.0, 0.1)),
    ]
    x = np.arange(3.0)
    picture = Figure("line", "A line", "x", "y", [Curve("c", x, x), Curve("p", x, x, x, "points")])
    summary = write_report(
        {"study": Study(rows, [picture])}, [], tmp_path, settings={"Geant4 data": "none"}
    )
    assert summary == {"pass": 1, "fail": 1, "undecided": 0}
    text = (tmp_path / "report.md").read_text()
    assert "| bad (cm) | 2 ± 0.001 | 1 | +100.0 % | +1000.0 | 1 % | fail |" in text
    assert "only information" in text and "line.png" in text
    assert (tmp_path / "line.png").is_file()
    records = json.loads((tmp_path / "results.json").read_text())["measurements"]
    assert [record["verdict"] for record in records] == ["pass", "fail", "-"]


def test_an_unknown_study_is_named(tmp_path):
    with pytest.raises(ValueError, match="no study muon_rage; there are muon_energy_loss"):
        validate(tmp_path, ["muon_rage"], events=200, seed=1)


@pytest.fixture
def scratch_data(argon_folder, tmp_path):
    return shutil.copytree(argon_folder, tmp_path / "data")


def test_only_the_named_input_is_scaled(argon_folder, scratch_data):
    scale_neutrons(scratch_data)
    scale_photonuclear(scratch_data)
    scale_soft_bremsstrahlung(scratch_data)
    changed = []
    for path in sorted(p for p in argon_folder.rglob("*") if p.is_file()):
        name = path.relative_to(argon_folder)
        if path.read_bytes() != (scratch_data / name).read_bytes():
            changed.append(name)
    assert {name.parts[1] for name in changed} == {"neutron", "gamma", "brem_SB"}
    before, after = (
        np.array(next(root.glob("G4EMLOW*/brem_SB/br18")).read_text().split(), float)
        for root in (argon_folder, scratch_data)
    )
    ratio = np.divide(after, before, out=np.ones(after.size), where=before != 0.0)
    assert set(np.round(ratio, 4)) == {1.0, FACTOR}
    assert ratio[-1] == pytest.approx(1.0, abs=1e-5)  # the highest energy


# Geant4, in a process of its own: other tests of this session have theirs in this one.


def shoot_muons_and_photons(folder):
    argon = Argon(folder, seed=1)
    muons = argon.shoot(13, 200.0, 150, depth_cm=120.0, alone=True)
    photons = argon.shoot(22, 300.0, 4000, depth_cm=40.0, alone=True)
    at_rest = argon.shoot(-13, 1e-3, 100, depth_cm=100.0)
    again = argon.shoot(-13, 1e-3, 100, depth_cm=100.0)
    same = np.array_equal(at_rest.deposits, again.deposits)
    hit = photons.first_of(b"Conversion", b"Compton", b"photonNuclear")
    return muons.path_cm, hit, at_rest.made_by(b"Decay", -11), same


@pytest.fixture(scope="module")
def beams(geant4_data):
    pytest.importorskip("calzone")
    return run_apart(shoot_muons_and_photons, geant4_data.folder)


def test_muons_have_the_range_of_groom(beams):
    range_cm = estimators.mean(beams[0])
    expected = MUON_RANGE_G_PER_CM2[200.0] / theory.DENSITY_G_PER_CM3
    assert abs(range_cm.value - expected) < 4.0 * range_cm.stderr < 0.02 * expected


def test_photons_have_the_free_path_of_theory(beams):
    free = estimators.interaction_length(*beams[1])
    assert free.value == pytest.approx(theory.photon_free_path_cm(300.0), rel=0.08)


def test_every_positive_muon_makes_one_positron_up_to_the_end_point(beams):
    event, energy = beams[2]
    assert np.array_equal(np.sort(event), np.arange(100))
    assert 40.0 < energy.max() + theory.ELECTRON_MASS_MEV < MICHEL_END_POINT_MEV + 0.01


def test_a_beam_does_not_depend_on_what_was_shot_before(beams):
    assert beams[3]
