"""What bounds latents against closed forms, and their kernel density against scipy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgm_jax.generators.bibae.latents import discrepancy, divergence, drawn, rolled, updated
from sgm_jax.generators.bibae.networks import LatentCritic

RNG = np.random.default_rng(0)
KEPT = jnp.asarray(RNG.normal(size=(300, 3)) @ RNG.normal(size=(3, 3)) + 2, jnp.float32)


def test_the_divergence_is_that_of_normals():
    mean, log_variance = (RNG.normal(size=(2, 3)).astype(np.float32) for _ in range(2))
    z = np.linspace(-30, 30, 60_001)
    expected = np.zeros(2)
    for image, latent in np.ndindex(2, 3):
        spread = np.exp(log_variance[image, latent] / 2)
        own = scipy.stats.norm(mean[image, latent], spread)
        ratio = own.logpdf(z) - scipy.stats.norm.logpdf(z)
        expected[image] += np.trapezoid(own.pdf(z) * ratio, z)
    np.testing.assert_allclose(divergence(mean, log_variance), expected, rtol=1e-4)
    np.testing.assert_allclose(divergence(jnp.zeros((1, 3)), jnp.zeros((1, 3))), 0, atol=1e-6)


def test_the_discrepancy_of_two_points_is_what_their_kernels_say():
    first, second = jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0]])
    expected = 4 - 2 * (np.exp(-25) + np.exp(-0.25))
    np.testing.assert_allclose(discrepancy(first, second), expected, rtol=1e-5)
    np.testing.assert_allclose(discrepancy(KEPT, KEPT[::-1]), 0, atol=1e-5)


def test_the_discrepancy_sees_what_the_mean_does_not():
    normal, other = (jnp.asarray(RNG.normal(size=(200, 2)), jnp.float32) for _ in range(2))
    floor = discrepancy(normal, other)
    assert discrepancy(normal, 2 * other) > 5 * floor
    # Its slope leads there: wider than the normal, they are to shrink.
    slope = jax.jit(jax.grad(lambda scale: discrepancy(normal, scale * other)))(2.0)
    assert slope > 0


def test_drawn_latents_have_mean_and_covariance_of_a_kernel_density():
    keys = jax.random.split(jax.random.key(0), 20_000)
    sample = np.asarray(jax.jit(drawn)(keys, KEPT), np.float64)
    density = scipy.stats.gaussian_kde(np.asarray(KEPT, np.float64).T)
    mean = np.asarray(KEPT, np.float64).mean(0)
    # A latent, and a kernel around it.
    expected = np.cov(np.asarray(KEPT).T, bias=True) + density.covariance
    variances = np.diag(expected)
    np.testing.assert_array_less(np.abs(sample.mean(0) - mean), 5 * np.sqrt(variances / 20_000))
    scale = np.sqrt(np.outer(variances, variances))
    off = np.abs(np.cov(sample.T) - expected) / scale
    np.testing.assert_array_less(off, 5 * (2 / 20_000) ** 0.5)
    # Not only the moments: so often they lie where the density says.
    middle = density.integrate_box(mean - 1, mean + 1)
    inside = (np.abs(sample - mean) < 1).all(1).mean()
    np.testing.assert_allclose(inside, middle, atol=5 * (middle / 20_000) ** 0.5)


def test_what_is_drawn_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(0), 6)
    np.testing.assert_allclose(drawn(keys[2:4], KEPT), drawn(keys, KEPT)[2:4], rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_buffer_rolls_on_whatever_device_an_image_is_on(devices):
    kept = jnp.zeros((5, 2))
    written = np.zeros((5, 2))
    for step in range(3):
        places = step * 4 + np.arange(4)
        latents = np.stack([places + 1.0, -places - 1.0], axis=1).astype(np.float32)
        shares = [np.array_split(part, devices) for part in (places, latents)]
        news = [rolled(kept, *share) for share in zip(*shares, strict=True)]
        mean = jax.tree.map(lambda *parts: sum(parts) / devices, *news)
        kept = updated(kept, *mean)
        written[places % 5] = latents
    np.testing.assert_allclose(kept, written, rtol=1e-6)
    assert set(np.asarray(kept)[:, 0]) == {8, 9, 10, 11, 12}


def test_the_latent_critic_looks_at_each_number_alone():
    critic, z = LatentCritic(), jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
    params = jax.jit(lambda key: critic.init(key, z)["params"])(jax.random.key(0))
    judged = jax.jit(lambda z: critic.apply({"params": params}, z))
    np.testing.assert_allclose(judged(z[:, ::-1]), judged(z), rtol=1e-5, atol=1e-6)
    single = np.stack([judged(z[:, n : n + 1]) for n in range(3)])
    np.testing.assert_allclose(judged(z), single.mean(0), rtol=1e-4, atol=1e-6)
