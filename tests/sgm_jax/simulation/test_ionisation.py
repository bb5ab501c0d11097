import numpy as np
import pytest

from sgm_jax.simulation.geant4 import Deposits
from sgm_jax.simulation.ionisation import birks, escaped_charge_mev, modified_box, stopping_power


def steps(length_cm, energy_mev, track=None):
    length = np.array(length_cm, float)
    start = np.zeros((length.size, 3))
    return Deposits(
        event=np.zeros(length.size, np.int64),
        start_cm=start,
        end_cm=start + length[:, None] * [0.6, 0.0, 0.8],
        energy_mev=np.array(energy_mev, float),
        pixel_class=np.full(length.size, 2),
        track=np.zeros(length.size, np.int64) if track is None else np.array(track),
    )


# By hand at 0.5 kV/cm and 1.396 g/cm3: 0.8 / (1 + 0.069628 s) and ln(0.93 + x) / x, x = 0.303725 s.
@pytest.mark.parametrize(("de_dx", "expected"), [(2.1, 0.69795), (10.0, 0.47161), (25.0, 0.29190)])
def test_birks_law_has_the_values_of_its_formula(de_dx, expected):
    assert birks(np.array(de_dx), 0.5) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("de_dx", "expected"), [(2.1, 0.70503), (10.0, 0.45372), (25.0, 0.28220)])
def test_the_modified_box_model_has_the_values_of_its_formula(de_dx, expected):
    assert modified_box(np.array(de_dx), 0.5) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("model", [birks, modified_box])
def test_less_charge_escapes_from_denser_ionisation_and_weaker_fields(model):
    de_dx = np.linspace(1.8, 50.0, 40)
    assert np.all(np.diff(model(de_dx, 0.5)) < 0.0)
    assert np.all(model(de_dx, 0.273) < model(de_dx, 0.5))


def test_a_step_of_a_millimetre_has_its_own_stopping_power():
    found = stopping_power(steps([0.1, 0.2, 0.1], [0.2, 0.5, 2.0]))
    np.testing.assert_allclose(found, [2.0, 2.5, 20.0])


def test_steps_far_shorter_than_the_averaging_length_share_one_value_per_track():
    deposits = steps(np.full(120, 1e-3), np.tile([0.001, 0.005], 60), np.repeat([3, 7], 60))
    np.testing.assert_allclose(stopping_power(deposits), 3.0)


def test_tracks_do_not_mix_though_their_steps_alternate():
    track = np.tile([0, 1], 60)
    deposits = steps(np.full(120, 1e-3), np.where(track, 0.020, 0.002), track)
    found = stopping_power(deposits)
    np.testing.assert_allclose(found, np.where(track, 20.0, 2.0))


def test_points_and_specks_count_as_long_as_the_averaging_length():
    deposits = steps([0.0, 0.0, 1e-7], [0.3, 0.03, 0.6], [0, 0, 1])
    np.testing.assert_allclose(stopping_power(deposits), [10.0, 1.0, 20.0])


def test_cutting_a_track_finer_does_not_change_its_stopping_power():
    coarse = stopping_power(steps(np.full(10, 0.03), np.full(10, 0.06)))
    fine = stopping_power(steps(np.full(300, 0.001), np.full(300, 0.002)))
    np.testing.assert_allclose(coarse, 2.0)
    np.testing.assert_allclose(fine, 2.0)


@pytest.mark.parametrize(("name", "model"), [("birks", birks), ("modified_box", modified_box)])
def test_the_reference_keeps_its_charge_and_a_stopping_proton_loses_a_known_part(
    config, name, model
):
    config.recombination = name
    found = escaped_charge_mev(steps([1.0, 1.0], [2.1, 21.0], [0, 1]), config)
    expected = 21.0 * model(np.array(21.0), 0.5) / model(np.array(2.1), 0.5)
    np.testing.assert_allclose(found, [2.1, expected])
    assert expected < 12.0


@pytest.mark.parametrize("name", ["birks", "modified_box"])
def test_deposits_without_energy_or_with_little_lose_nothing_strange(config, name):
    config.recombination = name
    found = escaped_charge_mev(steps([1.0, 1.0, 0.0], [0.0, 1e-6, 0.0], [0, 1, 2]), config)
    assert np.all(np.isfinite(found)) and np.all(found >= 0.0) and found[1] < 1.5e-6


def test_without_recombination_charge_is_energy(config):
    deposits = steps([1.0, 0.0], [2.0, 3.0])
    assert escaped_charge_mev(deposits, config) is deposits.energy_mev
