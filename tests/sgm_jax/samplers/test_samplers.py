"""Samplers: parity with the original, analytic cases, one image one key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.correctors import annealed_langevin, langevin
from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.samplers.predictors import ancestral_sampling, no_prediction, reverse_diffusion
from sgm_jax.samplers.solvers import NoiseLevelSampler, ddim, dpm_solver, dpm_solver_sde
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE
from tests.gaussian_scores import white

SAMPLERS = {
    "euler_maruyama": PredictorCorrector(VPSDE(), 1000),
    "probability_flow": PredictorCorrector(VPSDE(), 1000, probability_flow=True),
    "reverse_diffusion": PredictorCorrector(VPSDE(), 1000, predictor=reverse_diffusion),
    "ancestral": PredictorCorrector(VPSDE(), 1000, predictor=ancestral_sampling),
    "ancestral_ve": PredictorCorrector(VESDE(), 1000, predictor=ancestral_sampling, eps=1e-5),
    "langevin": PredictorCorrector(VPSDE(), 1000, corrector=langevin, snr=0.05),
    "langevin_sub_vp": PredictorCorrector(SubVPSDE(), 1000, corrector=langevin, snr=0.05),
    "annealed_ve": PredictorCorrector(
        VESDE(), 1000, predictor=reverse_diffusion, corrector=annealed_langevin, snr=0.05, eps=1e-5
    ),
    "heun": NoiseLevelSampler(VPSDE(), 64),
    "heun_ve": NoiseLevelSampler(VESDE(), 64, sigma_max=50.0),
    "ddim": NoiseLevelSampler(VPSDE(), 512, solver=ddim),
    "ddim_afresh": NoiseLevelSampler(VPSDE(), 512, solver=ddim, eta=1.0),
    "dpm_solver": NoiseLevelSampler(VPSDE(), 64, solver=dpm_solver),
    "dpm_solver_sub_vp": NoiseLevelSampler(SubVPSDE(), 64, solver=dpm_solver),
    "dpm_solver_sde_ve": NoiseLevelSampler(VESDE(), 128, solver=dpm_solver_sde, sigma_max=50.0),
}

SHORT = {
    "euler_maruyama": PredictorCorrector(VPSDE(20), 20),
    "corrected": PredictorCorrector(
        VPSDE(20), 20, predictor=reverse_diffusion, corrector=langevin, corrector_steps=2
    ),
    "heun": NoiseLevelSampler(VPSDE(), 6),
    "dpm_solver_sde": NoiseLevelSampler(VPSDE(), 6, solver=dpm_solver_sde),
}


def _keys(key, count, first=0):
    return image_keys(key, jnp.arange(first, first + count))


@pytest.mark.parametrize("name", SAMPLERS)
def test_gaussian_data_come_back_with_their_moments(name, key):
    sampler = SAMPLERS[name]
    score = white(sampler.sde, 0.2, mean=0.3)
    images, _ = jax.jit(sampler, static_argnums=(1, 2))(_keys(key, 64), score, (64, 16, 16, 1))
    # 16384 draws: the mean is known to 0.0016, the deviation to 0.0011; the rest is the step size.
    np.testing.assert_allclose(images.mean(), 0.3, atol=0.008)
    np.testing.assert_allclose(images.std(), 0.2, atol=0.006)


@pytest.mark.parametrize("name", SAMPLERS)
def test_point_mass_samples_back_to_the_point(name, key):
    sampler = SAMPLERS[name]
    score = white(sampler.sde, 0.0, mean=-0.4)
    images, _ = jax.jit(sampler, static_argnums=(1, 2))(_keys(key, 2), score, (2, 4, 4, 1))
    # The ODE stops at eps, where noise of standard deviation 0.0105 is left and no step removes it.
    left = 4 * 0.0105 if name == "probability_flow" else 5e-3
    np.testing.assert_allclose(images, -0.4, atol=left)


@pytest.mark.parametrize("name", SHORT)
def test_image_depends_on_its_own_key_only(name, key):
    sampler = SHORT[name]
    score = white(sampler.sde, 0.5)
    whole, _ = sampler(_keys(key, 5), score, (5, 4, 4, 1))
    tail, _ = sampler(_keys(key, 2, first=3), score, (2, 4, 4, 1))
    np.testing.assert_allclose(whole[3:], tail, rtol=1e-6, atol=1e-7)
    assert jnp.abs(whole[0] - whole[1]).max() > 0.01


@pytest.mark.parametrize("name", SHORT)
def test_chunks_of_steps_equal_the_whole_run(name, key):
    sampler = SHORT[name]
    score = white(sampler.sde, 0.5)
    keys, shape = _keys(key, 2), (2, 4, 4, 1)
    state = sampler.start(keys, shape)
    for first in range(0, sampler.num_steps, 4):
        stop = min(first + 4, sampler.num_steps)
        state = sampler.advance(state, keys, score, first=first, stop=stop)
    np.testing.assert_allclose(sampler.finish(state), sampler(keys, score, shape).images, rtol=1e-6)


@pytest.mark.parametrize(
    ("sampler", "count"),
    [
        (NoiseLevelSampler(VPSDE(), 18), 35),
        (NoiseLevelSampler(VPSDE(), 18, solver=dpm_solver), 18),
        (PredictorCorrector(VPSDE(), 7), 7),
        (PredictorCorrector(VPSDE(), 7, corrector=annealed_langevin, corrector_steps=2), 21),
        (PredictorCorrector(VPSDE(), 7, predictor=no_prediction, corrector=langevin), 7),
        (PredictorCorrector(VPSDE(), 7, predictor=no_prediction), 0),
    ],
)
def test_the_evaluations_reported_are_those_made(sampler, count):
    calls = []

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    jax.block_until_ready(sampler(_keys(jax.random.key(0), 1), counting, (1, 2, 2, 1)).images)
    assert len(calls) == sampler.nfe == count


@pytest.mark.parametrize(
    ("sde", "flow", "message"),
    [(SubVPSDE(), False, "not for SubVPSDE"), (VPSDE(), True, "cannot follow the probability")],
)
def test_ancestral_sampling_is_refused_where_it_is_not_defined(sde, flow, message):
    with pytest.raises(ValueError, match=message):
        PredictorCorrector(sde, 10, predictor=ancestral_sampling, probability_flow=flow)


def test_a_corrector_alone_draws_from_the_distribution_it_is_at(key):
    def score(x, t):
        return -x

    walk = PredictorCorrector(
        VPSDE(), 300, predictor=no_prediction, corrector=langevin, snr=0.3, noise_removal=False
    )
    x, _ = walk(_keys(key, 64), score, (64, 8, 8, 1))
    # Steps of 2 * 0.3^2 = 0.18 widen a standard normal by 1 / (1 - 0.18 / 2) in variance.
    np.testing.assert_allclose(x.var(), 1 / (1 - 0.09), rtol=0.06)
    np.testing.assert_allclose(x.mean(), 0.0, atol=0.03)
