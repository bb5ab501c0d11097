"""Locally connected layers against a loop over all places."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.local import LocalConv

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 2)), jnp.float32)


def by_hand(x, kernel, bias, size, stride):
    """Give each place its own matrix for the square around it."""
    height, width, _, features = kernel.shape
    out = np.zeros((len(x), height, width, features))
    before = (size - stride) // 2
    for row, column in np.ndindex(height, width):
        square = np.zeros((len(x), size, size, x.shape[-1]))
        for down, right in np.ndindex(size, size):
            r, c = row * stride + down - before, column * stride + right - before
            if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                square[:, down, right] = x[:, r, c]
        out[:, row, column] = square.reshape(len(x), -1) @ kernel[row, column]
    return out + bias


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (5, 2), (3, 2), (2, 1)])
def test_each_place_has_weights_of_its_own(size, stride):
    layer = LocalConv(3, size, stride)
    params = jax.jit(lambda key: layer.init(key, IMAGES)["params"])(jax.random.key(0))
    params["bias"] = jax.random.normal(jax.random.key(1), params["bias"].shape)
    output = jax.jit(lambda params: layer.apply({"params": params}, IMAGES))(params)
    kernel, bias = (np.asarray(params[name]) for name in ("kernel", "bias"))
    expected = by_hand(np.asarray(IMAGES), kernel, bias, size, stride)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    # As large as what it sees, whatever that is.
    np.testing.assert_allclose(kernel.var() * kernel.shape[2], 1, rtol=0.1)


def test_with_the_same_weights_everywhere_it_is_a_convolution():
    conv = nn.Conv(3, (5, 5), (2, 2))
    shared = jax.jit(lambda key: conv.init(key, IMAGES)["params"])(jax.random.key(0))
    kernel = jnp.broadcast_to(shared["kernel"].reshape(1, 1, -1, 3), (4, 4, 50, 3))
    layer = LocalConv(3, 5, 2, use_bias=False)
    output = jax.jit(lambda: layer.apply({"params": {"kernel": kernel}}, IMAGES))()
    expected = jax.jit(lambda: conv.apply({"params": shared}, IMAGES))()
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
