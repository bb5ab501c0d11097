"""The losses: parity with the original, exact cases, independence of the split."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax import losses
from sgm_jax.score import (
    chain_noise,
    chain_score,
    denoiser_score,
    edm_denoiser,
    noise_score,
    score_denoiser,
    velocity_score,
)
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE, per_image
from tests.fixture_files import fixture_files
from tests.toy_network import toy_network

SDES = {"vp": VPSDE(), "subvp": SubVPSDE(), "ve": VESDE()}
CASES = list(itertools.product(SDES, (0, 1), (0, 1)))


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("losses*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize(("name", "mean", "weighting"), CASES)
def test_loss_agrees_with_the_original(path, name, mean, weighting):
    data = np.load(path)
    t = jnp.asarray(data["u"] * (1 - 1e-5) + 1e-5)
    got = losses.score_matching_loss(
        noise_score(toy_network(data["abc"]), SDES[name]),
        SDES[name],
        jnp.asarray(data["x"]),
        t=t,
        z=jnp.asarray(data["z"]),
        reduce_mean=bool(mean),
        likelihood_weighting=bool(weighting),
    ).mean()
    np.testing.assert_allclose(got, data[f"loss_{name}_mean{mean}_lw{weighting}"], rtol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("score_fn*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize(
    ("name", "key"), [("vp", "score_continuous"), ("subvp", "score_subvp"), ("ve", "score_ve")]
)
def test_score_agrees_with_the_original(path, name, key):
    data = np.load(path)
    score = noise_score(toy_network(data["abc"]), SDES[name])
    got = np.asarray(score(jnp.asarray(data["x"]), jnp.asarray(data["t"])))
    for row, t in enumerate(data["t"]):
        # Divided by a standard deviation that the original rounds (see fixtures/README.md).
        rounded = 1.3e-2 if t < 5e-4 else 1e-3 if t < 5e-3 else 2e-5
        rtol = 1e-5 if name == "ve" else rounded
        np.testing.assert_allclose(got[row], data[key][row], rtol=rtol, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("losses*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize("mean", [0, 1])
def test_ddpm_loss_agrees_with_the_original(path, mean):
    data = np.load(path)
    sde = VPSDE()
    x, z, index = (jnp.asarray(data[k]) for k in ("x", "z", "labels_discrete"))
    noise = chain_noise(toy_network(data["abc"]), sde)
    got = losses.chain_loss(noise, sde, x, index=index, z=z, reduce_mean=bool(mean)).mean()
    np.testing.assert_allclose(got, data[f"loss_ddpm_mean{mean}"], rtol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("score_fn*.npz"), ids=lambda p: p.stem)
def test_score_of_a_ddpm_network_agrees_with_the_original(path):
    data = np.load(path)
    score = chain_score(toy_network(data["abc"]), VPSDE())
    got = score(jnp.asarray(data["x"]), jnp.asarray(data["t"]))
    np.testing.assert_allclose(got, data["score_discrete"], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("sde", [VPSDE(50), VESDE(50)], ids=["ddpm", "smld"])
def test_a_chain_loss_is_zero_where_the_network_knows_the_noise(sde, key):
    x, z = jax.random.normal(key, (2, 3, 4, 4, 1))
    index = jnp.array([0, 20, 49])
    _, std = sde.chain(index)
    knowing = z if isinstance(sde, VPSDE) else -z / per_image(std, x)
    noise = chain_noise(lambda x, labels: knowing, sde)
    loss = losses.chain_loss(noise, sde, x, index=index, z=z)
    np.testing.assert_allclose(loss, 0, atol=1e-10)


def test_smld_counts_its_labels_from_the_largest_noise(key):
    sde, seen = VESDE(50), []

    def network(x, labels):
        seen.append(np.asarray(labels))
        return jnp.zeros_like(x)

    x = jax.random.normal(key, (2, 4, 4, 1))
    chain_score(network, sde)(x, jnp.array([1.0, 0.0]))
    losses.chain_loss(chain_noise(network, sde), sde, x, index=jnp.array([49, 0]), z=x)
    np.testing.assert_array_equal(seen, [[0, 49], [0, 49]])
    np.testing.assert_allclose(sde.chain(jnp.array([0, 49]))[1], [0.01, 50.0], rtol=1e-5)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_loss_is_zero_where_the_network_knows_the_noise(sde, key):
    x, z = jax.random.normal(key, (2, 3, 4, 4, 1))
    t = jnp.array([0.1, 0.5, 0.9])
    std = per_image(sde.std(t), x)
    loss = losses.score_matching_loss(lambda x, t: -z / std, sde, x, t=t, z=z)
    np.testing.assert_allclose(loss, 0, atol=1e-12)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_true_score_of_gaussian_data_has_the_smallest_loss(sde, key):
    x, z = jax.random.normal(key, (2, 20_000, 1, 1, 1)) * jnp.array([0.5, 1]).reshape(2, 1, 1, 1, 1)
    t = jnp.full(20_000, 0.4)
    variance = (0.5 * sde.mean_coeff(t)) ** 2 + sde.std(t) ** 2

    def loss(factor):
        return losses.score_matching_loss(
            lambda x, t: -factor * x / per_image(variance, x), sde, x, t=t, z=z
        ).mean()

    assert loss(1.0) < min(loss(0.8), loss(1.2))


def test_perfect_denoiser_has_no_edm_loss_and_zero_network_costs_one(key):
    x, z = jax.random.normal(key, (2, 50, 16, 16, 1))
    x = 0.1 * x
    sigma = jnp.linspace(0.01, 3.0, 50)
    kw = {"sigma": sigma, "z": z, "sigma_data": 0.1}
    np.testing.assert_allclose(losses.edm_loss(lambda y, s: x, x, **kw), 0)
    # With data of the stated deviation the preconditioned target has unit variance at every level.
    zero = edm_denoiser(lambda x, labels: jnp.zeros_like(x), 0.1)
    np.testing.assert_allclose(losses.edm_loss(zero, x, **kw), 1, rtol=0.35)
    np.testing.assert_allclose(losses.edm_loss(zero, x, **kw).mean(), 1, rtol=0.03)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_score_and_denoiser_convert_back_and_forth(sde, key):
    def denoiser(y, sigma):
        return jnp.tanh(y) / (1 + per_image(sigma, y))

    y = jax.random.normal(key, (4, 5, 5, 1))
    sigma = jnp.array([0.02, 0.3, 2.0, 30.0])
    back = score_denoiser(denoiser_score(denoiser, sde), sde)
    np.testing.assert_allclose(back(y, sigma), denoiser(y, sigma), atol=2e-4)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_a_network_that_knows_the_velocity_gives_the_score(sde, key):
    x0, z = jax.random.normal(key, (2, 3, 4, 4, 1))
    t = jnp.array([0.1, 0.5, 0.9])
    a, std = (per_image(v, x0) for v in (sde.mean_coeff(t), sde.std(t)))
    velocity = (a * z - std * x0) / jnp.hypot(a, std)
    got = velocity_score(lambda x, labels: velocity, sde)(a * x0 + std * z, t)
    np.testing.assert_allclose(got, -z / std, rtol=2e-3, atol=1e-4)


def test_velocity_weighting_is_the_squared_error_of_the_velocity(key):
    sde, network = VPSDE(), toy_network([0.7, 0.3, 0.2])
    x0, z = jax.random.normal(key, (2, 3, 4, 4, 1))
    t = jnp.array([0.1, 0.5, 0.9])
    a, std = (per_image(v, x0) for v in (sde.mean_coeff(t), sde.std(t)))
    want = (network(a * x0 + std * z, 999 * t) - (a * z - std * x0)) ** 2
    score, weight = velocity_score(network, sde), losses.WEIGHTS["velocity"]
    got = losses.score_matching_loss(score, sde, x0, t=t, z=z, weight=weight)
    np.testing.assert_allclose(got, want.mean((1, 2, 3)), rtol=2e-3)


def test_min_snr_caps_the_weight_of_little_noise():
    level = jnp.array([0.01, 5**-0.5, 3.0])
    np.testing.assert_allclose(losses.WEIGHTS["min_snr"](level), [5e-4, 1, 1], rtol=1e-5)


def _constant_network(params, key, index):
    return lambda x, labels: params["w"] * x


def test_balanced_levels_weigh_the_loss_of_each_level_and_nothing_else(key):
    batch = {"image": jax.random.normal(key, (4, 8, 8, 1)), "index": jnp.arange(4)}
    for sigma, largest in ((1e-4, 16.0), (1e4, 16 / 17)):
        weight = losses.balancing_weight(jnp.array(sigma), 0.3)
        np.testing.assert_allclose(weight, largest, rtol=1e-3)
        plain, balanced = (
            losses.edm(
                _constant_network,
                lambda network: edm_denoiser(network, 0.3),
                sigma_data=0.3,
                p_mean=np.log(sigma),
                p_std=1e-6,
                balanced=flag,
            )({"w": 0.1}, key, batch)[0]
            for flag in (False, True)
        )
        np.testing.assert_allclose(balanced, weight * plain, rtol=1e-4)


@pytest.mark.parametrize("objective", ["noise", "chain", "edm"])
def test_loss_does_not_depend_on_how_the_batch_is_split(objective, key):
    sde = VPSDE()
    loss_fn = {
        "noise": losses.noise_prediction(_constant_network, lambda n: noise_score(n, sde), sde),
        "chain": losses.chain_prediction(_constant_network, sde),
        "edm": losses.edm(
            _constant_network, lambda n: edm_denoiser(n, 0.3), sigma_data=0.3, p_mean=-1, p_std=1
        ),
    }[objective]
    params = {"w": jnp.float32(0.7)}
    batch = {"image": jax.random.normal(key, (8, 4, 4, 1)), "index": jnp.arange(8)}
    whole, _ = loss_fn(params, key, batch)
    halves = [{k: v[i::2] for k, v in batch.items()} for i in range(2)]
    parts = [loss_fn(params, key, half)[0] for half in halves]
    np.testing.assert_allclose(whole, np.mean(parts), rtol=1e-6)
