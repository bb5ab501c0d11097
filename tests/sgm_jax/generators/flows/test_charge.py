"""Levels with noise in between, and charges as numbers without bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.data.normalise import TRANSFORMS
from sgm_jax.generators.flows.charge import LogitScale, dequantise, log_transform, quantise

ALL = {name: TRANSFORMS[name] for name in ("linear", "log", "sqrt")} | {
    "of layers": log_transform(256.0)
}


def test_noise_stays_within_a_level_and_its_density_is_told():
    levels = jnp.asarray(np.tile([0, 5, 6, 255], (20000, 1)).astype(np.float32))
    noised = jax.jit(lambda key, levels: dequantise(key, levels, 5))(jax.random.key(0), levels)
    values = np.asarray(noised.values)
    np.testing.assert_array_equal(quantise(noised.values, 5), levels)
    lit = values[:, 1:] - np.asarray(levels)[:, 1:]
    assert lit.min() >= 0 and lit.max() <= 1 and abs(lit.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(noised.log_noise[:, 1:], 0)
    # The density of the noise of zeros, by counting.
    counts, edges = np.histogram(values[:, 0], 20, (0, 5), density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(counts, 0.4 * np.minimum(middle, 5 - middle) / 2.5, atol=0.02)
    density = np.exp(noised.log_noise[:, 0])
    np.testing.assert_allclose(
        density, 0.4 * np.minimum(values[:, 0], 5 - values[:, 0]) / 2.5, atol=1e-4
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("alpha", [0.01, 1e-6])
def test_numbers_of_charges_are_finite_and_come_back(name, alpha):
    scale = LogitScale(256.0, ALL[name], alpha, mean=-2.0, std=0.7)
    charge = jnp.asarray([0.0, 0.01, 1.0, 5.0, 77.7, 255.0, 255.99, 256.0])
    y, slope = jax.jit(scale.to_network)(charge)
    assert np.isfinite(y).all() and np.isfinite(slope).all() and (np.diff(y) > 0).all()
    np.testing.assert_allclose(scale.from_network(y), charge, rtol=2e-4, atol=1e-3)
    inside = charge[1:-1]
    by_hand = jax.jit(jax.vmap(jax.grad(lambda x: scale.to_network(x)[0])))(inside)
    np.testing.assert_allclose(slope[1:-1], np.log(by_hand), atol=1e-3)
    # What is drawn beyond all charges is none, or the largest.
    np.testing.assert_allclose(scale.from_network(jnp.asarray([-99.0, 99.0])), [0, 256], atol=1e-3)
