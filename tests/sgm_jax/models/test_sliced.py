"""The sliced distance against what it is by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.sliced import sliced_wasserstein

KEY = jax.random.key(0)
distance = jax.jit(sliced_wasserstein)


def images(seed, count=64, side=8):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, side, side, 1)), jnp.float32)


def test_of_the_same_images_in_another_order_it_is_zero():
    x = images(0)
    np.testing.assert_allclose(distance(KEY, x, x[::-1]), 0, atol=1e-6)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_a_constant_difference_is_seen_as_large_as_it_is(size):
    """Along a random direction of N pixels it has the size of a normal, divided by sqrt(N)."""
    x = jnp.zeros((1, 8, 8, 1))
    means = [distance(jax.random.key(k), x, x + size) for k in range(40)]
    # A constant image of 64 pixels is 8 long; along pixels of two by two it varies twice as much.
    expected = size * 8 * (2 / np.pi) ** 0.5 / 64**0.5 * (1 + 2) / 2
    np.testing.assert_allclose(np.mean(means), expected, rtol=0.05)


def test_it_grows_with_what_is_wrong():
    real = images(0)
    floor = distance(KEY, real, images(1))
    brighter = [distance(KEY, real, images(1) + shift) for shift in (0.2, 1.0)]
    # The same pixels in other places: no pixel alone tells it, coarse ones do.
    rows = jnp.repeat(images(1)[:, :, :1], 8, axis=2)
    assert floor < brighter[0] < brighter[1] and distance(KEY, real, rows) > 1.5 * floor
