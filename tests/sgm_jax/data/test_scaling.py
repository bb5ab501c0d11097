"""Charges in any unit on 0..255: zero stays zero, and one pixel does not own the scale."""

import numpy as np
import pytest

from sgm_jax.data import Scaling, from_array
from sgm_jax.data.scaling import quantile_top

GREY = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
GREY[:, 0, 0] = 0


def scaled(array, scaling):
    images = from_array(array, num_channels=1, image_size=None, scaling=scaling)
    assert images.dtype == np.float32
    return images[:][..., 0]


def tracks(count=20, size=64):
    """Return images of which 3 % of the pixels are lit, with charges 100 to 600."""
    rng = np.random.default_rng(3)
    images = np.zeros((count, size * size), np.float32)
    lit = round(0.03 * size * size)
    for image in images:
        image[rng.permutation(size * size)[:lit]] = rng.uniform(100, 600, lit)
    return images.reshape(count, size, size)


@pytest.mark.parametrize("text", ["none", "per_image", "quantile", "fixed:4095.0", "fixed:0.123"])
def test_a_scaling_is_its_text(text):
    assert str(Scaling.parse(text)) == text
    assert Scaling.parse(str(Scaling.parse(text))) == Scaling.parse(text)


@pytest.mark.parametrize(
    "text",
    ["log", "Per_image", "fixed", "fixed:", "fixed:0", "fixed:-3", "fixed:inf", "fixed:nan"],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="fixed:"):
        from_array(GREY, num_channels=1, image_size=8, scaling=text)


@pytest.mark.parametrize("scaling", ["per_image", "quantile"])
@pytest.mark.parametrize("factor", [1e-3, 7.5, 1e30, 1e300])
def test_scales_of_an_image_forget_the_unit(factor, scaling):
    expected = scaled(GREY, scaling)
    np.testing.assert_allclose(scaled(GREY * factor, scaling), expected, atol=1e-3)
    np.testing.assert_array_equal(expected.max((1, 2)), 255)


@pytest.mark.parametrize("scaling", ["per_image", "quantile", "fixed:600"])
def test_zero_stays_zero_and_negative_charge_becomes_it(scaling):
    # What a wire that sees a current by induction records: a pulse and its mirror image.
    charge = 100 * tracks()
    bipolar = charge - 0.8 * np.roll(charge, 2, axis=1)
    images = scaled(bipolar, scaling)
    np.testing.assert_array_equal(images[bipolar <= 0], 0)
    assert np.all(images[bipolar > 0] > 0)
    assert np.median(images) == 0


@pytest.mark.parametrize("scaling", ["per_image", "quantile"])
def test_an_image_without_charge_is_empty(scaling):
    for value in (0, -17.5):
        np.testing.assert_array_equal(scaled(np.full((3, 8, 8), value), scaling), 0)


def test_one_hot_pixel_does_not_own_the_scale():
    charge = tracks()
    charge[:, 5, 5] = 0
    hot = charge.copy()
    hot[:, 5, 5] = 20 * charge.max()
    lit = {name: (scaled(hot, name) > 4).mean() for name in ("per_image", "quantile")}
    # 600 is 12.75 of 255 then, and a charge must be 188 to be above 4.
    assert lit["per_image"] < 0.026
    assert scaled(hot, "per_image")[charge > 0].mean() < 8
    assert abs(lit["quantile"] - 0.03) < 0.0005
    # The rest of the image keeps its scale within the gap between two neighbouring charges.
    ratio = scaled(hot, "quantile")[charge > 0] / scaled(charge, "quantile")[charge > 0]
    assert ratio.min() > 0.95
    assert ratio.max() <= 1


@pytest.mark.parametrize(
    ("lit", "place"), [(1, 0), (2, 0), (3, 1), (50, 48), (101, 99), (201, 198), (1001, 990)]
)
def test_the_quantile_is_one_of_the_values_and_never_a_single_largest_one(lit, place):
    values = np.random.default_rng(1).permutation(np.arange(1, lit + 1))
    image = np.concatenate([np.zeros(1100 - lit), values]).reshape(1, 1, -1)
    assert quantile_top(image).tolist() == [[[place + 1]]]


def test_a_fixed_scale_keeps_the_ratio_of_charges_and_cuts_above():
    charge = np.array([0.0, 10, 20, 40, 80], np.float32).reshape(5, 1, 1) * np.ones((1, 4, 4))
    images = scaled(charge, "fixed:40")
    np.testing.assert_allclose(images[:, 0, 0], [0, 63.75, 127.5, 255, 255])


def test_planes_of_an_image_share_its_scale():
    planes = np.stack([GREY * 0.5, GREY * 1.0, GREY * 4.0], axis=-1)
    joint = Scaling.parse("per_image").apply(planes)
    np.testing.assert_allclose(joint.max((1, 2, 3)), 255)
    np.testing.assert_allclose(joint[..., 0] * 8, joint[..., 2], rtol=1e-6)
