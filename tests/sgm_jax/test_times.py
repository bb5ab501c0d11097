"""Times of training: all distributions give one loss on average, the right one with less noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.losses import (
    SMALLEST_TIME,
    TIMES,
    edm,
    importance_times,
    noise_prediction,
    spread_evenly,
)
from sgm_jax.score import noise_score
from sgm_jax.sde import SDES

COUNT = 2**17
MIDDLES = (np.arange(COUNT, dtype=np.float32) + 0.5) / COUNT
FUNCTIONS = {"one": jnp.ones_like, "square": jnp.square, "wave": lambda t: jnp.cos(9 * t)}


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_importance_gives_the_mean_over_uniform_times(name, function):
    f = FUNCTIONS[function]
    times, factors = TIMES["importance"](SDES[name](), jnp.asarray(MIDDLES))
    uniform, ones = TIMES["uniform"](SDES[name](), jnp.asarray(MIDDLES))
    want = np.mean(np.float64(ones * f(uniform)))
    got = np.mean(np.float64(factors * f(times)))
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert times.min() > SMALLEST_TIME * 0.99 and times.max() < 1.0001


@pytest.mark.parametrize("name", SDES)
def test_factors_are_the_ratio_of_the_densities(name):
    u = jnp.linspace(0.02, 0.98, 25)
    _, factors = importance_times(SDES[name](), u)
    # A density is one over the rate at which times pass with u, whatever they were made from.
    rate = jax.vmap(jax.grad(lambda u: importance_times(SDES[name](), u[None])[0][0]))(u)
    np.testing.assert_allclose(factors, rate / (1 - SMALLEST_TIME), rtol=2e-3)


def _batch_losses(sde, *, batches=300, **options):
    """Return likelihood-weighted losses of batches of 16, for a network that predicts nothing."""

    def network(params, key, index):
        return lambda x, labels: jnp.zeros_like(x)

    loss = noise_prediction(network, lambda net: noise_score(net, sde), sde, **options)
    batch = {"image": jnp.zeros((16, 2, 2, 1)), "index": jnp.arange(16)}
    keys = jax.random.split(jax.random.key(0), batches)
    return np.asarray(jax.jit(jax.vmap(lambda key: loss({}, key, batch)[0]))(keys))


@pytest.mark.parametrize("name", ["vpsde", "subvpsde"])
def test_importance_takes_the_variance_out_of_likelihood_weighting(name):
    plain, important = (
        _batch_losses(SDES[name](), likelihood_weighting=True, time_sampling=times)
        for times in ("uniform", "importance")
    )
    # The noise of the batch alone remains: 64 squares of normal numbers, 18 %.
    np.testing.assert_allclose(important.std() / important.mean(), (2 / 64) ** 0.5, rtol=0.15)
    assert important.std() < 0.2 * plain.std()


def test_even_times_take_variance_out_of_a_loss_that_depends_on_time():
    options = {"weighting": "min_snr"}
    plain = _batch_losses(SDES["vpsde"](), **options)
    even = _batch_losses(SDES["vpsde"](), low_discrepancy=True, **options)
    error = plain.std() / len(plain) ** 0.5
    np.testing.assert_allclose(even.mean(), plain.mean(), atol=4 * error)
    assert even.std() < 0.95 * plain.std()


def test_each_even_number_is_uniform_and_together_they_leave_no_gap():
    keys = jax.random.split(jax.random.key(1), 2000)
    numbers = np.asarray(jax.vmap(spread_evenly, in_axes=(0, None))(keys, jnp.arange(64)))
    for i in (0, 1, 63):
        ranks = np.sort(numbers[:, i])
        distance = np.abs(ranks - (np.arange(2000) + 0.5) / 2000).max()
        assert distance < 1.95 / 2000**0.5  # Kolmogorov-Smirnov at one in a thousand
    gaps = np.diff(np.sort(numbers, axis=1), axis=1)
    assert gaps.max() < 2.1 / 64 and gaps.min() > 0.4 / 64
    assert numbers.min() >= 0 and numbers.max() < 1


def test_even_numbers_do_not_depend_on_how_a_batch_is_split(key):
    whole = spread_evenly(key, jnp.arange(100_000, 100_008))
    np.testing.assert_array_equal(whole[4:], spread_evenly(key, jnp.arange(100_004, 100_008)))


def test_even_noise_levels_have_the_distribution_of_edm():
    def loss_of(options, key):
        loss = edm(
            lambda params, key, index: None,
            lambda network: lambda y, sigma: y,
            sigma_data=0.5,
            p_mean=-1.0,
            p_std=0.4,
            **options,
        )
        batch = {"image": jnp.zeros((256, 16, 16, 1)), "index": jnp.arange(256)}
        return loss({}, key, batch)[0]

    keys = jax.random.split(jax.random.key(0), 40)
    plain, even = (
        np.asarray(jax.vmap(lambda key, o=options: loss_of(o, key))(keys))
        for options in ({}, {"low_discrepancy": True})
    )
    # E[(sigma^2 + 1/4) / (1/4)] with log sigma ~ N(-1, 0.4^2).
    want = 1 + 4 * np.exp(-2 + 2 * 0.4**2)
    np.testing.assert_allclose(even.mean(), want, rtol=5e-3)
    assert even.std() < 0.6 * plain.std()
