"""Scores of Gaussian images, which are known in closed form at all noise levels."""

import jax.numpy as jnp

from sgm_jax.sde import per_image


def gaussian_score(sde, covariance):
    """Return the score of rows of pixels with this covariance."""
    values, vectors = jnp.linalg.eigh(covariance)

    def score(x, t):
        modes = jnp.einsum("bhwc,wk->bhkc", x, vectors)
        variance = sde.mean_coeff(t)[:, None] ** 2 * values[None, :] + sde.std(t)[:, None] ** 2
        return -jnp.einsum("bhkc,wk->bhwc", modes / variance[:, None, :, None], vectors)

    return score


def white(sde, spread, mean=0.0):
    """Return the score of independent pixels of this deviation and mean."""

    def score(x, t):
        coefficient, std = per_image(sde.mean_coeff(t), x), per_image(sde.std(t), x)
        return -(x - coefficient * mean) / ((coefficient * spread) ** 2 + std**2)

    return score
