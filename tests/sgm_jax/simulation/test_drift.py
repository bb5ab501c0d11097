import numpy as np
import pytest

from sgm_jax.simulation.drift import arriving_share, diffuse, gather_pieces, sigma_px
from sgm_jax.simulation.geant4 import Deposits
from sgm_jax.simulation.truth import PixelClass


def deposits(start_cm, end_cm, energy_mev, event=None, pixel_class=None):
    start = np.atleast_2d(np.array(start_cm, float))
    count = len(start)
    return Deposits(
        event=np.zeros(count, np.int64) if event is None else np.array(event),
        start_cm=start,
        end_cm=np.atleast_2d(np.array(end_cm, float)),
        energy_mev=np.atleast_1d(np.array(energy_mev, float)),
        pixel_class=np.full(count, PixelClass.TRACK)
        if pixel_class is None
        else np.array(pixel_class),
        track=np.arange(count),
    )


@pytest.fixture
def random_deposits():
    rng = np.random.default_rng(2)
    start = rng.uniform(-50.0, 50.0, (300, 3))
    return deposits(
        start,
        start + rng.normal(size=(300, 3)),
        rng.exponential(size=300),
        event=np.sort(rng.integers(0, 4, 300)),
        pixel_class=rng.integers(1, 5, 300),
    )


def test_pieces_keep_the_energy_of_every_event_and_class(random_deposits, config):
    pieces = gather_pieces(random_deposits, config)
    for event in range(4):
        for kind in list(PixelClass)[1:]:
            before = (random_deposits.event == event) & (random_deposits.pixel_class == kind)
            found = pieces.class_mev[pieces.event == event, kind].sum()
            assert found == pytest.approx(random_deposits.energy_mev[before].sum())
    np.testing.assert_allclose(pieces.class_mev.sum(axis=1), pieces.charge_mev)
    assert np.array_equal(pieces.charge_mev, pieces.energy_mev)
    assert np.array_equal(pieces.class_mev[:, PixelClass.TRACK] > 0.0, pieces.is_track)
    assert np.all(np.diff(pieces.event) >= 0)


def test_pieces_keep_the_centroid(random_deposits, config):
    pieces = gather_pieces(random_deposits, config)
    middle = (random_deposits.start_cm + random_deposits.end_cm) / 2.0
    expected = np.average(middle, axis=0, weights=random_deposits.energy_mev)
    found = np.average(pieces.position_px, axis=0, weights=pieces.energy_mev)
    half_px = config.volume_pixels / 2.0
    np.testing.assert_allclose(found, expected * 10.0 / config.pixel_mm + half_px, rtol=1e-10)


def test_a_long_step_is_spread_evenly_and_short_ones_merge(config):
    long_step = gather_pieces(deposits([0.0, 0.05, 0.05], [3.0, 0.05, 0.05], 6.0), config)
    np.testing.assert_allclose(long_step.energy_mev, 0.2)
    assert long_step.energy_mev.size == 30
    start = np.stack([np.linspace(0.011, 0.089, 40)] * 3, axis=1)
    short_steps = gather_pieces(deposits(start, start + 1e-4, np.full(40, 0.1)), config)
    np.testing.assert_allclose(short_steps.energy_mev, [4.0])


def test_shares_sum_to_one_and_reproduce_the_gaussian_width(config):
    rng = np.random.default_rng(3)
    start = np.concatenate([np.full((4000, 1), 100.0), rng.uniform(0, 40, (4000, 2))], axis=1)
    charge = diffuse(gather_pieces(deposits(start, start, np.ones(4000)), config), config)
    np.testing.assert_allclose(charge.share.sum(axis=-1), 1.0, rtol=1e-12)
    pixel = charge.first_px[..., None] + np.arange(charge.share.shape[2]) + 0.5
    mean = (charge.share * pixel).sum(axis=-1)
    variance = (charge.share * (pixel - mean[..., None]) ** 2).sum(axis=-1).mean(axis=0)
    drift_px = np.array([(100.0 + 115.2) / 0.3])
    expected = sigma_px(drift_px, config)[0] ** 2
    # A pixel adds 1/12 when points are spread evenly; the mean of its variance holds part of it.
    np.testing.assert_allclose(variance[1:], expected[1:], rtol=0.25)


