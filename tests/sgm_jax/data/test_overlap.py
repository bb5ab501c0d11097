"""Test images that are training images, too."""

import numpy as np

from sgm_jax.data import from_array
from sgm_jax.data.overlap import shared


def _set(pixels):
    return from_array(pixels, num_channels=1, image_size=None)


def test_images_of_both_sets_are_counted_and_empty_ones_are_not():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (300, 4, 4), np.uint8)
    test = rng.integers(0, 256, (40, 4, 4), np.uint8)
    train[7], test[0] = 0, 0
    assert shared(_set(train), _set(test)) == (0, 39)
    assert shared(_set(train), _set(train)) == (299, 299)
    test[10:15] = train[100:105]
    assert shared(_set(train), _set(test)) == (5, 39)
    # As floats they are the same images.
    assert shared(_set(train), _set(test.astype(np.float32))) == (5, 39)
