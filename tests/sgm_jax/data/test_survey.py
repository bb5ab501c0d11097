"""What is doubtful in a set of images is counted, and named with the way out."""

import h5py
import numpy as np
import pytest

from sgm_jax.data import from_array, open_images, survey
from sgm_jax.data.survey import survey as look


def tracks(count=40, size=32, seed=0):
    """Return faint and bright sparse images, 3 % lit with charges 100 to 600, float32."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, size * size), np.float32)
    lit = round(0.03 * size * size)
    for image in images:
        image[rng.permutation(size * size)[:lit]] = rng.uniform(100, 600, lit)
    return images.reshape(count, size, size)


def found(array, scaling="per_image", **options):
    options = {"num_channels": 1, "image_size": None, "scaling": scaling, **options}
    return look(from_array(array, **options))


@pytest.mark.parametrize("scaling", ["per_image", "quantile", "fixed:600"])
def test_good_images_give_no_warning(scaling):
    good = found(tracks(), scaling)
    assert good.warnings == ()
    assert (good.images, good.surveyed) == (40, 40)
    assert not any((good.empty, good.constant, good.duplicates, good.background, good.one_pixel))
    assert (good.excess, good.faint, good.negative) == (0, 0, 0)


def test_a_set_that_was_written_in_part_is_mostly_empty(tmp_path):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        images = file.create_dataset("images", (400, 32, 32), "f4")
        images[:40] = tracks()
    seen = look(
        open_images(tmp_path / "set.h5", num_channels=1, image_size=32, scaling="per_image")
    )
    assert (seen.images, seen.empty, seen.duplicates) == (400, 360, 0)
    (warning,) = seen.warnings
    assert "360 of 400 images" in warning and "images[images.any(axis=(1, 2))]" in warning


def test_copies_and_constant_images_are_counted_apart_from_empty_ones():
    images = np.concatenate([tracks(), tracks(10), np.zeros((4, 32, 32)), np.full((3, 32, 32), 7)])
    seen = found(images.astype(np.float32), "fixed:600")
    # Two of three equal constant images are copies, too.
    assert (seen.empty, seen.constant, seen.duplicates) == (4, 3, 12)
    joined = " ".join(seen.warnings)
    assert "4 of 57" in joined and "3 of 57" in joined and "12 of 57" in joined


def test_copies_are_found_wherever_they_are(monkeypatch):
    monkeypatch.setattr(survey, "_BLOCK_BYTES", 1)
    assert found(np.concatenate([tracks(), tracks()[::-1]])).duplicates == 40


@pytest.mark.parametrize("scaling", ["none", "per_image", "quantile", "fixed:255"])
def test_counts_that_saturate_are_told(scaling):
    charge = tracks(seed=4)
    counts = np.minimum(charge * (255 / 265), 255).astype(np.uint8)
    expected = (charge[charge > 0] >= 265).mean()
    assert 0.65 < expected < 0.69
    seen = found(counts, scaling)
    assert seen.saturated == pytest.approx(expected)
    (warning,) = seen.warnings
    assert f"{expected:.0%} of the lit pixels" in warning


def test_a_fixed_scale_that_is_too_short_says_which_is_long_enough():
    seen = found(tracks(), "fixed:265")
    (warning,) = seen.warnings
    scaling = warning.split("--config.data.scaling=")[1].split(" ")[0]
    assert 590 < float(scaling.removeprefix("fixed:")) <= 600
    assert found(tracks(), scaling).warnings == ()


def test_a_fixed_scale_that_is_too_long_leaves_faint_pixels():
    seen = found(tracks(), "fixed:100000")
    assert seen.faint == 1
    (warning,) = seen.warnings
    scaling = warning.split("--config.data.scaling=")[1].split(" ")[0]
    assert found(tracks(), scaling).warnings == ()


def test_absolute_charges_without_a_scaling_are_named():
    (warning,) = found(tracks() / 300, "none").warnings
    assert "100% of the lit pixels" in warning and "--config.data.scaling=per_image" in warning


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize("scaling", ["per_image", "quantile", "fixed:1000"])
def test_the_fix_for_a_pedestal_removes_it(scaling, dtype):
    charge = tracks()
    rng = np.random.default_rng(1)
    images = (charge + 50 + 3 * rng.standard_normal(charge.shape)).astype(dtype)
    seen = found(images, scaling)
    assert seen.background == 40
    assert seen.pedestal == pytest.approx(50, abs=0.6)
    assert seen.noise == pytest.approx(3, abs=0.3)
    (warning,) = [text for text in seen.warnings if "background" in text]
    assert "40 of 40 images" in warning
    # What is typed has to do what it says.
    space = {"images": images}
    exec(warning.split("cut the noise: ")[1], space)
    cleaned = found(space["images"], scaling)
    assert cleaned.background == 0
    assert not [text for text in cleaned.warnings if "background" in text]
    lit = space["images"] > 0
    assert (lit & (charge > 0)).sum() == (charge > 0).sum()
    assert (lit & (charge == 0)).sum() < 0.001 * lit.size


def test_noise_around_zero_is_a_background():
    charge = tracks()
    noisy = charge + 3 * np.random.default_rng(1).standard_normal(charge.shape)
    seen = found(noisy)
    assert seen.background == 40
    assert abs(seen.pedestal) < 0.3


def test_negative_charge_is_told():
    charge = tracks()
    seen = found(charge - 0.8 * np.roll(charge, 2, axis=1), "per_image")
    # Where a pulse meets the mirror image of another they cancel in part.
    assert seen.negative == pytest.approx(0.8 / 1.8, abs=0.02)
    assert seen.background == 0
    (warning,) = seen.warnings
    assert f"{seen.negative:.0%} of the charge" in warning


def test_one_hot_pixel_in_each_image_is_told_with_the_scaling_that_bears_it():
    images = tracks()
    images[:, 5, 5] = 20 * images.max()
    seen = found(images)
    assert seen.one_pixel == 40
    warning = next(text for text in seen.warnings if "one pixel" in text)
    assert "40 of 40 images" in warning and "--config.data.scaling=quantile" in warning
    assert found(images, "quantile").warnings == ()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_hot_pixel_in_three_equal_channels_is_one_pixel(channels):
    images = tracks()
    images[:7, 5, 5] = 20 * images.max()
    assert found(np.stack([images] * 3, axis=-1), num_channels=channels).one_pixel == 7


def test_planes_that_differ_are_counted_and_equal_ones_are_told():
    planes = np.stack([tracks(seed=k) for k in range(3)], axis=1)
    seen = found(planes, num_channels=3, planes=True)
    assert (seen.unequal_channels, seen.warnings) == (40, ())
    same = found(planes[:, [0, 0, 0]], num_channels=3, planes=True)
    assert same.unequal_channels == 0
    (warning,) = same.warnings
    assert "--config.data.planes=False" in warning


def test_large_sets_are_judged_by_evenly_spaced_images(monkeypatch):
    monkeypatch.setattr(survey, "MOST_PIXELS", 10 * 32 * 32)
    images = tracks()
    images[::2] = 0
    seen = found(images)
    assert (seen.images, seen.surveyed) == (40, 10)
    assert seen.empty == sum(row % 2 == 0 for row in np.linspace(0, 39, 10).round())


def test_an_all_empty_set_is_only_empty():
    seen = found(np.zeros((30, 8, 8), np.uint8), "none")
    assert seen.empty == 30
    assert len(seen.warnings) == 1
