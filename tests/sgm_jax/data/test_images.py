"""Checks of arrays at the door: layout, channels, planes, values and fingerprint."""

import numpy as np
import pytest

from sgm_jax.data import checks, from_array
from sgm_jax.data.images import evenly_spaced

GREY = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)


def wrap(array, **changes):
    return from_array(array, **{"num_channels": 1, "image_size": 8, **changes})


def everything(images):
    return images[np.arange(len(images))]


@pytest.mark.parametrize(
    "array", [GREY, GREY[..., None], GREY[:, None]], ids=["NHW", "NHWC", "NCHW"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_layouts_agree_and_are_repeated_into_channels(array, channels):
    images = wrap(array, num_channels=channels)
    assert images.shape == (12, 8, 8, channels)
    np.testing.assert_array_equal(everything(images), np.stack([GREY] * channels, axis=-1))


def test_channels_first_colour_is_transposed():
    images = wrap(np.moveaxis(COLOUR, -1, 1), num_channels=3, planes=True)
    np.testing.assert_array_equal(everything(images), COLOUR)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8), "add a leading axis"),
        ((64,), r"not \[N, H, W\]"),
        ((2, 2, 8, 8, 1), r"not \[N, H, W\]"),
        ((64, 64, 3), r"may be one image \[H, W, C\]"),
        ((5, 3, 8, 3), "either axis 1 or axis 3"),
        ((5, 1, 8, 1), "either axis 1 or axis 3"),
        ((5, 8, 8, 2), "neither axis 1 nor axis 3"),
        ((5, 8, 8, 4), r"neither axis 1 nor axis 3.*\[\.\.\., :-1\]"),
        ((0, 8, 8), "holds no images"),
        ((5, 0, 8), "holds no images"),
        ((5, 8, 6), "8x6 .* --config.data.image_size is 8; crop or pad"),
    ],
)
def test_wrong_shapes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        wrap(np.zeros(shape, np.uint8))


def test_any_size_is_taken_when_none_is_asked():
    assert wrap(np.full((5, 6, 10), 9, np.uint8), image_size=None).shape == (5, 6, 10, 1)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_impossible_channel_numbers_are_refused(channels):
    with pytest.raises(ValueError, match=f"num_channels is {channels}"):
        wrap(GREY, num_channels=channels)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64])
def test_whole_numbers_in_range_are_delivered_as_uint8(dtype):
    images = wrap(GREY.astype(dtype))
    assert everything(images).dtype == images.dtype == np.uint8
    np.testing.assert_array_equal(everything(images)[..., 0], GREY)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_in_range_is_delivered_as_float32(dtype):
    images = wrap((GREY * 0.5).astype(dtype))
    assert everything(images).dtype == images.dtype == np.float32
    np.testing.assert_array_equal(everything(images)[..., 0], GREY * np.float32(0.5))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY / 255, r"looks like 0\.\.1: multiply by 255"),
        (GREY > 100, r"looks like 0\.\.1: multiply by 255"),
        ((GREY > 100).astype(np.int32), r"looks like 0\.\.1: multiply by 255"),
        (GREY / 127.5 - 1, r"looks like -1\.\.1: store clip"),
        (GREY.astype(np.float32) - 30, r"holds -\d+ at .* outside 0\.\.255.*per_image"),
        (GREY.astype(np.int16) * 16, r"holds \d+ at .* outside 0\.\.255.*per_image"),
        (GREY.astype(np.complex64), "complex64 is not a real number"),
        (GREY.astype("datetime64[s]"), "not a real number"),
    ],
)
def test_values_on_another_scale_are_refused_with_the_fix(array, message):
    with pytest.raises(ValueError, match=message):
        wrap(array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 256.0, -1.0])
@pytest.mark.parametrize("check_bytes", [1, 2**26], ids=["small blocks", "one block"])
def test_one_bad_pixel_is_found_wherever_it_is(monkeypatch, bad, check_bytes):
    monkeypatch.setattr(checks, "_CHECK_BYTES", check_bytes)
    array = GREY.astype(np.float32)
    array[10, 7, 1] = bad
    with pytest.raises(ValueError, match=rf"image 10 holds {bad:g} at \(7, 1\)"):
        wrap(array)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("scaling", ["per_image", "quantile", "fixed:9"])
