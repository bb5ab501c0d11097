"""One normalisation: exact round trips and the paper's post-processing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sgm_jax.data import data_std, from_array, from_model, to_model, to_uint8

LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(("centered", "low"), [(False, 0), (True, -1)])
def test_0_and_255_map_to_the_ends_of_the_model_range(centered, low):
    ends = to_model(np.array([0, 255], np.uint8), centered=centered)
    np.testing.assert_array_equal(ends, np.array([low, 1], np.float32))
    assert ends.dtype == np.float32


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_every_level_survives_the_round_trip(centered, kind):
    back = from_model(to_model(kind(LEVELS), centered=centered), centered=centered)
    assert back.dtype == np.float32
    np.testing.assert_allclose(np.asarray(back), LEVELS, atol=3e-5)


@pytest.mark.parametrize("centered", [False, True])
def test_every_level_above_the_threshold_survives_truncation(centered):
    def round_trip(x):
        return from_model(to_model(x, centered=centered), centered=centered)

    expected = np.where(LEVELS > 4, LEVELS, 0)
    for function in (round_trip, jax.jit(round_trip)):
        levels = np.asarray(function(jnp.asarray(LEVELS))).reshape(256, 1, 1, 1)
        np.testing.assert_array_equal(to_uint8(levels).ravel(), expected)
        np.testing.assert_array_equal(to_uint8(levels, threshold=0).ravel(), LEVELS)


def test_from_model_does_not_clip():
    outside = from_model(np.array([-1.2, 1.2]), centered=True)
    np.testing.assert_allclose(outside, [-25.5, 280.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-20, 0), (4.9, 0), (4.99995, 5), (5, 5), (5.999, 5), (254.9, 254), (255, 255), (300, 255)],
)
def test_values_are_clipped_truncated_and_cut_below_5(value, expected):
    image = np.full((1, 2, 2, 1), value, np.float32)
    np.testing.assert_array_equal(to_uint8(image), expected)


@pytest.mark.parametrize("threshold", [0, 4, 30])
def test_colour_becomes_grey_as_pillow_does_after_the_threshold(threshold):
    colour = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    cut = np.where(colour > threshold, colour, 0).astype(np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in cut])
    grey = to_uint8(colour, threshold)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, expected[..., None])


def test_the_threshold_is_applied_before_the_conversion_to_grey():
    assert to_uint8(np.array([5, 4, 4], np.uint8).reshape(1, 1, 1, 3)).item() == 1


def test_equal_channels_give_their_common_value():
    grey = LEVELS.reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_uint8(np.repeat(grey, 3, -1)), to_uint8(grey))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_diverged_images_are_refused(bad):
    images = np.zeros((4, 2, 2, 1))
    images[2:, 0, 0] = bad
    with pytest.raises(ValueError, match=r"2 of 4 images hold NaN or infinity.*image 2"):
        to_uint8(images)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 8, 8), (4, 8, 8, 2)])
def test_images_without_a_last_channel_axis_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[N, H, W, 1\]"):
        to_uint8(np.zeros(shape))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_data_std_is_the_pixel_standard_deviation_in_model_space(centered, channels):
    array = np.random.default_rng(0).integers(0, 256, (1100, 4, 4), np.uint8)
    images = from_array(array, num_channels=channels, image_size=4)
    expected = to_model(array, centered=centered).astype(np.float64).std()
    np.testing.assert_allclose(data_std(images, centered=centered), expected, rtol=1e-6)


def test_data_std_of_a_subset_uses_evenly_spaced_images():
    array = np.zeros((101, 4, 4), np.uint8)
    array[50] = 255
    images = from_array(array, num_channels=1, image_size=4)
    np.testing.assert_allclose(
        data_std(images, centered=False, max_images=3), np.sqrt(2) / 3, rtol=1e-6
    )


def test_data_without_any_contrast_is_refused():
    images = from_array(np.full((9, 4, 4), 77, np.uint8), num_channels=1, image_size=4)
    with pytest.raises(ValueError, match="all pixels of 9 images are equal"):
        data_std(images, centered=True)
