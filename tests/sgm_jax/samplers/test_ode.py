"""The probability-flow ODE: parity, closed forms, round trips, one image one path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.samplers import ode
from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.ode import ProbabilityFlow, flow, solve
from sgm_jax.score import noise_score
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE, per_image
from tests.fixture_files import fixture_files
from tests.gaussian_scores import white
from tests.toy_network import toy_network

TO_DATA = {"first": 1.0, "last": 1e-3}
TO_NOISE = {"first": 1e-3, "last": 1.0}
RUNS = fixture_files("sampler_runs_*.npz")
ABC = (0.7, 0.3, 0.2)


def spread_at(sde, spread, time):
    return jnp.sqrt((sde.mean_coeff(time) * spread) ** 2 + sde.std(time) ** 2)


@pytest.mark.parity
@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_the_flow_agrees_with_the_original(path):
    data = np.load(path)
    score = noise_score(toy_network(data["abc"]), VPSDE(int(data["N"])))
    sampler = ProbabilityFlow(
        VPSDE(int(data["N"])),
        eps=float(data["eps"]),
        noise_removal=False,
        noise=lambda *_: jnp.asarray(data["prior"]),
    )
    keys = image_keys(jax.random.key(0), jnp.arange(len(data["prior"])))
    images, nfe = jax.jit(sampler, static_argnums=(1, 2))(keys, score, data["prior"].shape)
    np.testing.assert_allclose((images + 1) / 2, data["ode_x"], atol=1e-3)
    # Theirs are the steps of the whole batch, and none is too long.
    np.testing.assert_allclose(nfe, data["ode_nfe"], rtol=0.2)


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=lambda s: type(s).__name__)
def test_gaussian_pixels_keep_their_quantile(sde, key):
    # So many because in 3 of 100 a step that is long by chance would jump over the image.
    latents = sde.prior_std * jax.random.normal(key, (400, 4, 4, 1))
    images = jax.jit(lambda x: flow(sde, white(sde, 0.2), x, **TO_DATA)[0])(latents)
    ratio = spread_at(sde, 0.2, jnp.float32(1e-3)) / spread_at(sde, 0.2, jnp.float32(1.0))
    np.testing.assert_allclose(images, ratio * latents, atol=2e-4)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_the_error_is_of_the_order_of_the_tolerance(tolerance):
    def field(y, t):
        return -5 * per_image(t, y) * y

    y, _ = solve(field, jnp.ones((1, 3, 3, 1)), first=0.1, last=1.0, rtol=tolerance, atol=tolerance)
    error = np.abs(y - np.exp(-2.5 * 0.99)).max()
    # 32 bits stop at 1e-7; the sum over a dozen steps may exceed one step's tolerance.
    assert 1e-8 < error < 5 * tolerance


@pytest.mark.parametrize("sde", [VPSDE(), VESDE()], ids=lambda s: type(s).__name__)
def test_an_encoded_image_decodes_to_itself(sde, key):
    images = jnp.tanh(jax.random.normal(key, (3, 4, 4, 1)))
    score = noise_score(toy_network(ABC), sde) if isinstance(sde, VPSDE) else _squeezed(sde)
    # To float32's accuracy latents of deviation 50 carry 5e-6, which the way back widens.
    latents = jax.jit(lambda x: flow(sde, score, x, **TO_NOISE, rtol=1e-6, atol=1e-6)[0])(images)
    back = jax.jit(lambda z: flow(sde, score, z, **TO_DATA, rtol=1e-6, atol=1e-6)[0])(latents)
    np.testing.assert_allclose(back, images, atol=1e-3)
    assert jnp.abs(latents - images).max() > 0.1


def _squeezed(sde):
    """Return the score of one hump with tails, not a Gaussian's."""
    plain = white(sde, 0.5)
    return lambda x, t: plain(x, t) * (1 + 0.3 * jnp.sin(x) ** 2)


def test_an_image_takes_its_own_steps_whoever_is_beside_it(key):
    sde = VPSDE()
    spreads = jnp.array([1.0, 0.01, 0.3])
    x = jax.random.normal(key, (3, 4, 4, 1))

    # The field holds something for each image, and arguments of the compiled function.
    @jax.jit
    def run(x, spreads):
        def score(x, t):
            variance = (sde.mean_coeff(t) * spreads) ** 2 + sde.std(t) ** 2
            return -x / per_image(variance, x)

        return flow(sde, score, x, **TO_DATA)

    together = run(x, spreads)
    for i in range(3):
        alone = run(x[i : i + 1], spreads[i : i + 1])
        np.testing.assert_allclose(alone[0][0], together[0][i], rtol=1e-5, atol=1e-6)
        assert alone[1][0] == together[1][i]
    assert together[1][1] > together[1][0]


def test_the_evaluations_reported_are_those_made(key):
    calls = []
    plain = noise_score(toy_network(ABC), VPSDE())

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return plain(x, t)

    images, nfe = ProbabilityFlow(VPSDE())(image_keys(key, jnp.arange(1)), counting, (1, 4, 4, 1))
    jax.block_until_ready(images)
    jax.effects_barrier()
    assert len(calls) == nfe[0] > 20


def test_the_sampler_draws_gaussian_data_and_points(key):
    keys = image_keys(key, jnp.arange(16))
    shape = (16, 16, 16, 1)
    draw = jax.jit(ProbabilityFlow(VPSDE()), static_argnums=(1, 2))
    images = draw(keys, white(VPSDE(), 0.2), shape).images
    # 4096 draws know the deviation to 1.1 %.
    np.testing.assert_allclose(images.std(), 0.2, rtol=0.035)
    # The last denoising takes away the noise of time eps, 0.0105.
    points = draw(keys, white(VPSDE(), 0.0), shape).images
    np.testing.assert_allclose(points, 0.0, atol=1e-4)


def test_an_unfinished_path_is_no_image(key, monkeypatch):
    monkeypatch.setattr(ode, "MAX_STEPS", 3)
    latents = jax.random.normal(key, (1, 2, 2, 1))
    images, _ = flow(VPSDE(), white(VPSDE(), 0.1), latents, **TO_DATA)
    assert jnp.isnan(images).all()
