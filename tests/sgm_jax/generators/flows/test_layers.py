"""Images as layers, and what lies before each."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.flows.layers import COLUMNS, ROWS, Layers

IMAGES = np.arange(3 * 36, dtype=np.float32).reshape(3, 6, 6)


@pytest.mark.parametrize("along", [ROWS, COLUMNS])
@pytest.mark.parametrize("strip", [1, 2, 3])
def test_a_layer_is_a_strip_and_all_of_them_the_image(along, strip):
    layers = Layers(6, along, strip, before=1)
    parts = layers.split(jnp.asarray(IMAGES))
    assert parts.shape == (3, 6 // strip, 6 * strip)
    turned = IMAGES if along == ROWS else IMAGES.swapaxes(1, 2)
    np.testing.assert_array_equal(parts[1, 1], turned[1, strip : 2 * strip].ravel())
    np.testing.assert_array_equal(layers.join(parts), IMAGES)


def test_a_layer_is_told_of_those_before_it_the_nearest_last():
    layers = Layers(6, ROWS, 1, before=2)
    parts = jnp.asarray(IMAGES)
    places = jnp.asarray([[0, 1], [3, 2], [5, 5]])
    seen = np.asarray(layers.earlier(parts, places)).reshape(3, 2, 2, 6)
    assert (seen[0, 0] == 0).all() and (seen[0, 1, 0] == 0).all()
    np.testing.assert_array_equal(seen[0, 1, 1], IMAGES[0, 0])
    np.testing.assert_array_equal(seen[1, 0], IMAGES[1, 1:3])
    np.testing.assert_array_equal(seen[1, 1], IMAGES[1, 0:2])
    np.testing.assert_array_equal(seen[2, 0], IMAGES[2, 3:5])


def test_every_place_is_told_apart():
    places = Layers(64, ROWS, 1, before=5).places
    distance = np.abs(places[:, None] - places[None]).max(-1) + np.eye(64)
    assert distance.min() > 0.3
