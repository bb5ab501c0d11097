"""LAGAN's networks: layers as published, and places that differ."""

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.gan.lagan import Local, LocalJudge

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 1)), jnp.float32)


def test_the_generator_has_a_convolution_and_three_local_layers():
    module, z = Local((16, 16), (8, 5), 6), jnp.zeros((2, 7))
    params = jax.jit(lambda key: module.init(key, z, None)["params"])(jax.random.key(0))
    assert params["first"]["kernel"].shape == (7, 4 * 4 * 8)
    assert params["Conv_0"]["kernel"].shape == (5, 5, 8, 5)
    # Squares of 5, 3 and 2 pixels, on two grids.
    assert params["local_coarse"]["kernel"].shape == (8, 8, 25 * 5, 6)
    assert params["local_fine"]["kernel"].shape == (16, 16, 9 * 6, 6)
    assert params["local_last"]["kernel"].shape == (16, 16, 4 * 6, 1)
    assert set(params["local_last"]) == {"kernel"}
    outputs = jax.jit(lambda z: module.apply({"params": params}, z, None))(z + 1)
    assert outputs.shape == (2, 16, 16, 1) and len(np.unique(outputs[0])) == 256


def test_the_discriminator_knows_places():
    """A convolution before a mean would say the same of an image and of a shifted one."""
    module = LocalJudge(channels=4, local=3, features=6, group=0)
    params = jax.jit(lambda key: module.init(key, IMAGES, None)["params"])(jax.random.key(0))
    names = [name for name in params if name.startswith("local")]
    shapes = [params[name]["kernel"].shape for name in sorted(names)]
    assert shapes == [(8, 8, 25 * 4, 3), (8, 8, 25 * 3, 3), (4, 4, 9 * 3, 3)]
    point = jnp.zeros((2, 16, 16, 1)).at[0, 6, 6].set(1.0).at[1, 8, 8].set(1.0)
    here, there = jax.jit(lambda x: module.apply({"params": params}, x, None))(point)
    assert abs(here - there) > 1e-3 * abs(here)
