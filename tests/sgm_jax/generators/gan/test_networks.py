"""The parts of a GAN's networks against what they are by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.gan.networks import Judge, Local, LocalJudge, with_deviation

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(8, 8, 8, 1)), jnp.float32)


def locally_connected(x, kernel, bias, stride):
    """Give each place of the output its own matrix, of the square around it."""
    height, width, rows, features = kernel.shape
    side = round((rows / x.shape[-1]) ** 0.5)
    out = np.zeros((len(x), height, width, features))
    # As much on both sides as keeps the size, and what is left over behind.
    around = max((height - 1) * stride + side - x.shape[1], 0)
    ends = (around // 2, around - around // 2)
    wide = np.pad(x, ((0, 0), ends, ends, (0, 0)))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            square = wide[:, top : top + side, left : left + side]
            # The channels of a square come first in a kernel.
            seen = square.transpose(0, 3, 1, 2).reshape(len(x), -1)
            out[:, row, column] = seen @ kernel[row, column]
    return out if bias is None else out + bias


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_locally_connected_layers_have_weights_of_their_own_at_each_place(network):
    if network == "generator":
        module, inputs = Local((8, 8), (4, 5), 3), jnp.asarray(RNG.normal(size=(2, 6)), jnp.float32)
        layers = {"local_coarse": 1, "local_fine": 1, "local_last": 1}
    else:
        module, inputs = LocalJudge(4, 3, 6, 0), IMAGES[:2]
        layers = {"local_0": 2, "local_1": 1, "local_2": 2}
    params = jax.jit(lambda key: module.init(key, inputs, None)["params"])(jax.random.key(0))
    seen = {}

    def listen(next_function, arguments, options, context):
        output = next_function(*arguments, **options)
        if context.module.name in layers and context.method_name == "__call__":
            seen[context.module.name] = arguments[0], output
        return output

    def run(params):
        seen.clear()
        with nn.intercept_methods(listen):
            module.apply({"params": params}, inputs, None)
        return dict(seen)

    for name, (x, output) in jax.jit(run)(params).items():
        kernel, bias = (params[name].get(part) for part in ("kernel", "bias"))
        bias = None if bias is None else np.asarray(bias)
        expected = locally_connected(np.asarray(x), np.asarray(kernel), bias, layers[name])
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
        layers.pop(name)
    assert not layers


def test_a_group_is_told_how_much_its_images_differ():
    told = np.asarray(with_deviation(IMAGES, 4))
    np.testing.assert_array_equal(told[..., :1], IMAGES)
    for group in range(2):
        images = np.asarray(IMAGES[4 * group : 4 * group + 4])
        expected = images.std(axis=0).mean()
        np.testing.assert_allclose(told[4 * group : 4 * group + 4, ..., 1], expected, rtol=1e-4)
    same = with_deviation(jnp.broadcast_to(IMAGES[:1], IMAGES.shape), 4)
    np.testing.assert_allclose(same[..., 1], 0, atol=1e-3)


def test_groups_do_not_depend_on_how_devices_share_a_batch():
    apart = [with_deviation(part, 4) for part in (IMAGES[:4], IMAGES[4:])]
    np.testing.assert_array_equal(jnp.concatenate(apart), with_deviation(IMAGES, 4))
    # Of three images none are compared in groups of four.
    assert with_deviation(IMAGES[:3], 4).shape == (3, 8, 8, 2)


def test_a_condition_adds_its_product_with_what_was_seen():
    judge = Judge((6, 4), features=5, group=4)
    params = jax.jit(lambda key: judge.init(key, IMAGES, None)["params"])(jax.random.key(0))
    vectors = jnp.asarray(RNG.normal(size=(8, 5)), jnp.float32)

    @jax.jit
    def outputs(vector):
        return judge.apply({"params": params}, IMAGES, vector)

    nothing = jax.jit(lambda: judge.apply({"params": params}, IMAGES, None))()
    np.testing.assert_allclose(outputs(jnp.zeros((8, 5))), nothing, rtol=1e-5, atol=1e-6)
    # What was seen, number by number; then the product is the same for all vectors.
    seen = np.stack([outputs(jnp.tile(unit, (8, 1))) - nothing for unit in jnp.eye(5)], axis=1)
    expected = nothing + (seen * np.asarray(vectors)).sum(1)
    np.testing.assert_allclose(outputs(vectors), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(seen).max() > 0.05
