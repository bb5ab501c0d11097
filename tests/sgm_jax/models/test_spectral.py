"""Spectral norms against numpy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.spectral import first_vectors, iterated, normalised

SHAPES = {
    "Dense_0/kernel": (7, 5),
    "Conv_0/kernel": (3, 3, 4, 6),
    "local_0/kernel": (2, 3, 18, 4),
    "inner/Conv_0/kernel": (2, 2, 1, 3),
}


def matrices(name, kernel):
    """Return the matrices of a kernel, one for each place ``[N, in, out]``."""
    if name.startswith("local"):
        return np.asarray(kernel).reshape(-1, *kernel.shape[-2:])
    return np.asarray(kernel).reshape(1, -1, kernel.shape[-1])


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    tree = {"Dense_0": {"bias": rng.normal(size=5).astype(np.float32)}}
    for name, shape in SHAPES.items():
        *folders, last = name.split("/")
        part = tree
        for folder in folders:
            part = part.setdefault(folder, {})
        part[last] = rng.normal(size=shape).astype(np.float32)
    return jax.tree.map(jnp.asarray, tree)


def kernel_of(tree, name):
    for part in name.split("/"):
        tree = tree[part]
    return tree


@pytest.fixture(scope="module")
def found(params):
    """The vectors after many iterations, and the parameters divided."""

    def find(key, params):
        vectors = iterated(params, first_vectors(key, params), steps=200)
        return vectors, normalised(params, vectors)

    return jax.jit(find)(jax.random.key(0), params)


@pytest.mark.parametrize("name", SHAPES)
def test_each_kernel_is_divided_by_its_largest_singular_value(params, found, name):
    before, after = (kernel_of(tree, name) for tree in (params, found[1]))
    largest = np.linalg.norm(matrices(name, before), ord=2, axis=(1, 2))
    expected = matrices(name, before) / largest[:, None, None]
    np.testing.assert_allclose(matrices(name, after), expected, rtol=1e-4, atol=1e-5)


def test_nothing_else_is_touched(params, found):
    vectors, after = found
    np.testing.assert_array_equal(after["Dense_0"]["bias"], params["Dense_0"]["bias"])
    assert set(vectors) == set(SHAPES)
    # A checkpoint cannot keep arrays without numbers.
    assert all(vector.size for vector in vectors.values())


def test_one_iteration_a_step_follows_a_kernel_that_moves(params, found):
    moved = jax.tree.map(lambda leaf: 1.01 * leaf + 0.01, params)
    vectors = jax.jit(iterated)(moved, found[0])
    after = jax.jit(normalised)(moved, vectors)
    for name in SHAPES:
        largest = np.linalg.norm(matrices(name, kernel_of(after, name)), ord=2, axis=(1, 2))
        np.testing.assert_allclose(largest, 1, atol=2e-3)


def test_the_gradient_is_that_of_a_kernel_without_its_length(params, found):
    """Along itself a kernel has no slope, since its length is divided away."""
    kernel = {"Dense_0": params["Dense_0"]}
    vectors = {"Dense_0/kernel": found[0]["Dense_0/kernel"]}
    weight = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)

    def seen(tree):
        return (normalised(tree, vectors)["Dense_0"]["kernel"] * weight).sum()

    slope = jax.jit(jax.grad(seen))(kernel)["Dense_0"]["kernel"]
    assert np.abs(slope).max() > 0.05
    np.testing.assert_allclose((slope * kernel["Dense_0"]["kernel"]).sum(), 0, atol=1e-5)


def test_a_kernel_of_zeros_stays_one():
    tree = {"Dense_0": {"kernel": jnp.zeros((3, 2))}}
    vectors = iterated(tree, first_vectors(jax.random.key(0), tree))
    assert (normalised(tree, vectors)["Dense_0"]["kernel"] == 0).all()
