"""What is looked at of an image is what is written of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.data.normalise import TRANSFORMS
from sgm_jax.data.visible import Visible

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
KEYS = jax.random.split(jax.random.key(0), 50)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_written_again_an_image_is_what_it_was_cut(transform):
    scale = PixelScale(centered=False, transform=transform)
    visible = Visible(4, scale)
    images = jnp.asarray(np.repeat(scale.to_model(LEVELS), 50, axis=0))
    spread = np.asarray(jax.jit(visible.spread)(KEYS, images))
    cut = np.where(LEVELS > 4, LEVELS, 0)
    written = to_uint8(scale.from_model(spread))
    np.testing.assert_array_equal(written, np.repeat(cut, 50, axis=0))
    np.testing.assert_array_equal(to_uint8(scale.from_model(visible.cut(images[:1]))), cut)
    # Dark pixels are exactly 0, and no lit one lies below the first level.
    assert (spread[spread < visible.first * (1 - 1e-6)] == 0).all() and (spread > 0).any()


def test_a_lit_pixel_lies_anywhere_within_its_level():
    scale = PixelScale(centered=False, transform="log")
    images = jnp.asarray(np.repeat(scale.to_model(LEVELS), 50, axis=0))
    spread = jax.jit(Visible(4, scale).spread)(KEYS, images)
    part = (np.asarray(scale.from_model(spread)) - LEVELS.astype(np.float32))[:, LEVELS[0] > 4]
    assert part.min() > -1e-3 and part.max() < 1 + 1e-3
    np.testing.assert_allclose(part.mean(), 0.5, atol=5 * (1 / 12 / part.size) ** 0.5)
    assert len(np.unique(np.asarray(spread[:, 5, 5, 0]))) == 50
