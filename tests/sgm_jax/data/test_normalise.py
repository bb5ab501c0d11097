"""One normalisation: exact round trips and the paper's post-processing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sgm_jax.data import PixelScale, data_std, from_array, to_uint8
from sgm_jax.data.normalise import TRANSFORMS

LEVELS = np.arange(256, dtype=np.uint8)


SCALES = [PixelScale(centered, name) for centered in (False, True) for name in TRANSFORMS]
GAPS = [
    PixelScale(False, "log", 0.2),
    PixelScale(False, "sqrt", 0.01),
    PixelScale(True, saturation=1.0),
]
SCALES += GAPS
every_scale = pytest.mark.parametrize("scale", SCALES, ids=str)


@every_scale
def test_0_and_255_map_to_the_ends_of_the_model_range(scale):
    ends = scale.to_model(np.array([0, 255], np.uint8))
    top = 1 + scale.saturation
    want = [-1, 2 * top - 1] if scale.centered else [0, top]
    np.testing.assert_allclose(ends, want, atol=2e-7)
    assert ends.dtype == np.float32


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_background_of_the_uncentred_scale_is_exactly_0(name):
    assert PixelScale(False, name).to_model(np.uint8([0])) == 0


@every_scale
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_every_level_survives_the_round_trip(scale, kind):
    back = scale.from_model(scale.to_model(kind(LEVELS)))
    assert back.dtype == np.float32
    np.testing.assert_allclose(np.asarray(back), LEVELS, atol=2e-4)


@every_scale
def test_every_level_above_the_threshold_survives_truncation(scale):
    def round_trip(x):
        return scale.from_model(scale.to_model(x))

    expected = np.where(LEVELS > 4, LEVELS, 0)
    for function in (round_trip, jax.jit(round_trip)):
        levels = np.asarray(function(jnp.asarray(LEVELS))).reshape(256, 1, 1, 1)
        np.testing.assert_array_equal(to_uint8(levels).ravel(), expected)
        np.testing.assert_array_equal(to_uint8(levels, threshold=0).ravel(), LEVELS)


def test_transforms_are_those_that_they_are_called():
    charge = np.float64([0.0, 0.02, 0.5, 1.0])
    want = {
        "linear": charge,
        "sqrt": np.sqrt(charge),
        "log": np.log(1 + 50 * charge) / np.log(51),
        "asinh": np.arcsinh(50 * charge) / np.arcsinh(50),
    }
    assert want.keys() == TRANSFORMS.keys()
    for name, values in want.items():
        np.testing.assert_allclose(
            PixelScale(False, name).to_model(255 * charge), values, rtol=1e-6
        )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_lies_below_0_goes_on_as_an_odd_function(name):
    scale, x = PixelScale(False, name), np.float32([0.1, 0.7, 1.2])
    np.testing.assert_array_equal(scale.from_model(-x), -scale.from_model(x))
    np.testing.assert_allclose(scale.to_model(scale.from_model(-x)), -x, rtol=1e-5)


@every_scale
def test_the_slope_is_that_of_the_map(scale):
    charge = jnp.linspace(1.0, 255.0, 20)
    slope = jax.vmap(jax.grad(scale.to_model))(charge)
    np.testing.assert_allclose(scale.log_slope(charge), jnp.log(slope), rtol=1e-4)
    assert np.isfinite(scale.log_slope(jnp.zeros(1))).all()


@pytest.mark.parametrize("scale", GAPS, ids=str)
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_only_what_is_drawn_above_the_middle_of_the_gap_is_saturated(scale, kind):
    low, high = (float(scale.to_model(np.float32(level))) for level in (254.9, 255))
    width = 2 * scale.saturation if scale.centered else scale.saturation
    assert high - low > 0.99 * width
    share = np.float32([0.1, 0.49, 0.51, 0.9, 1.5])
    drawn = kind((low + share * (high - low)).reshape(-1, 1, 1, 1))
    np.testing.assert_array_equal(
        to_uint8(scale.from_model(drawn)).ravel(), [254, 254, 255, 255, 255]
    )


@pytest.mark.parametrize("scale", GAPS, ids=str)
def test_noise_within_the_saturated_level_survives_the_round_trip(scale):
    filled = np.float32([254.99, 255.0, 255.25, 255.9])
    np.testing.assert_allclose(scale.from_model(scale.to_model(filled)), filled, atol=1e-3)


def test_from_model_does_not_clip():
    outside = PixelScale(True).from_model(np.array([-1.2, 1.2]))
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


def test_planes_stay_apart_after_the_threshold():
    colour = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(to_uint8(colour, planes=True), np.where(colour > 4, colour, 0))


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


@every_scale
@pytest.mark.parametrize("channels", [1, 3])
def test_data_std_is_the_pixel_standard_deviation_in_model_space(scale, channels):
    array = np.random.default_rng(0).integers(0, 256, (1100, 4, 4), np.uint8)
    images = from_array(array, num_channels=channels, image_size=4)
    expected = scale.to_model(array).astype(np.float64).std()
    np.testing.assert_allclose(data_std(images, scale), expected, rtol=1e-6)


def test_data_std_of_a_subset_uses_evenly_spaced_images():
    array = np.zeros((101, 4, 4), np.uint8)
    array[50] = 255
    images = from_array(array, num_channels=1, image_size=4)
    np.testing.assert_allclose(
        data_std(images, PixelScale(False), max_images=3), np.sqrt(2) / 3, rtol=1e-6
    )


def test_data_without_any_contrast_is_refused():
    images = from_array(np.full((9, 4, 4), 77, np.uint8), num_channels=1, image_size=4)
    with pytest.raises(ValueError, match="all pixels of 9 images are equal"):
        data_std(images, PixelScale(True))
