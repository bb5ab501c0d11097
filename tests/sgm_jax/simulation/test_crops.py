from dataclasses import replace

import numpy as np
import pytest

from sgm_jax.simulation.crops import charge_centre, cut, quantise
from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.readout import View, render
from sgm_jax.simulation.truth import PixelClass

RNG = np.random.default_rng(0)


def charge_at(pixels, energy_mev, pixel_class=PixelClass.TRACK):
    pixels = np.array(pixels).reshape(-1, 3)
    count = len(pixels)
    energy = np.broadcast_to(np.array(energy_mev, float), count)
    kind = np.broadcast_to(np.array(pixel_class), count)
    return Charge(
        event=np.zeros(count, np.int64),
        is_track=kind == PixelClass.TRACK,
        energy_mev=energy,
        charge_mev=energy,
        class_mev=energy[:, None] * (kind[:, None] == np.arange(len(PixelClass))),
        first_px=pixels,
        share=np.ones((count, 3, 1)),
    )


def line(count, row=384, start=384):
    return np.array([[row, row, start + k] for k in range(count)])


def view_of(mev, size=256):
    row, column = np.nonzero(mev)
    lit = mev[row, column]
    class_mev = lit[:, None] * (np.arange(len(PixelClass)) == PixelClass.TRACK)
    return View(size, row, column, lit, lit, class_mev)


CENTRE = np.array([384, 384, 384])


@pytest.mark.parametrize(("projection", "place"), [(0, (20, 30)), (1, (10, 30)), (2, (10, 20))])
def test_a_projection_drops_the_axis_it_looks_along(projection, place):
    charge = charge_at([[10, 20, 30]], 2.0)
    view = render(charge, projection, origin_px=(0, 0), size=64, threshold_mev=0.0)
    assert (view.row.tolist(), view.column.tolist()) == ([place[0]], [place[1]])
    assert view.class_mev.tolist() == [[0.0, 0.0, 2.0, 0.0, 0.0]]


