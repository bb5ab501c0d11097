"""Samplers: parity with the original, analytic cases, one image one key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.samplers.base import START, image_keys
from sgm_jax.samplers.heun import Heun, edm_noise_levels
from sgm_jax.samplers.predictor_corrector import PredictorCorrector, euler_maruyama
from sgm_jax.score import noise_score
from sgm_jax.sde import VESDE, VPSDE, per_image
from tests.fixture_files import fixture_files
from tests.toy_network import toy_network

SAMPLERS = {
    "euler_maruyama": PredictorCorrector(VPSDE(), 1000),
    "probability_flow": PredictorCorrector(VPSDE(), 1000, probability_flow=True),
    "heun": Heun(VPSDE(), 64),
    "heun_ve": Heun(VESDE(), 64, sigma_max=50.0),
}


def _keys(key, count, first=0):
    return image_keys(key, jnp.arange(first, first + count))


def _gaussian_score(sde, mean, std):
    def score(x, t):
        a = per_image(sde.mean_coeff(t), x)
        variance = (a * std) ** 2 + per_image(sde.std(t) ** 2, x)
        return -(x - a * mean) / variance

    return score


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("sampler_steps*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize("prefix", ["em", "ve_em"])
def test_step_agrees_with_the_original(path, prefix):
    data = np.load(path)
    sde = VESDE() if prefix == "ve_em" else VPSDE()
    # The score is taken from the file: the original rounds its standard deviation near t = 0.
    score = jnp.asarray(data["ve_score" if prefix == "ve_em" else "score"])
    x, t, z = (jnp.asarray(data[k]) for k in ("x", "t", "z"))
    got = euler_maruyama(sde.reverse(lambda x, t: score), x, t, z=z, num_steps=1000)
    for value, name in zip(got, ("x", "x_mean"), strict=True):
        np.testing.assert_allclose(value, data[f"{prefix}_{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("sampler_runs_*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize("denoise", [True, False])
def test_whole_run_agrees_with_the_original(path, denoise, key):
    data = np.load(path)
    prior, noise = jnp.asarray(data["prior"]), jnp.asarray(data["noise"])
    steps = int(path.stem.rsplit("_N")[1])

    def stored(keys, step, shape):
        return prior if isinstance(step, int) and step == START else noise[step]

    sampler = PredictorCorrector(VPSDE(), steps, noise_removal=denoise, noise=stored)
    score = noise_score(toy_network(data["abc"]), VPSDE())
    images, nfe = sampler(_keys(key, prior.shape[0]), score, prior.shape)
    want = data[f"euler_maruyama__none__denoise{int(denoise)}"]
    np.testing.assert_allclose((images + 1) / 2, want, rtol=1e-3, atol=1e-4)
    assert nfe == steps


@pytest.mark.parametrize("name", SAMPLERS)
def test_gaussian_data_come_back_with_their_moments(name, key):
    sampler = SAMPLERS[name]
    score = _gaussian_score(sampler.sde, mean=0.3, std=0.2)
    images, _ = jax.jit(sampler, static_argnums=(1, 2))(_keys(key, 64), score, (64, 16, 16, 1))
    # 16384 draws: the mean is known to 0.0016, the deviation to 0.0011; the rest is the step size.
    np.testing.assert_allclose(images.mean(), 0.3, atol=0.008)
    np.testing.assert_allclose(images.std(), 0.2, atol=0.006)


@pytest.mark.parametrize("name", SAMPLERS)
def test_point_mass_samples_back_to_the_point(name, key):
    sampler = SAMPLERS[name]
    score = _gaussian_score(sampler.sde, mean=-0.4, std=0.0)
    images, _ = jax.jit(sampler, static_argnums=(1, 2))(_keys(key, 2), score, (2, 4, 4, 1))
    # The ODE stops at eps, where noise of standard deviation 0.0105 is left and no step removes it.
    left = 4 * 0.0105 if name == "probability_flow" else 5e-3
    np.testing.assert_allclose(images, -0.4, atol=left)


@pytest.mark.parametrize("name", ["euler_maruyama", "heun"])
def test_image_depends_on_its_own_key_only(name, key):
    sampler = {"euler_maruyama": PredictorCorrector(VPSDE(), 20), "heun": Heun(VPSDE(), 6)}[name]
    score = _gaussian_score(sampler.sde, mean=0.0, std=0.5)
    whole, _ = sampler(_keys(key, 5), score, (5, 4, 4, 1))
    tail, _ = sampler(_keys(key, 2, first=3), score, (2, 4, 4, 1))
    np.testing.assert_allclose(whole[3:], tail, rtol=1e-6, atol=1e-7)
    assert jnp.abs(whole[0] - whole[1]).max() > 0.01


@pytest.mark.parametrize("name", ["euler_maruyama", "heun"])
def test_chunks_of_steps_equal_the_whole_run(name, key):
    sampler = {"euler_maruyama": PredictorCorrector(VPSDE(), 20), "heun": Heun(VPSDE(), 6)}[name]
    score = _gaussian_score(sampler.sde, mean=0.0, std=0.5)
    keys, shape = _keys(key, 2), (2, 4, 4, 1)
    state = sampler.start(keys, shape)
    for first in range(0, sampler.num_steps, 4):
        stop = min(first + 4, sampler.num_steps)
        state = sampler.advance(state, keys, score, first=first, stop=stop)
    np.testing.assert_allclose(sampler.finish(state), sampler(keys, score, shape).images, rtol=1e-6)


def test_heun_counts_its_evaluations():
    calls = []

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    sampler = Heun(VPSDE(), 18)
    jax.block_until_ready(sampler(_keys(jax.random.key(0), 1), counting, (1, 2, 2, 1)).images)
    assert len(calls) == sampler.nfe == 35


def test_heun_converges_with_second_order(key):
    score = _gaussian_score(VPSDE(), mean=0.0, std=0.5)
    exact = 0.5 / np.sqrt(80.0**2 + 0.5**2) * 80.0

    def error(steps):
        sampler = Heun(VPSDE(), steps)
        images, _ = sampler(_keys(key, 1), score, (1, 8, 8, 1))
        start, _ = sampler.start(_keys(key, 1), (1, 8, 8, 1))
        return float(jnp.abs(images - exact * start / 80.0).max())

    assert 3.0 < error(16) / error(32) < 6.0


def test_noise_levels_fall_from_largest_to_zero():
    levels = edm_noise_levels(18, sigma_min=0.002, sigma_max=80.0)
    assert levels.shape == (19,) and levels[-1] == 0
    np.testing.assert_allclose(levels[jnp.array([0, 17])], [80.0, 0.002], rtol=1e-4)
    assert (jnp.diff(levels) < 0).all()
