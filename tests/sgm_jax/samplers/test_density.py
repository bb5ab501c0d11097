"""Likelihoods: parity, Gaussian closed forms, error bars, dequantisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgm_jax.data import PixelScale
from sgm_jax.data.normalise import TRANSFORMS
from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.density import dequantise, level_nats, log_density, log_probability
from sgm_jax.samplers.ode import flow
from sgm_jax.score import noise_score
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE, per_image
from tests.fixture_files import fixture_files
from tests.toy_network import toy_network

RUNS = fixture_files("sampler_runs_*.npz")
SDES = pytest.mark.parametrize(
    "sde", [VPSDE(), SubVPSDE(), VESDE()], ids=lambda s: type(s).__name__
)
SIDE = 4
EPS = 1e-3


def bits_per_dim(nats, dimensions):
    return -nats / (dimensions * np.log(2))


def signs(key, shape):
    return jax.random.rademacher(key, shape, jnp.float32)


def covariance():
    """Return a covariance of the pixels of an image, strongly correlated between neighbours."""
    place = jnp.stack(jnp.meshgrid(jnp.arange(SIDE), jnp.arange(SIDE)), -1).reshape(-1, 2)
    distance = jnp.abs(place[:, None] - place[None, :]).sum(-1)
    return 0.25 * 0.7 ** distance.astype(jnp.float32)


def correlated_score(sde):
    values, vectors = jnp.linalg.eigh(covariance())

    def score(x, t):
        modes = x.reshape(-1, SIDE**2) @ vectors
        variance = (sde.mean_coeff(t) ** 2)[:, None] * values[None, :] + sde.std(t)[:, None] ** 2
        return -(modes / variance @ vectors.T).reshape(x.shape)

    return score


@pytest.mark.parity
@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_bits_per_dimension_agree_with_the_original(path):
    data = {name: jnp.asarray(value) for name, value in np.load(path).items()}
    sde = VPSDE(int(data["N"]))
    score = noise_score(toy_network(data["abc"]), sde)
    probes = data["bpd_eps"][:, None]
    got = jax.jit(lambda x: log_density(sde, score, x, probes=probes))(data["bpd_data"])
    images = data["bpd_data"]
    charge = PixelScale(True).from_model(images)
    bits = bits_per_dim(level_nats(got.log_density, charge, PixelScale(True)), images[0].size)
    np.testing.assert_allclose(bits[:, 0], data["bpd"], atol=1e-3)
    np.testing.assert_allclose(got.latents, data["bpd_z"], atol=1e-3)
    # The original's two images share their steps, which the harder one decides.
    share = np.asarray(got.nfe) / np.asarray(data["bpd_nfe"])
    assert (share > 0.6).all() and (share < 1.1).all()


@SDES
def test_correlated_gaussian_data_have_their_density_within_the_error_bar(sde, key):
    count, probes = 8, 64
    x = jax.random.multivariate_normal(key, jnp.zeros(SIDE**2), covariance(), (count,))
    e = signs(jax.random.key(1), (count, probes, SIDE, SIDE, 1))
    images = x.reshape(-1, SIDE, SIDE, 1)
    got = jax.jit(lambda x: log_density(sde, correlated_score(sde), x, probes=e, eps=EPS))(images)
    scale, std = sde.mean_coeff(jnp.float32(EPS)), sde.std(jnp.float32(EPS))
    total = scale**2 * covariance() + std**2 * jnp.eye(SIDE**2)
    want = scipy.stats.multivariate_normal.logpdf(x, np.zeros(SIDE**2), total)
    error = got.log_density.std(1, ddof=1) / probes**0.5
    pull = (got.log_density.mean(1) - want) / error
    assert error.min() > 0.01 and jnp.abs(pull).max() < 3.5
    assert 0.3 < jnp.sqrt((pull**2).mean()) < 1.9
    back = jax.jit(lambda z: flow(sde, correlated_score(sde), z, first=1.0, last=EPS)[0])(
        got.latents
    )
    np.testing.assert_allclose(back, images, atol=1e-3)


@SDES
def test_signs_know_the_density_of_white_data_exactly(sde, key):
    def score(x, t):
        return -x / per_image(sde.mean_coeff(t) ** 2 * 0.09 + sde.std(t) ** 2, x)

    x = 0.3 * jax.random.normal(key, (2, 4, 4, 1))
    e = signs(key, (2, 1, 4, 4, 1))
    got = jax.jit(lambda x: log_density(sde, score, x, probes=e, eps=EPS).log_density)(x)
    t = jnp.float32(EPS)
    spread = jnp.sqrt(sde.mean_coeff(t) ** 2 * 0.09 + sde.std(t) ** 2)
    want = jax.scipy.stats.norm.logpdf(x, 0.0, spread).sum((1, 2, 3))
    np.testing.assert_allclose(got[:, 0], want, atol=5e-3)


def test_gaussian_probes_have_the_spread_that_theory_says_and_no_bias(key):
    # e . (c e) is c times a chi-square of 64 pixels, of variance 128. The integral of c is the
    # logarithm of the deviations' ratio between the two ends.
    sde = VPSDE()

    def score(x, t):
        return -x / per_image(sde.mean_coeff(t) ** 2 * 0.09 + sde.std(t) ** 2, x)

    x = jnp.zeros((1, 8, 8, 1))
    e = jax.random.normal(key, (1, 400, 8, 8, 1))
    got = jax.jit(lambda x: log_density(sde, score, x, probes=e, eps=EPS).log_density[0])(x)
    t = jnp.float32(EPS)
    first = jnp.sqrt(sde.mean_coeff(t) ** 2 * 0.09 + sde.std(t) ** 2)
    ratio = jnp.log(1.0 / first)
    want = jax.scipy.stats.norm.logpdf(x, 0.0, first).sum()
    np.testing.assert_allclose(got.std(), ratio * 128**0.5, rtol=0.12)
    np.testing.assert_allclose(got.mean(), want, atol=4 * float(ratio) * (128 / 400) ** 0.5)


def test_levels_fill_their_gaps_and_nothing_else(key):
    levels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    levels = jnp.repeat(levels, 50, axis=0)
    levels_and_noise = dequantise(levels, image_keys(key, jnp.arange(50)))
    filled = levels_and_noise * 256 / 255 - levels.astype(jnp.float32)
    assert -1e-3 < filled.min() < 0.01 and 0.99 < filled.max() < 1.001
    np.testing.assert_allclose(filled.mean(), 0.5, atol=0.01)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_flat_density_of_charges_has_eight_bits_on_every_scale(transform, centered):
    scale = PixelScale(centered, transform)
    charge = jnp.linspace(0.5, 254.5, 255).reshape(1, 15, 17, 1)
    # The density in network space of charges that are uniform on 0..255.
    slope = jax.vmap(jax.grad(scale.to_model))(charge.ravel())
    log_density = -255 * np.log(255.0) - jnp.log(slope).sum()
    bits = bits_per_dim(level_nats(log_density.reshape(1, 1), charge, scale), 255)
    np.testing.assert_allclose(bits, 8.0, rtol=1e-4)


def test_bits_come_with_an_error_and_depend_on_the_images_key_only(key):
    sde = VPSDE()
    images = jax.random.randint(key, (3, SIDE, SIDE, 1), 112, 144)
    keys = image_keys(key, jnp.arange(3))

    def run(images, keys, **options):
        score = correlated_score(sde)
        return log_probability(
            sde, score, images, keys=keys, scale=PixelScale(True), eps=EPS, **options
        )

    whole, last = jax.jit(run)(images, keys), jax.jit(run)(images[2:], keys[2:])
    np.testing.assert_allclose(whole.nats[2], last.nats[0], rtol=1e-5)
    assert (whole.stderr > 0.001).all() and whole.latents.shape == images.shape
    one = jax.jit(functools.partial(run, num_probes=1))(images[:1], keys[:1])
    assert jnp.isnan(one.stderr).all() and jnp.isfinite(one.nats).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": "uniform"}, "'uniform'; it can be: 'rademacher', 'gaussian'"),
        ({"num_probes": 0}, "num_probes is 0; it must be at least 1"),
    ],
)
def test_probes_that_there_are_not_are_refused(options, message, key):
    images, keys = jnp.zeros((1, SIDE, SIDE, 1)), image_keys(key, jnp.arange(1))
    score = correlated_score(VPSDE())
    with pytest.raises(ValueError, match=message):
        log_probability(VPSDE(), score, images, keys=keys, scale=PixelScale(True), **options)