def test_charge_inside_the_view_is_kept_and_outside_is_dropped():
    rng = np.random.default_rng(4)
    pixels = rng.integers(-20, 84, (5000, 3))
    share = rng.random((5000, 3, 5))
    share /= share.sum(axis=-1, keepdims=True)
    charge = replace(charge_at(pixels, rng.random(5000), rng.integers(1, 5, 5000)), share=share)
    view = render(charge, 0, origin_px=(0, 0), size=64, threshold_mev=0.0)
    dense = np.zeros((64, 64, len(PixelClass)))
    for p, s, e in zip(pixels, share, charge.class_mev, strict=True):
        for i in range(5):
            for j in range(5):
                if 0 <= p[1] + i < 64 and 0 <= p[2] + j < 64:
                    dense[p[1] + i, p[2] + j] += e * s[1, i] * s[2, j]
    found = np.zeros_like(dense)
    found[view.row, view.column] = view.class_mev
    np.testing.assert_allclose(found, dense, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(view.total_mev, view.class_mev.sum(axis=1))
    assert np.array_equal(view.energy_mev, view.total_mev)


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
    crop = cut(charge_at(line(60), 1.0), 0, CENTRE, config, rng=RNG)
    # Columns 128 .. 187 of the view have their mean at 157.5, truncated to 157.
    assert crop.origin_px == (128 - 32, 157 - 32)
    assert crop.view_origin_px == (256, 256)
    assert np.nonzero(crop.image)[1].tolist() == list(range(3, 63))
    assert set(np.nonzero(crop.image)[0].tolist()) == {32}


@pytest.mark.parametrize(("pixels", "accepted"), [(40, False), (41, True)])
def test_a_crop_needs_one_per_cent_of_its_pixels_lit(config, pixels, accepted):
    crop = cut(charge_at(line(pixels), 1.0), 0, CENTRE, config, rng=RNG)
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
    crop = cut(charge_at(pixels, 1.0), 0, CENTRE, config, rng=RNG)
    assert (crop is not None) is accepted


def test_the_largest_contribution_decides_the_label_and_only_lit_pixels_have_one(config):
    kinds = list(PixelClass)[1:]
    places = np.repeat(line(60), 4, axis=0)
    winner = np.repeat(np.arange(60) % 4, 4)
    energy = np.where(np.tile(np.arange(4), 60) == winner, 2.0, 1.0)
    charge = charge_at(places, energy, np.tile(kinds, 60))
    crop = cut(charge, 0, CENTRE, config, rng=RNG)
    assert np.array_equal(crop.label > 0, crop.image > 0)
    assert crop.label[crop.label > 0].tolist() == kinds * 15
    assert crop.crop_mev == pytest.approx(300.0)


def test_faint_pixels_that_round_to_zero_are_neither_lit_nor_labelled(config):
    pixels = np.concatenate([line(50), line(50, row=390)])
    energy = np.repeat([200.0, 0.3], 50)
    crop = cut(charge_at(pixels, energy), 0, CENTRE, config, rng=RNG)
    assert (crop.image > 0).sum() == (crop.label > 0).sum() == 50


def test_the_energy_of_a_crop_is_what_was_deposited_though_less_charge_arrived(config):
    whole = charge_at(line(60), 2.0)
    lossy = replace(whole, charge_mev=whole.charge_mev / 2, class_mev=whole.class_mev / 2)
    config.write_mev = True
    crop = cut(lossy, 0, CENTRE, config, rng=RNG)
    assert crop.crop_mev == pytest.approx(120.0) and crop.image_mev.sum() == pytest.approx(60.0)


@pytest.mark.parametrize("shift", [0, 60, -90])
def test_a_crop_at_the_start_has_the_vertex_in_its_middle_wherever_the_charge_is(config, shift):
    config.crop, config.min_lit_fraction = "start", 1e-4
    charge = charge_at([[384, 384, 384], [384, 384 + 5, 384 + shift]], [1.0, 9.0])
    crop = cut(charge, 0, CENTRE, config, rng=RNG)
    assert np.add(crop.view_origin_px, crop.origin_px).tolist() == [384 - 32, 384 - 32]
    assert crop.image[32, 32] == 28 and (crop.image > 0).sum() == (2 if shift == 0 else 1)


def test_clipped_pixels_are_those_of_the_crop_that_one_scale_for_all_cuts(config):
    config.crop, config.min_lit_fraction, config.counts_per_mev = "start", 1e-4, 100.0
    # The third rounds to 255, and the last lies outside of the crop.
    pixels = [[384, 384, 384 + column] for column in (0, 1, 2, 90)]
    charge = charge_at(pixels, [1.0, 2.556, 2.553, 9.0])
    assert cut(charge, 0, CENTRE, config, rng=RNG).clipped == 0
    config.scaling = "absolute"
    crop = cut(charge, 0, CENTRE, config, rng=RNG)
    assert crop.image[32, 32:35].tolist() == [100, 255, 255] and crop.clipped == 1


def test_noise_has_zero_mean_and_the_asked_rms_before_the_threshold():
    charge = charge_at([[0, 5, 7]], 3.0)
    noise = np.random.default_rng(1).normal(0.0, 0.2, (256, 256))
    options = {"origin_px": (0, 0), "size": 256, "threshold_mev": -10.0}
    view = render(charge, 0, **options, noise_mev=noise)
    read = np.zeros((256, 256))
    read[view.row, view.column] = view.total_mev
    assert view.row.size == 256**2 and read[5, 7] == pytest.approx(3.0 + noise[5, 7])
    read[5, 7] -= 3.0
    assert abs(read.mean()) < 4 * 0.2 / 256 and read.std() == pytest.approx(0.2, rel=0.01)
    assert view.energy_mev.sum() == view.class_mev.sum() == 3.0


@pytest.mark.parametrize("place", [(-3, -3), (0, 0), (62, 62), (300, 5)])
def test_noise_is_added_to_charge_on_the_border_of_the_view_too(place):
    share = np.full((1, 3, 4), 0.25)
    charge = replace(charge_at([[0, *place]], 16.0), share=share)
    options = {"origin_px": (0, 0), "size": 64, "threshold_mev": 0.5}
    silent = render(charge, 0, **options)
    noisy = render(charge, 0, **options, noise_mev=np.zeros((64, 64)))
    for field in ("row", "column", "total_mev", "energy_mev", "class_mev"):
        assert np.array_equal(getattr(silent, field), getattr(noisy, field))


def test_pixels_that_noise_alone_has_lit_are_background(config):
    config.noise_mev, config.scaling, config.counts_per_mev = 0.03, "absolute", 50.0
    crop = cut(charge_at(line(60, start=354), 5.0), 0, CENTRE, config, rng=np.random.default_rng(2))
    assert (crop.label > 0).sum() == 60 and (crop.image > 0).sum() > 150
    assert np.all(crop.image[crop.label > 0] > 150)


def test_a_random_crop_contains_a_lit_pixel_anywhere_and_stays_in_the_view(config):
    config.crop, config.min_lit_fraction = "random_lit_pixel", 1e-4
    rng = np.random.default_rng(3)
    charge = charge_at([[384, 384 + 20, 384 - 30]], 1.0)
    places = []
    for _ in range(300):
        crop = cut(charge, 0, CENTRE, config, rng=rng)
        places.append(np.argwhere(crop.image)[0])
        assert np.add(crop.origin_px, places[-1]).tolist() == [128 + 20, 128 - 30]
    # Uniform on 0 .. 63: mean 31.5, standard deviation 18.5.
    assert np.ptp(places, axis=0).min() > 55
    np.testing.assert_allclose(np.mean(places, axis=0), 31.5, atol=4 * 18.5 / np.sqrt(300))


def test_every_lit_pixel_is_chosen_equally_often_for_random_crops(config):
    config.crop, config.min_lit_fraction = "random_lit_pixel", 1e-4
    rng = np.random.default_rng(4)
    far_apart = [[384, 384 - 100, 384], [384, 384 + 100, 384]]
    charge = charge_at(far_apart, [1.0, 100.0])
    first = sum(cut(charge, 0, CENTRE, config, rng=rng).origin_px[0] < 128 for _ in range(400))
    assert 160 < first < 240


def test_a_random_crop_at_the_corner_of_the_view_is_pushed_inside(config):
    config.crop, config.min_lit_fraction = "random_lit_pixel", 1e-4
    charge = charge_at([[384, 256, 511]], 1.0)
    crop = cut(charge, 0, CENTRE, config, rng=RNG)
    assert crop.origin_px == (0, 192) and np.argwhere(crop.image).tolist() == [[0, 63]]


def test_a_view_without_charge_has_no_random_crop(config):
    config.crop = "random_lit_pixel"
    assert cut(charge_at([[384, 9, 9]], 1.0), 0, CENTRE, config, rng=RNG) is None