def test_every_scaling_still_needs_finite_values(bad, scaling):
    array = GREY.astype(np.float32)
    array[4, 0, 0] = bad
    with pytest.raises(ValueError, match=f"image 4 holds {bad:g}"):
        wrap(array, scaling=scaling)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_three_equal_channels_are_grey(dtype, axis, channels):
    stored = np.stack([GREY.astype(dtype)] * 3, axis=axis)
    images, grey = wrap(stored, num_channels=channels), wrap(GREY, num_channels=channels)
    np.testing.assert_array_equal(everything(images), everything(grey))
    assert images.fingerprint == grey.fingerprint


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("check_bytes", [1, 2**26], ids=["small blocks", "one block"])
def test_one_pixel_that_differs_between_channels_is_refused(monkeypatch, channels, check_bytes):
    monkeypatch.setattr(checks, "_CHECK_BYTES", check_bytes)
    stored = np.stack([GREY] * 3, axis=-1)
    stored[10, 7, 1] = 8, 8, 9
    for array in (stored, np.moveaxis(stored, -1, 1)):
        with pytest.raises(ValueError, match=r"image 10 holds 8, 8, 9 at \(7, 1\).*planes=True"):
            wrap(array, num_channels=channels)
    images = wrap(stored, num_channels=3, planes=True)
    np.testing.assert_array_equal(everything(images), stored)


@pytest.mark.parametrize("scaling", ["none", "per_image", "quantile", "fixed:200"])
def test_one_plane_is_that_of_all_three(scaling):
    together = everything(wrap(COLOUR, num_channels=3, planes=True, scaling=scaling))
    for plane in range(3):
        for array in (COLOUR, np.moveaxis(COLOUR, -1, 1)):
            alone = everything(wrap(array, plane=plane, scaling=scaling))
            np.testing.assert_array_equal(alone[..., 0], together[..., plane])


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (GREY, {"planes": True, "num_channels": 3}),
        (COLOUR, {"planes": True}),
        (COLOUR, {"planes": True, "plane": 1, "num_channels": 3}),
        (COLOUR, {"plane": 3}),
        (COLOUR, {"plane": -1}),
        (GREY, {"plane": 0}),
    ],
)
def test_planes_that_are_not_there_are_refused(array, options):
    with pytest.raises(ValueError, match="plane"):
        wrap(array, **options)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int32, np.float32])
def test_a_set_of_empty_images_has_no_wrong_scale(dtype):
    np.testing.assert_array_equal(everything(wrap(np.zeros((3, 8, 8), dtype))), 0)


@pytest.mark.parametrize("change", ["pixel", "order", "length", "scaling", "channels"])
def test_the_fingerprint_tells_changed_data(change):
    array, options = GREY.copy(), {}
    if change == "pixel":
        array[5, 2, 2] ^= 1
    elif change == "order":
        array = array[::-1]
    elif change == "length":
        array = np.concatenate([array, array[:1]])
    elif change == "scaling":
        options = {"scaling": "per_image"}
    else:
        options = {"num_channels": 3}
    assert wrap(array, **options).fingerprint != wrap(GREY).fingerprint


@pytest.mark.parametrize("dtype", [np.int32, np.float32, ">f8"])
def test_the_fingerprint_does_not_depend_on_the_number_format(dtype):
    assert wrap(GREY.astype(dtype)).fingerprint == wrap(GREY).fingerprint


@pytest.mark.parametrize(
    "rows", [3, np.array([12]), np.array([-1]), np.array([1.0]), np.ones(12, bool), np.array([[1]])]
)
def test_rows_that_mean_nothing_are_refused(rows):
    with pytest.raises(IndexError):
        wrap(GREY)[rows]


@pytest.mark.parametrize(("total", "count"), [(1, 5), (5, 1), (7, 7), (10, 3), (10**6, 256)])
def test_evenly_spaced_rows_are_different_and_span_the_set(total, count):
    rows = evenly_spaced(total, count)
    assert len(rows) == len(set(rows.tolist())) == min(total, count)
    assert rows[0] == 0
    assert rows[-1] == (total - 1 if count > 1 else 0)
