"""Predictors and correctors against the original's arrays."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.samplers.base import START, image_keys
from sgm_jax.samplers.correctors import annealed_langevin, batch_langevin, langevin
from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.samplers.predictors import (
    PREDICTORS,
    ancestral_sampling,
    euler_maruyama,
    reverse_diffusion,
)
from sgm_jax.score import noise_score
from sgm_jax.sde import VESDE, VPSDE
from tests.fixture_files import fixture_files
from tests.toy_network import toy_network

STEPS = fixture_files("sampler_steps*.npz")
RUNS = fixture_files("sampler_runs_*.npz")
PREDICTIONS = {"em": euler_maruyama, "rd": reverse_diffusion, "as": ancestral_sampling}
# prefix: corrector, snr, the names of the noises it uses in turn
CORRECTIONS = {
    "langevin1": (batch_langevin, 0.16, ["z"]),
    "langevin2": (batch_langevin, 0.05, ["z", "z2"]),
    "ald1": (annealed_langevin, 0.16, ["z"]),
    "ve_langevin1": (batch_langevin, 0.16, ["z"]),
}


def _compare(got, data, prefix, of_largest=0.0):
    for value, name in zip(got, ("x", "x_mean"), strict=True):
        want = data[f"{prefix}_{name}"]
        atol = 1e-5 + of_largest * np.abs(want).max()
        np.testing.assert_allclose(value, want, rtol=1e-5, atol=atol, err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize("path", STEPS, ids=lambda p: p.stem)
@pytest.mark.parametrize("prefix", [*PREDICTIONS, "rd_ode", *(f"ve_{p}" for p in PREDICTIONS)])
def test_a_prediction_agrees_with_the_original(path, prefix):
    data = np.load(path)
    ve = prefix.startswith("ve_")
    # The score is taken from the file: the original rounds its standard deviation near t = 0.
    score = jnp.asarray(data["ve_score" if ve else "score"])
    reverse = (VESDE() if ve else VPSDE()).reverse(lambda x, t: score, prefix == "rd_ode")
    x, t, z = (jnp.asarray(data[k]) for k in ("x", "t", "z"))
    predictor = PREDICTIONS[prefix.removeprefix("ve_").removesuffix("_ode")]
    # The VE step is a difference of squares, 1.7 % of either: their last bit, which depends on how
    # the exponential is compiled, is 1e-5 of it.
    of_largest = 5e-5 if ve else 0.0
    _compare(predictor(reverse, x, t, z=z, num_steps=1000), data, prefix, of_largest)


@pytest.mark.parity
@pytest.mark.parametrize("path", STEPS, ids=lambda p: p.stem)
@pytest.mark.parametrize("prefix", CORRECTIONS)
def test_a_correction_agrees_with_the_original(path, prefix):
    data = np.load(path)
    corrector, snr, noises = CORRECTIONS[prefix]
    ve = prefix.startswith("ve_")
    sde = VESDE() if ve else VPSDE()
    network = toy_network(data["abc"])
    x, t = jnp.asarray(data["x"]), jnp.asarray(data["t"])
    labels = sde.std(t) if ve else 999.0 * t
    # Near t = 0 the original rounds the standard deviation it divides by: take its quotient.
    quotient = data["ve_score" if ve else "score"] / np.asarray(network(x, labels))
    scale = jnp.asarray(np.median(quotient, (1, 2, 3), keepdims=True))

    def score(x, t):
        return scale * network(x, labels)

    for name in noises:
        x, x_mean = corrector(sde, score, x, t, z=jnp.asarray(data[name]), snr=snr)
    _compare((x, x_mean), data, prefix)


@pytest.mark.parity
@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
@pytest.mark.parametrize(
    ("predictor", "corrector", "denoise"),
    [
        (predictor, corrector, denoise)
        for predictor, corrector, denoise in itertools.product(
            PREDICTORS, ("none", "langevin"), (True, False)
        )
        if (predictor, corrector) != ("none", "none")
    ],
)
def test_a_whole_run_agrees_with_the_original(path, predictor, corrector, denoise, key):
    data = np.load(path)
    prior, noise, steps = jnp.asarray(data["prior"]), jnp.asarray(data["noise"]), int(data["N"])
    per_step = (corrector != "none") + (predictor != "none")

    def stored(keys, number, shape):
        if isinstance(number, int) and number == START:
            return prior
        # A step consumes the noise of its correction first, then that of its prediction.
        step, corrects = number % steps, number // steps
        return noise[per_step * step + jnp.where(corrects, 0, per_step - 1)]

    sde = VPSDE(steps)
    sampler = PredictorCorrector(
        sde,
        steps,
        predictor=PREDICTORS[predictor],
        corrector=batch_langevin if corrector == "langevin" else None,
        snr=float(data["snr"]),
        eps=float(data["eps"]),
        noise_removal=denoise,
        noise=stored,
    )
    keys = image_keys(key, jnp.arange(prior.shape[0]))
    score = noise_score(toy_network(data["abc"]), sde)
    images, nfe = jax.jit(sampler, static_argnums=(1, 2))(keys, score, prior.shape)
    want = data[f"{predictor}__{corrector}__denoise{int(denoise)}"]
    np.testing.assert_allclose((images + 1) / 2, want, rtol=1e-3, atol=1e-4)
    assert nfe == steps * per_step


def test_the_batch_moves_an_image_in_the_original_and_not_in_ours(key):
    x, z = jax.random.normal(key, (2, 3, 4, 4, 1))
    t = jnp.full((3,), 0.5)
    options = {"z": z, "snr": 0.2}

    def score(x, t):
        return -x * jnp.array([1.0, 5.0, 0.2])[: len(x), None, None, None]

    def alone(corrector):
        return corrector(VPSDE(), score, x[:1], t[:1], z=z[:1], snr=0.2)[0][0]

    def among_others(corrector):
        return corrector(VPSDE(), score, x, t, **options)[0][0]

    np.testing.assert_allclose(alone(langevin), among_others(langevin), rtol=1e-6)
    assert jnp.abs(alone(batch_langevin) - among_others(batch_langevin)).max() > 0.01
