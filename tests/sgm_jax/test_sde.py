"""The SDEs: parity with the original, and that marginals follow from drift and diffusion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE
from tests.fixture_files import fixture_files

KINDS = {"vpsde": VPSDE, "subvpsde": SubVPSDE, "vesde": VESDE}


def _tolerance(name, t):
    # The original loses digits of the VP standard deviation near t = 0 (see fixtures/README.md).
    if name == "vpsde":
        return 1e-2 if t < 5e-4 else 5e-4 if t < 5e-3 else 1e-5
    # Sub-VP has the square of VP's standard deviation, so twice VP's relative error.
    if name == "subvpsde":
        return 2e-2 if t < 5e-4 else 1e-3 if t < 5e-3 else 2e-5
    return 1e-5


def _assert_close(name, key, got, want, t):
    for row, time in enumerate(t):
        scale = np.abs(want[row]).max()
        # SMLD's step is the difference of neighbouring squares: two digits of seven are lost.
        cancels = name == "vesde" and "disc" in key
        # The original's DDPM step is a difference of images: it is exact to the images' last digit.
        last_digit = 1e-6 if key.endswith("disc_f") else 1e-9
        np.testing.assert_allclose(
            np.asarray(got)[row],
            want[row],
            rtol=1e-4 if cancels else _tolerance(name, time),
            atol=1e-6 * scale + last_digit,
            err_msg=f"{key} at t = {time}",
        )


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("sde_*.npz"), ids=lambda p: p.stem)
def test_sde_agrees_with_the_original(path):
    data = np.load(path)
    name = path.stem.split("_")[1]
    sde = KINDS[name](num_scales=int(data["N"]))
    x, t, score = (jnp.asarray(data[k]) for k in ("x", "t", "score"))
    reverse = sde.reverse(lambda x, t: score)
    flow = sde.reverse(lambda x, t: score, probability_flow=True)
    pairs = {
        ("mean", "std"): sde.marginal_prob(x, t),
        ("drift", "diffusion"): sde.sde(x, t),
        ("disc_f", "disc_G"): sde.discretize(x, t),
        ("rev_drift", "rev_diffusion"): reverse.sde(x, t),
        ("rev_disc_f", "rev_disc_G"): reverse.discretize(x, t),
        ("ode_drift", "ode_diffusion"): flow.sde(x, t),
        ("ode_disc_f", "ode_disc_G"): flow.discretize(x, t),
    }
    for keys, values in pairs.items():
        for key, value in zip(keys, values, strict=True):
            _assert_close(name, key, value, data[key], data["t"])
    np.testing.assert_allclose(sde.prior_logp(jnp.asarray(data["z"])), data["prior_logp"], 1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_marginal_solves_its_moment_equations(kind):
    sde = kind()
    t = jnp.linspace(0.05, 0.95, 7)
    ones = jnp.ones((7, 1))
    rate, diffusion = sde.sde(ones, t)
    slope = jax.vmap(jax.grad(lambda u: sde.mean_coeff(u[None])[0]))(t)
    np.testing.assert_allclose(slope, rate[:, 0] * sde.mean_coeff(t), rtol=1e-4, atol=1e-6)
    slope = jax.vmap(jax.grad(lambda u: sde.std(u[None])[0] ** 2))(t)
    want = 2 * rate[:, 0] * sde.std(t) ** 2 + diffusion**2
    np.testing.assert_allclose(slope, want, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_time_at_inverts_the_noise_level(kind):
    sde = kind()
    t = jnp.array([1e-4, 1e-3, 0.03, 0.4, 0.99])
    np.testing.assert_allclose(sde.time_at(sde.noise_level(t)), t, rtol=2e-4)


def test_vp_standard_deviation_is_exact_near_the_data():
    t = np.array([1e-7, 1e-5, 1e-3])
    integral = 0.5 * t**2 * 19.9 + 0.1 * t
    np.testing.assert_allclose(VPSDE().std(jnp.asarray(t)), np.sqrt(-np.expm1(-integral)), 1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_samplers_start_from_the_prior(kind, key):
    sde = kind()
    keys = jax.random.split(key, 4)
    noise, _ = PredictorCorrector(sde, 10).start(keys, (4, 64, 64, 1))
    # 16384 draws: the standard deviation is known to 0.55 %.
    np.testing.assert_allclose(noise.std(), sde.prior_std, rtol=0.03)
    want = norm.logpdf(noise, scale=sde.prior_std).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sde.prior_logp(noise), want, rtol=1e-5)
