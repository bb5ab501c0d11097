"""The parts of a GAN's networks against what they are by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.models.dcgan import Judge, with_deviation

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(8, 8, 8, 1)), jnp.float32)


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
