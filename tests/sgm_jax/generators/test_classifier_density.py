"""The density of particle and momentum: normalised, and what is not asked is summed over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sgm_jax.generators.classifier_density import Density
from sgm_jax.models.condition import of_images

FIELDS = ("particle", "momentum")
DENSITY = Density(FIELDS, 3, 500.0)


@pytest.fixture
def outputs(key):
    """What a network may say of two images."""
    return jax.random.normal(key, (2, DENSITY.num_outputs))


def shown(count, **fields):
    return of_images(FIELDS, count) | {name: jnp.asarray(rows) for name, rows in fields.items()}


def momenta_at(y):
    """Return momenta ``[N, 3]`` with these coordinates: log size, down and right."""
    size, down, right = np.exp(y[:, 0]) * 500, y[:, 1], y[:, 2]
    sight = np.sqrt(np.maximum(1 - down**2 - right**2, 0))
    return np.float32(size[:, None] * np.stack([sight, down, right], axis=1))


def test_each_kind_has_a_normal_density_with_a_full_covariance(outputs):
    numbers = np.asarray(outputs, np.float64).reshape(2, 3, 10)
    rng = np.random.default_rng(0)
    y = np.stack([rng.normal(size=50), *rng.uniform(-0.6, 0.6, (2, 50))], axis=1)
    momentum = momenta_at(y)
    for image in range(2):
        logits = numbers[image, :, 0]
        for kind in range(3):
            mean, raw, (a, b, c) = np.split(numbers[image, kind, 1:], 3)
            width = 0.01 + np.log1p(np.exp(raw))
            # Each coordinate depends on those before it.
            lower = np.linalg.inv(np.array([[1, 0, 0], [-a, 1, 0], [-b, -c, 1]]))
            covariance = lower @ np.diag(width**2) @ lower.T
            want = multivariate_normal(mean, covariance).logpdf(y)
            want += logits[kind] - np.logaddexp.reduce(logits)
            condition = shown(50, particle=np.full(50, kind, np.int32), momentum=momentum)
            found = DENSITY.log_prob(jnp.repeat(outputs[image : image + 1], 50, axis=0), condition)
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_what_is_not_asked_is_summed_over(outputs):
    momentum = np.float32([[30, 200, -100], [300, 10, 700]])

    def log_prob(particle, momentum):
        return DENSITY.log_prob(outputs, shown(2, particle=np.int32(particle), momentum=momentum))

    each = np.stack([log_prob([k, k], momentum) for k in range(3)])
    any_kind = log_prob([-1, -1], momentum)
    np.testing.assert_allclose(any_kind, np.logaddexp.reduce(each), rtol=1e-5)
    nothing = np.full((2, 3), np.nan, np.float32)
    kinds = np.stack([log_prob([k, k], nothing) for k in range(3)])
    np.testing.assert_allclose(np.exp(kinds).sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(log_prob([-1, -1], nothing), 0, atol=1e-6)
    # Fields that a network does not have are not there.
    particle = Density(("particle",), 3, 500.0)
    logits = outputs.reshape(2, 3, 10)[..., 0]
    found = particle.log_prob(logits, {"particle": jnp.array([2, 1])})
    np.testing.assert_allclose(found, [kinds[2, 0], kinds[1, 1]], rtol=1e-5)
    assert (particle.num_outputs, Density(("momentum",), 0, 500.0).num_outputs) == (3, 10)


def test_gradients_are_finite_whatever_is_asked(outputs):
    momentum = np.float32([[30, 200, -100], [np.nan] * 3])
    for particle in ([-1, 1], [2, -1]):
        condition = shown(2, particle=np.int32(particle), momentum=momentum)
        slope = jax.grad(lambda o, c=condition: DENSITY.log_prob(o, c).sum())(outputs)
        assert np.isfinite(slope).all() and jnp.abs(slope[0]).max() > 0
        # Of the second image no momentum is asked: its numbers do not matter.
        assert not slope[1].reshape(3, 10)[:, 1:].any()


def test_both_ways_along_the_line_of_sight_are_equally_probable(outputs):
    there = np.float32([[250, 200, -100], [300, 10, 700]])
    back = there * np.float32([-1, 1, 1])
    one, other = (DENSITY.log_prob(outputs, shown(2, momentum=m)) for m in (there, back))
    np.testing.assert_array_equal(one, other)
    assert (DENSITY.log_prob(outputs, shown(2, momentum=-there)) != one).all()
