"""What is drawn of a layer gets the layer's charge, and nothing below the threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.flows.postprocess import darken_then_rescale, rescale_then_cut, whole

THRESHOLD = 5.0


def layers(count, size, seed):
    """Random layers of very different kinds, and charges that need not be near their sums."""
    rng = np.random.default_rng(seed)
    pixels = np.exp(rng.normal(0, 1, (count, 1)) + rng.normal(0, 2, (count, size)))
    pixels *= rng.random((count, size)) < rng.random((count, 1))
    # Some pixels are equal.
    pixels = np.where(rng.random((count, 1)) < 0.3, np.floor(pixels), pixels)
    charge = np.floor(np.exp(rng.uniform(0, 8, count)))
    charge = np.where(rng.random(count) < 0.5, charge, np.floor(pixels.sum(1)))
    return pixels.astype(np.float32), charge.astype(np.float32)


@pytest.mark.parametrize("blocks", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_what_holds_for_a_million_random_layers(blocks):
    method = jax.jit(lambda *args: darken_then_rescale(*args, THRESHOLD))
    rounded = jax.jit(whole)
    for seed in range(blocks):
        pixels, charge = layers(100_000, 16, seed)
        drawn = np.asarray(method(pixels, charge))
        lit = charge >= THRESHOLD
        assert (drawn[~lit] == 0).all() and (drawn[lit].max(1) >= THRESHOLD).all()
        assert ((drawn == 0) | (drawn >= THRESHOLD)).all()
        np.testing.assert_allclose(drawn[lit].sum(1, dtype=np.float64), charge[lit], rtol=1e-5)
        # Whole levels have the same sum, whole as it is.
        levels = np.asarray(rounded(drawn))
        assert ((levels == 0) | (levels >= THRESHOLD)).all() and (levels == np.rint(levels)).all()
        np.testing.assert_array_equal(levels.sum(1)[lit], charge[lit])


def test_of_the_dimmest_only_as_many_are_darkened_as_must_be():
    pixels, charge = layers(2000, 12, 3)
    drawn = np.asarray(jax.jit(lambda *args: darken_then_rescale(*args, THRESHOLD))(pixels, charge))
    for row, total, result in zip(pixels.astype(np.float64), charge, drawn, strict=True):
        rising = np.maximum(np.sort(row), 1e-6)
        passing = [k for k in range(12) if rising[k] * total / rising[k:].sum() >= THRESHOLD]
        least = min(passing, default=12)
        # A tie with the threshold may fall either way.
        close = [
            abs(rising[k] * total / rising[k:].sum() / THRESHOLD - 1) < 1e-5 for k in range(12)
        ]
        if not any(close):
            assert (result > 0).sum() == 12 - least


def test_rescaling_and_then_cutting_loses_charge():
    pixels, charge = layers(5000, 16, 4)
    drawn = np.asarray(jax.jit(lambda *args: rescale_then_cut(*args, THRESHOLD))(pixels, charge))
    assert ((drawn == 0) | (drawn >= THRESHOLD)).all()
    lost = charge - drawn.sum(1)
    assert lost.min() > -0.05 and lost.mean() > 1
    # Where nothing is below the threshold both are the same.
    bright, total = jnp.asarray([[6.0, 0.0, 24.0]]), jnp.asarray([60.0])
    for method in (rescale_then_cut, darken_then_rescale):
        np.testing.assert_allclose(method(bright, total, THRESHOLD), [[12, 0, 48]], rtol=1e-5)
