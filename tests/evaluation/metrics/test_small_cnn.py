import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics.small_cnn import SmallCNN


class Textbook(nn.Module):
    """The same network of ordinary layers."""

    @nn.compact
    def __call__(self, images):
        x = jnp.concatenate([images / 64.0, (images > 0).astype(jnp.float32)], axis=-1)
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        found = [x.max(axis=(1, 2)), x.sum(axis=(1, 2)) / 256.0]
        with jax.numpy_dtype_promotion("standard"):
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (3, 3), (2, 2))(x))
        found += [x.max(axis=(1, 2)), x.sum(axis=(1, 2)) / 16.0]
        x = nn.relu(nn.Dense(32)(jnp.concatenate(found, axis=-1)))
        return nn.log_softmax(nn.Dense(3)(x))


@pytest.mark.parametrize("sides", [(16, 16), (15, 18)])
def test_the_network_is_that_of_ordinary_layers_from_the_same_seed(sides):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, *sides, 1)) * (rng.random((4, *sides, 1)) < 0.2)
    images = images.astype(np.float32)
    fast, plain = SmallCNN(3), Textbook()
    params, same = (jax.jit(net.init)(jax.random.key(1), images) for net in (fast, plain))
    jax.tree.map(np.testing.assert_array_equal, params, same)

    @functools.partial(jax.jit, static_argnums=0)
    def loss(net):
        return jax.value_and_grad(lambda params: net.apply(params, images)[:, 1].sum())(params)

    (value, slope), (expected, slope_expected) = loss(fast), loss(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), slope, slope_expected)
