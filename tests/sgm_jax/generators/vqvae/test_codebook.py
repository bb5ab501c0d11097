"""Codebooks: the nearest vector, gradients through it, averages that follow, codes that revive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.vqvae import codebook
from sgm_jax.generators.vqvae.codebook import Averages


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def test_the_nearest_vector_is_that_of_a_search():
    z, book = normal(0, 3, 4, 5, 6), normal(1, 40, 6)
    apart = ((np.asarray(z)[..., None, :] - np.asarray(book)) ** 2).sum(-1)
    quantised = jax.jit(codebook.quantise)(z, book)
    np.testing.assert_array_equal(quantised.codes, apart.argmin(-1))
    np.testing.assert_array_equal(quantised.vectors, book[apart.argmin(-1)])
    np.testing.assert_allclose(quantised.distances, apart.min(-1), rtol=1e-5)
    # Of two that are equal the first.
    assert codebook.nearest(book[7], jnp.concatenate([book, book])) == 7


def test_gradients_go_straight_through():
    z, book, weights = normal(0, 2, 3, 3, 4), normal(1, 9, 4), normal(2, 4)

    def decoder(vectors):
        return jnp.sin(vectors @ weights).sum()

    @jax.jit
    def gradients(z):
        vectors = codebook.quantise(z, book).vectors
        through = jax.grad(lambda z: decoder(codebook.quantise(z, book).passed))(z)
        return through, jax.grad(decoder)(vectors)

    through, own = gradients(z)
    np.testing.assert_allclose(through, own, rtol=1e-5, atol=1e-6)
    assert (np.abs(own) > 1e-4).any()


def lloyd(points, book, steps):
    """Return the centres of k-means."""
    for _ in range(steps):
        nearest = ((points[:, None] - book) ** 2).sum(-1).argmin(-1)
        book = np.stack([points[nearest == k].mean(0) for k in range(len(book))])
    return book


def test_averages_arrive_at_the_centres_of_k_means():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [5, 0], [0, 5], [6, 6]], np.float32)
    points = (centres[rng.integers(0, 4, 200)] + rng.normal(0, 0.5, (200, 2))).astype(np.float32)
    book = centres + 0.5
    z = jnp.asarray(points).reshape(2, 10, 10, 2)

    def step(averages, _):
        batch = codebook.of_batch(codebook.quantise(z, averages.book), 4)
        return codebook.moved(averages, batch, 0.9), None

    shares = jnp.full(4, 0.25)
    begin = Averages(shares, jnp.asarray(book) * shares[:, None])
    np.testing.assert_allclose(begin.book, book, rtol=1e-5)
    averages = jax.jit(lambda a: jax.lax.scan(step, a, length=200)[0])(begin)
    np.testing.assert_allclose(averages.book, lloyd(points, book, 20), atol=1e-4)
    np.testing.assert_allclose(averages.shares.sum(), 1, rtol=1e-5)


def test_the_book_is_right_from_the_first_batch_on():
    z = normal(0, 2, 3, 3, 4)
    batch = codebook.of_batch(codebook.quantise(z, jnp.zeros((2, 4))), 2)
    averages = codebook.moved(codebook.empty(2, 4), batch, 0.99)
    np.testing.assert_allclose(averages.book[0], np.asarray(z).mean((0, 1, 2)), rtol=1e-4)


def step_with_a_dead_code(key, z, index, averages, images):
    quantised = codebook.quantise(z, averages.book)
    moved = codebook.moved(averages, codebook.of_batch(quantised, 3), 0.9)
    options = {"classes": 3, "images": images}
    return moved, codebook.propose(key, index, quantised, **options)


def test_a_dead_code_begins_again_at_an_encoding_of_the_batch():
    z = normal(0, 4, 3, 3, 2)
    shares = jnp.array([0.5, 0.5, 1e-4])
    book = jnp.array([[-1.0, 0.0], [1.0, 0.0], [99.0, 99.0]])
    averages = Averages(shares, book * shares[:, None])

    @jax.jit
    def step(key):
        moved, proposals = step_with_a_dead_code(key, z, jnp.arange(4), averages, 4)
        return moved, codebook.revived(moved, proposals)

    moved, revived = step(jax.random.key(0))
    encodings = np.asarray(z).reshape(-1, 2)
    # The others are what they were, and this one is used from now on.
    np.testing.assert_array_equal(revived.sums[:2], moved.sums[:2])
    assert np.abs(encodings - np.asarray(revived.book)[2]).max(-1).min() < 1e-4
    assert (codebook.quantise(z, revived.book).codes == 2).any()
    again, other = step(jax.random.key(0))[1], step(jax.random.key(1))[1]
    np.testing.assert_array_equal(again.book, revived.book)
    assert (other.book[2] != revived.book[2]).any()


def test_far_encodings_are_proposed_more_often():
    z = jnp.zeros((1, 4, 4, 2)).at[0, 2, 3].set(5.0)
    quantised = codebook.quantise(z + 0.01, jnp.zeros((1, 2)))

    def proposed(key):
        options = {"classes": 1, "images": 1}
        return codebook.propose(key, jnp.arange(1), quantised, **options).vectors[0, 0]

    values = jax.jit(jax.vmap(proposed))(jax.random.split(jax.random.key(0), 50))
    assert (values > 1).mean() > 0.9


@pytest.mark.parametrize("classes", [5, 40])
def test_what_revives_does_not_depend_on_the_devices(classes):
    z, book = normal(0, 8, 3, 3, 2), normal(1, classes, 2)
    key, index = jax.random.key(3), jnp.arange(8)

    def proposed(z, index):
        quantised = codebook.quantise(z, book)
        return codebook.propose(key, index, quantised, classes=classes, images=8)

    whole = jax.jit(proposed)(z, index)
    assert (whole.there == 1).all()
    # Two devices with the images in turn.
    shares = jax.jit(jax.vmap(proposed))(
        z.reshape(4, 2, 3, 3, 2).swapaxes(0, 1), index.reshape(4, 2).T
    )
    np.testing.assert_array_equal(shares.there.sum(0), np.ones(classes))
    np.testing.assert_allclose(shares.vectors.sum(0), whole.vectors)
    assert len(np.unique(whole.vectors, axis=0)) == classes


def test_perplexity_counts_the_codes_in_use():
    np.testing.assert_allclose(codebook.perplexity(jnp.array([0.25] * 4 + [0.0] * 3)), 4, rtol=1e-5)
    np.testing.assert_allclose(codebook.perplexity(jnp.array([1.0, 0.0])), 1, rtol=1e-5)