def test_widths_grow_as_the_square_root_of_the_drift_and_match_the_constants(config):
    near, far = sigma_px(np.array([100.0, 400.0]), config)
    np.testing.assert_allclose(far, 2.0 * near)
    # 768 pixels of 3 mm at 1.6 mm/us take 1.44 ms; sqrt(2 x 13 cm2/s x 1.44 ms) = 1.93 mm.
    whole = sigma_px(np.array([768.0]), config)[0] * config.pixel_mm
    np.testing.assert_allclose(whole, [1.379, 1.935, 1.935], rtol=1e-3)


def test_without_diffusion_charge_stays_in_its_pixel(config):
    config.diffusion_scale = 0.0
    pieces = gather_pieces(deposits([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0), config)
    charge = diffuse(pieces, config)
    assert charge.share.shape == (1, 3, 1) and np.all(charge.share == 1.0)
    assert charge.first_px.tolist() == [np.floor(np.array([1, 2, 3]) / 0.3 + 384).tolist()]


def test_charge_at_the_anode_does_not_diffuse(config):
    pieces = gather_pieces(deposits([-115.2, 0.1, 0.1], [-115.2, 0.1, 0.1], 1.0), config)
    share = diffuse(pieces, config).share
    assert np.all(np.isfinite(share)) and np.all(share[0, 1:].max(axis=-1) == 1.0)
    assert share[0, 0].max() == pytest.approx(0.5)  # it sits on the border of two pixels


def test_events_are_split_without_loss(random_deposits, config):
    charge = diffuse(gather_pieces(random_deposits, config), config)
    parts = charge.of_events(6)
    assert [p.energy_mev.size for p in parts] == np.bincount(charge.event, minlength=6).tolist()
    assert np.concatenate([p.energy_mev for p in parts]).tolist() == charge.energy_mev.tolist()


def test_the_centre_is_the_pixel_of_the_charge_centroid(config):
    ends = [[0.0, 0.0, 0.0], [0.0, 9.0, 30.0]]
    charge = diffuse(gather_pieces(deposits(ends, ends, [1.0, 2.0]), config), config)
    np.testing.assert_allclose(charge.centre_px(), [384, 384 + 20, 384 + 66], atol=1)


@pytest.mark.parametrize("lifetime_ms", [0.5, 3.0])
def test_charge_falls_exponentially_with_the_drift_time(config, lifetime_ms):
    config.electron_lifetime_ms = lifetime_ms
    # 768 pixels of 3 mm at 1.6 mm/us take 1.44 ms.
    found = arriving_share(np.array([0.0, 384.0, 768.0]), config)
    np.testing.assert_allclose(found, np.exp(-np.array([0.0, 0.72, 1.44]) / lifetime_ms))


@pytest.mark.parametrize("lifetime_ms", [0.0, np.inf])
def test_no_charge_is_lost_without_a_lifetime(config, lifetime_ms):
    config.electron_lifetime_ms = lifetime_ms
    assert np.all(arriving_share(np.array([0.0, 768.0]), config) == 1.0)


def test_a_lifetime_takes_charge_but_not_energy(random_deposits, config):
    pieces = gather_pieces(random_deposits, config)
    config.electron_lifetime_ms = 1.0
    charge = diffuse(pieces, config)
    share = arriving_share(pieces.position_px[:, 0], config)
    np.testing.assert_allclose(charge.charge_mev, pieces.charge_mev * share)
    np.testing.assert_allclose(charge.class_mev.sum(axis=1), charge.charge_mev)
    assert np.array_equal(charge.energy_mev, pieces.energy_mev)
