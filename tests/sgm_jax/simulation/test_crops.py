import numpy as np
import pytest

from sgm_jax.simulation.crops import View, charge_centre, cut, quantise, render
from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.truth import PixelClass


def charge_at(pixels, energy_mev, pixel_class=PixelClass.TRACK):
    pixels = np.array(pixels).reshape(-1, 3)
    count = len(pixels)
    return Charge(
        event=np.zeros(count, np.int64),
        pixel_class=np.broadcast_to(np.array(pixel_class), count),
        energy_mev=np.broadcast_to(np.array(energy_mev, float), count),
        first_px=pixels,
        share=np.ones((count, 3, 1)),
    )


def line(count, row=384, start=384):
    return np.array([[row, row, start + k] for k in range(count)])


def view_of(mev, size=256):
    row, column = np.nonzero(mev)
    track = mev[row, column]
    return View(size, row, column, np.zeros_like(track), track)


CENTRE = np.array([384, 384, 384])


@pytest.mark.parametrize(("projection", "place"), [(0, (20, 30)), (1, (10, 30)), (2, (10, 20))])
def test_a_projection_drops_the_axis_it_looks_along(projection, place):
    charge = charge_at([[10, 20, 30]], 2.0)
    view = render(charge, projection, origin_px=(0, 0), size=64, threshold_mev=0.0)
    assert (view.row.tolist(), view.column.tolist()) == ([place[0]], [place[1]])
    assert view.track_mev.tolist() == [2.0] and view.shower_mev.tolist() == [0.0]


def test_charge_inside_the_view_is_kept_and_outside_is_dropped():
    rng = np.random.default_rng(4)
    pixels = rng.integers(-20, 84, (5000, 3))
    share = rng.random((5000, 3, 5))
    share /= share.sum(axis=-1, keepdims=True)
    charge = Charge(np.zeros(5000), np.full(5000, 1), rng.random(5000), pixels, share)
    view = render(charge, 0, origin_px=(0, 0), size=64, threshold_mev=0.0)
    dense = np.zeros((64, 64))
    for p, s, e in zip(pixels, share, charge.energy_mev, strict=True):
        for i in range(5):
            for j in range(5):
                if 0 <= p[1] + i < 64 and 0 <= p[2] + j < 64:
                    dense[p[1] + i, p[2] + j] += e * s[1, i] * s[2, j]
    found = np.zeros((64, 64))
    found[view.row, view.column] = view.total_mev
    np.testing.assert_allclose(found, dense, rtol=1e-10, atol=1e-14)


def test_pixels_at_or_below_threshold_stay_dark():
    charge = charge_at([[0, 1, 1], [0, 2, 2], [0, 3, 3]], [0.04, 0.05, 0.06])
    view = render(charge, 0, origin_px=(0, 0), size=64, threshold_mev=0.05)
    assert view.row.tolist() == [3]


def test_a_view_without_charge_is_empty(config):
    charge = charge_at([[500, 500, 500]], 1.0)
    view = render(charge, 0, origin_px=(0, 0), size=64, threshold_mev=0.0)
    assert view.row.size == 0
    counts, _ = quantise(view, config)
    assert counts.size == 0 and charge_centre(view, counts) is None


def test_per_image_scaling_makes_the_brightest_pixel_of_the_view_255(config):
    mev = np.zeros((256, 256))
    mev[10, 10], mev[20, 20], mev[30, 30] = 4.0, 2.0, 0.001
    counts, scale = quantise(view_of(mev), config)
    assert counts.tolist() == [255, 128, 0] and scale == 255.0 / 4.0


def test_per_image_scaling_subtracts_the_darkest_pixel_of_a_full_view(config):
    mev = np.linspace(1.0, 2.0, 16).reshape(4, 4)
    counts, scale = quantise(view_of(mev, size=4), config)
    assert (counts.min(), counts.max(), scale) == (0, 255, 255.0)


def test_absolute_scaling_has_one_scale_and_clips(config):
    config.scaling, config.counts_per_mev = "absolute", 100.0
    mev = np.zeros((256, 256))
    mev[10, 10], mev[20, 20], mev[30, 30] = 0.5, 1.234, 4.0
    counts, scale = quantise(view_of(mev), config)
    assert counts.tolist() == [50, 123, 255] and scale == 100.0


def test_the_crop_is_centred_on_the_truncated_charge_centre(config):
    crop = cut(charge_at(line(60), 1.0), 0, CENTRE, config)
    # Columns 128 .. 187 of the view have their mean at 157.5, truncated to 157.
    assert crop.origin_px == (128 - 32, 157 - 32)
    assert crop.view_origin_px == (256, 256)
    assert np.nonzero(crop.image)[1].tolist() == list(range(3, 63))
    assert set(np.nonzero(crop.image)[0].tolist()) == {32}


@pytest.mark.parametrize(("pixels", "accepted"), [(40, False), (41, True)])
def test_a_crop_needs_one_per_cent_of_its_pixels_lit(config, pixels, accepted):
    crop = cut(charge_at(line(pixels), 1.0), 0, CENTRE, config)
    assert (crop is not None) is accepted


@pytest.mark.parametrize(
    ("centre", "accepted"), [(32, False), (33, True), (223, True), (224, False)]
)
@pytest.mark.parametrize("axis", [1, 2])
def test_a_crop_needs_its_centre_more_than_half_a_crop_from_every_side(
    config, centre, accepted, axis
):
    pixels = np.array([[384, 384 + a, 384 + b] for a in range(-3, 4) for b in range(-3, 4)])
    pixels[:, axis] += centre - 128
    crop = cut(charge_at(pixels, 1.0), 0, CENTRE, config)
    assert (crop is not None) is accepted


def test_the_larger_contribution_decides_the_label_and_only_lit_pixels_have_one(config):
    places = np.repeat(line(60), 2, axis=0)
    kinds = np.tile([PixelClass.SHOWER, PixelClass.TRACK], 60)
    energy = np.where(np.arange(120) < 60, np.tile([2.0, 1.0], 60), np.tile([1.0, 2.0], 60))
    crop = cut(charge_at(places, energy, kinds), 0, CENTRE, config)
    assert np.array_equal(crop.label > 0, crop.image > 0)
    assert crop.label[crop.label > 0].tolist() == [PixelClass.SHOWER] * 30 + [PixelClass.TRACK] * 30
    assert crop.crop_mev == pytest.approx(180.0)


def test_faint_pixels_that_round_to_zero_are_neither_lit_nor_labelled(config):
    pixels = np.concatenate([line(50), line(50, row=390)])
    energy = np.repeat([200.0, 0.3], 50)
    crop = cut(charge_at(pixels, energy), 0, CENTRE, config)
    assert (crop.image > 0).sum() == (crop.label > 0).sum() == 50
