"""Rational-quadratic splines: monotone, inverted exactly, with the slopes that they tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.flows.spline import Spline

SPLINE = Spline(bins=7, bound=4.0, least=1e-3)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def splines(count, size=2.0, seed=0):
    """Random splines, some with bins of very different size."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0, size, (count, SPLINE.parameters)))


def numbers(count, seed=1):
    """Numbers inside, in the tails, and at the ends."""
    x = np.random.default_rng(seed).uniform(-6, 6, count)
    x[:4] = [-4, 4, 0, 4 - 1e-12]
    return jnp.asarray(x)


@pytest.mark.parametrize("size", [0.5, 3.0])
def test_back_and_forth(size):
    x, raw = numbers(2000), splines(2000, size)

    @jax.jit
    def both(x, raw):
        y, slope = SPLINE.forward(x, raw)
        return (y, slope, *SPLINE.inverse(y, raw))

    y, slope, back, slope_back = both(x, raw)
    np.testing.assert_allclose(back, x, atol=1e-6)
    np.testing.assert_allclose(slope_back, slope, atol=1e-5)
    inside = np.abs(np.asarray(x)) < 4
    assert (np.abs(y - x)[inside] > 0.05).mean() > 0.5
    np.testing.assert_array_equal(y[~inside], x[~inside])


def test_the_slope_is_that_of_the_map():
    x, raw = numbers(400)[4:], splines(396)

    @jax.jit
    def slopes(x, raw):
        alone = jax.vmap(jax.grad(lambda x, raw: SPLINE.forward(x, raw)[0]))(x, raw)
        return jnp.log(alone), SPLINE.forward(x, raw)[1]

    np.testing.assert_allclose(*slopes(x, raw), atol=1e-9)


def test_zeros_are_the_identity():
    x = numbers(1000)
    forward = jax.jit(SPLINE.forward)
    y, slope = forward(x, jnp.zeros((1000, SPLINE.parameters)))
    np.testing.assert_allclose(y, x, atol=1e-14)
    np.testing.assert_allclose(slope, 0, atol=1e-14)


def test_monotone_and_continuous_where_the_tails_begin():
    raw = splines(50, 3.0)
    x = jnp.asarray(np.linspace(-4.5, 4.5, 3001))

    @jax.jit
    def along(raw):
        return jax.vmap(lambda raw: SPLINE.forward(x, jnp.broadcast_to(raw, (3001, 20))))(raw)

    y, slope = along(raw)
    assert (np.diff(y, axis=1) > 0).all()
    ends = jnp.asarray([-4 - 1e-12, -4 + 1e-12, 4 - 1e-12, 4 + 1e-12])

    @jax.jit
    def at_ends(raw):
        return jax.vmap(lambda raw: SPLINE.forward(ends, jnp.broadcast_to(raw, (4, 20))))(raw)

    y, slope = at_ends(raw)
    np.testing.assert_allclose(y, np.broadcast_to(ends, y.shape), atol=1e-9)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_in_single_precision_back_is_as_exact_as_the_numbers_are():
    """The plain formula of the root would lose half of the digits where a bin is nearly straight.

    A slope below 1 loses what it divides by, so the error is measured in numbers that go forward
    again.
    """
    with jax.enable_x64(False):
        raw = splines(20000, 0.3).astype(jnp.float32)
        y = numbers(20000).astype(jnp.float32)

        @jax.jit
        def again(y, raw):
            return SPLINE.forward(SPLINE.inverse(y, raw)[0], raw)[0]

        assert np.abs(again(y, raw) - y).max() < 5e-6
