"""The post-processor keeps what it promises, and can mend a spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgm_jax.generators.bibae.spectrum import PostProcessor, spectrum_discrepancy

RNG = np.random.default_rng(0)
FIRST = 0.2
LIT = RNG.random((6, 8, 8, 1)) < 0.4
IMAGES = jnp.asarray(np.where(LIT, RNG.uniform(FIRST, 1.3, LIT.shape), 0), jnp.float32)
POST = PostProcessor(FIRST, 5)
WINDOWS = {"window": 8, "stride": 4, "pixels": 24, "sharpness": 50.0}


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(lambda key: POST.init(key, IMAGES)["params"])(jax.random.key(0))


@jax.jit
def mended(params, images):
    return POST.apply({"params": params}, images)


def test_it_begins_as_the_identity(fresh):
    np.testing.assert_allclose(mended(fresh, IMAGES), IMAGES, rtol=1e-5)


def test_zeros_stay_zeros_and_brighter_pixels_brighter(fresh):
    """Whatever its parameters are."""
    leaves, structure = jax.tree.flatten(fresh)
    random = [jnp.asarray(RNG.normal(0, 2, leaf.shape), jnp.float32) for leaf in leaves]
    after = np.asarray(mended(jax.tree.unflatten(structure, random), IMAGES))
    np.testing.assert_array_equal(after > 0, LIT)
    assert after[LIT].min() >= FIRST and np.abs(after - IMAGES).max() > 0.05
    for before, image, lit in zip(np.asarray(IMAGES), after, LIT, strict=True):
        order = np.argsort(before[lit])
        assert (np.diff(image[lit][order]) >= 0).all()


def test_without_a_lit_pixel_there_is_nothing_to_mend(fresh):
    def square(params):
        return (POST.apply({"params": params}, jnp.zeros((2, 8, 8, 1))) ** 2).sum()

    value, slope = jax.jit(jax.value_and_grad(square))(fresh)
    assert value == 0 and all((leaf == 0).all() for leaf in jax.tree.leaves(slope))


def test_the_discrepancy_is_that_of_sorted_windows():
    def sorted_pixels(images):
        return np.sort(np.asarray(images).reshape(6, -1), axis=1)[:, ::-1][:, :24]

    def kernel(x, y):
        return np.exp(-50 * (x[:, None] - y[None]) ** 2).mean()

    other = IMAGES[::-1] * 0.8
    a, b, total = sorted_pixels(IMAGES), sorted_pixels(other), []
    for image in range(6):
        for start in (0, 4, 8, 12, 16):
            x, y = a[image, start : start + 8], b[image, start : start + 8]
            total.append(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    found = jax.jit(lambda x, y: spectrum_discrepancy(x, y, **WINDOWS))(IMAGES, other)
    np.testing.assert_allclose(found, np.mean(total), rtol=1e-4)
    # Where the pixels lie does not matter.
    moved = jax.jit(lambda x: spectrum_discrepancy(x, x[:, ::-1, ::-1], **WINDOWS))(IMAGES)
    np.testing.assert_allclose(moved, 0, atol=1e-6)


def test_it_learns_to_mend_a_spectrum(fresh):
    """Of images whose pixels are too faint by a known curve."""
    real = jnp.where(IMAGES > 0, FIRST + 1.5 * (IMAGES - FIRST), 0.0)
    optimizer = optax.adam(0.03)

    def loss(params):
        return spectrum_discrepancy(POST.apply({"params": params}, IMAGES), real, **WINDOWS)

    @jax.jit
    def learn(params):
        def step(_, both):
            params, state = both
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state

        with jax.numpy_dtype_promotion("standard"):
            return jax.lax.fori_loop(0, 200, step, (params, optimizer.init(params)))[0]

    params = learn(fresh)
    off = [np.abs(images - real)[LIT].mean() for images in (IMAGES, mended(params, IMAGES))]
    assert off[1] < 0.3 * off[0]
