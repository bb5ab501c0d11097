"""Adversarial losses against what they are for a critic that is a line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.adversarial import LOSSES, generator_loss, gradient_penalty

RNG = np.random.default_rng(0)
REAL, GENERATED = (RNG.normal(size=(6, 2, 3, 1)).astype(np.float32) for _ in range(2))
SLOPE = RNG.normal(size=(1, 2, 3, 1)).astype(np.float32)


def line(images):
    return (images * SLOPE).sum((1, 2, 3))


def test_the_hinge_counts_what_is_within_the_margin():
    real, generated = jnp.array([3.0, 0.5, -2.0]), jnp.array([-4.0, -0.25, 1.0])
    loss = LOSSES["hinge"].discriminator(real, generated)
    np.testing.assert_allclose(loss, (0 + 0.5 + 3) / 3 + (0 + 0.75 + 2) / 3, rtol=1e-6)
    # Images that are told apart by more than the margin teach nothing.
    slope = jax.grad(LOSSES["hinge"].discriminator, argnums=(0, 1))(real, generated)
    np.testing.assert_allclose(slope[0], np.array([0, -1, -1]) / 3, rtol=1e-6)
    np.testing.assert_allclose(slope[1], np.array([0, 1, 1]) / 3, rtol=1e-6)


def test_of_a_line_the_wasserstein_loss_is_the_way_between_the_means():
    loss = LOSSES["wgan_gp"].discriminator(line(REAL), line(GENERATED))
    way = REAL.mean(0) - GENERATED.mean(0)
    np.testing.assert_allclose(loss, -(way * SLOPE).sum(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(generator_loss(line(GENERATED)), -line(GENERATED).mean())


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 4.0])
def test_of_a_line_the_penalty_is_how_far_its_slope_is_from_one(length):
    slope = length * SLOPE / np.linalg.norm(SLOPE)
    penalty = gradient_penalty(
        lambda x: (x * slope).sum((1, 2, 3)), REAL, GENERATED, jnp.linspace(0.0, 1.0, 6)
    )
    np.testing.assert_allclose(penalty, (length - 1) ** 2, atol=1e-5)


def test_the_penalty_looks_between_the_images():
    """Half the square of an image has a slope of its length there."""

    def critic(images):
        return 0.5 * (images**2).sum((1, 2, 3))

    share = jnp.linspace(0.0, 1.0, 6)
    mixed = np.asarray(share)[:, None, None, None] * (REAL - GENERATED) + GENERATED
    lengths = np.sqrt((mixed**2).sum((1, 2, 3)))
    penalty = jax.jit(lambda share: gradient_penalty(critic, REAL, GENERATED, share))(share)
    np.testing.assert_allclose(penalty, ((lengths - 1) ** 2).mean(), rtol=1e-5)


def test_a_dead_critic_can_learn():
    def penalty(weight):
        return gradient_penalty(lambda x: weight * line(x), REAL, GENERATED, jnp.ones(6))

    assert np.isfinite(jax.jit(jax.grad(penalty))(0.0))
