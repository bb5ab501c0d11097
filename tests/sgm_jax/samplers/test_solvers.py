"""Solvers on a grid of noise levels: their order, their limits, their grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.grids import GRIDS
from sgm_jax.samplers.predictors import ancestral_sampling
from sgm_jax.samplers.solvers import NoiseLevelSampler, ddim, dpm_solver, dpm_solver_sde, heun
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE
from tests.gaussian_scores import white

SHAPE = (1, 8, 8, 1)
SPREAD = 0.5
SIGMA_MAX = 40.0


def error(solver, steps, sde, grid="log_snr"):
    """Return the largest distance from where the probability flow ends for Gaussian data."""
    options = {"solver": solver, "grid": GRIDS[grid], "sigma_max": SIGMA_MAX}
    sampler = NoiseLevelSampler(sde, steps, sigma_min=0.02, **options)
    keys = image_keys(jax.random.key(1), jnp.arange(1))
    start, _ = sampler.start(keys, SHAPE)
    exact = SPREAD / np.sqrt(SIGMA_MAX**2 + SPREAD**2) * start
    return float(jnp.abs(sampler(keys, white(sde, SPREAD), SHAPE).images - exact).max())


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    ("solver", "low", "high"), [(ddim, 1.8, 2.3), (heun, 3.0, 6.0), (dpm_solver, 3.0, 6.0)]
)
def test_halving_the_step_divides_the_error_as_the_order_says(solver, low, high, sde):
    assert low < error(solver, 16, sde) / error(solver, 32, sde) < high


@pytest.mark.parametrize("solver", [heun, dpm_solver])
def test_second_order_beats_first_at_equal_evaluations(solver):
    steps = 48 if solver is heun else 96
    assert error(solver, steps, VPSDE()) < 0.5 * error(ddim, 96, VPSDE())


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", GRIDS)
def test_levels_fall_from_the_largest_to_the_smallest_and_to_zero(name, sde):
    levels = GRIDS[name](sde, 18, sigma_min=0.02, sigma_max=40.0, rho=7.0)
    assert levels.shape == (19,) and levels[-1] == 0
    np.testing.assert_allclose(levels[jnp.array([0, 17])], [40.0, 0.02], rtol=2e-3)
    assert (jnp.diff(levels) < 0).all()


def test_the_karras_grid_has_its_published_levels():
    levels = GRIDS["edm"](VPSDE(), 18, sigma_min=0.002, sigma_max=80.0, rho=7.0)
    by_hand = (80 ** (1 / 7) + 5 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels[5], by_hand, rtol=1e-5)


def test_equal_times_are_what_the_predictors_see():
    sde = VPSDE()
    levels = GRIDS["time"](sde, 10, sigma_min=0.02, sigma_max=40.0)
    times = sde.time_at(levels[:-1])
    np.testing.assert_allclose(jnp.diff(times), jnp.diff(times).mean(), rtol=1e-3)
    roots = jnp.sqrt(sde.time_at(GRIDS["quadratic"](sde, 10, sigma_min=0.02, sigma_max=40.0)[:-1]))
    np.testing.assert_allclose(jnp.diff(roots), jnp.diff(roots).mean(), rtol=1e-3)


def test_ddim_with_fresh_noise_is_ancestral_sampling_under_ve():
    sde = VESDE(num_scales=100)
    x, z = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 1))
    t = jnp.full((3,), 60 / 99 + 1e-6)
    here, there = (level[0] for level in sde.grid_sigmas(t))
    score = jnp.sin(x)
    want, _ = ancestral_sampling(sde.reverse(lambda x, t: score), x, t, z=z, num_steps=100)

    def denoise(y, sigma):
        return y + sigma**2 * score

    got, _ = ddim(denoise, x, x, levels=(here, here, there), z=z, eta=1.0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_fresh_noise_keeps_the_marginal_variance():
    y, z = jax.random.normal(jax.random.key(3), (2, 1, 64, 64, 16))
    y = jnp.sqrt(SPREAD**2 + 9.0) * y

    def denoise(y, sigma):
        return y * SPREAD**2 / (SPREAD**2 + sigma**2)

    levels = (jnp.float32(3.0), jnp.float32(3.0), jnp.float32(2.9))
    for solver in (ddim, dpm_solver_sde):
        options = {"eta": 0.7} if solver is ddim else {}
        there, _ = solver(denoise, y, jnp.zeros_like(y), levels=levels, z=z, **options)
        # 65,536 draws give the variance to 0.55 %, and the step its own small error.
        np.testing.assert_allclose(there.var(), SPREAD**2 + 2.9**2, rtol=0.02)


def test_noise_beyond_that_of_the_sde_is_refused():
    NoiseLevelSampler(VESDE(sigma_max=50.0), 10, sigma_max=50.0)
    with pytest.raises(ValueError, match=r"sigma_max 80.0 is beyond .* 50; lower it"):
        NoiseLevelSampler(VESDE(sigma_max=50.0), 10, sigma_max=80.0)
