import numpy as np
import pytest

from evaluation.images.alike import common_threshold, differences, parse_threshold
from evaluation.images.sets import open_set


def spectrum(seed, *, low=1.0, high=255.0, count=40):
    """Return images with a tenth of the pixels lit, their values evenly in the logarithm."""
    rng = np.random.default_rng(seed)
    shape = (count, 20, 20)
    values = np.exp(rng.uniform(np.log(low), np.log(high), shape))
    return np.where(rng.random(shape) < 0.1, values, 0).astype(np.float32)


def whole(seed, **more):
    return np.rint(spectrum(seed, **more)).astype(np.uint8)


def cut(images, at=4):
    return np.where(images > at, images, 0).astype(images.dtype)


def opened(**images):
    return {name: open_set(of, name, limit=None, seed=0) for name, of in images.items()}


def said(**images):
    sets = {name: one.cut().facts for name, one in opened(**images).items()}
    return differences(sets, "real")


def test_equal_sets_are_not_warned_of_and_not_cut():
    assert said(real=whole(0), train=whole(1), generated=whole(2)) == []
    assert said(real=spectrum(0), generated=spectrum(1)) == []
    real, *others = opened(real=whole(0), train=whole(1), generated=whole(2)).values()
    assert common_threshold(real, others) == (0, "")


def test_only_a_cut_that_the_real_images_lack_is_shared():
    sets = opened(real=whole(0), train=whole(1), generated=cut(whole(2)))
    real, train, generated = sets.values()
    threshold, text = common_threshold(real, [train, generated])
    assert threshold == 4 and "0.0 % in generated" in text
    assert common_threshold(generated, [real, train]) == (0, "")
    (text,) = said(real=cut(whole(2)), generated=whole(0))
    assert "cut off in real" in text
    # A generator of bright pixels only is cut as well; one that was drawn in a few pixels is not.
    bright = open_set(whole(3, low=90.0), "bright", limit=None, seed=0)
    assert common_threshold(real, [bright])[0] == 4
    few = open_set(cut(whole(3, count=1))[:, :6, :6], "few", limit=None, seed=0)
    assert common_threshold(real, [few])[0] == 0
    # Fewer faint pixels, without an edge, are no cut.
    steep = open_set(whole(4, low=3.0), "steep", limit=None, seed=0)
    assert common_threshold(real, [steep])[0] == 0


@pytest.mark.parametrize("factor", [4, 1 / 20])
def test_another_unit_is_warned_of_with_the_flag_that_mends_it(factor):
    other = np.minimum(spectrum(1, high=60.0) * factor, 255)
    real = spectrum(0, high=60.0)
    (text,) = [text for text in said(real=real, generated=other) if "one scale" in text]
    assert "--generated_scaling=per_image" in text
    (text,) = [text for text in said(real=real, train=other) if "one scale" in text]
    assert " --scaling=per_image" in text


def test_clipped_charge_empty_sets_and_fractions_are_warned_of():
    clipped = np.minimum(whole(0).astype(int) * 20, 255).astype(np.uint8)
    assert any("% of the lit pixels are at 255" in text for text in said(real=clipped, g=clipped))
    empty = np.zeros((5, 20, 20), np.uint8)
    assert said(real=empty, generated=whole(0)) == ["real: all 5 images are empty."]
    fractions = spectrum(1, low=0.1)
    share = open_set(fractions, "x", limit=None, seed=0).cut().facts["lit_pixels_up_to_half"]
    assert share == pytest.approx(np.log(5) / np.log(2550), abs=0.03)
    assert [t for t in said(real=fractions, generated=whole(1)) if "below 0.5" in t]
    assert not [t for t in said(real=fractions, generated=spectrum(2, low=0.1)) if "0.5" in t]


@pytest.mark.parametrize("text", ["-1", "255", "four", ""])
def test_thresholds_are_auto_or_whole_numbers(text):
    assert (parse_threshold("auto"), parse_threshold("0"), parse_threshold("254")) == (
        "auto",
        0,
        254,
    )
    with pytest.raises(ValueError, match="write auto or a whole number from 0 to 254"):
        parse_threshold(text)
