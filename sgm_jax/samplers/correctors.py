"""Correctors: Markov chain steps at one noise level (Song et al., arXiv:2011.13456, appendix G).

A corrector maps ``(sde, score_fn, x, t, *, z, snr)`` to x ``[B, H, W, C]`` after one step of
Langevin dynamics at time t, and its mean without the noise of that step.
"""

from collections.abc import Callable

import jax.numpy as jnp

from sgm_jax.sde import SDE, Array, ScoreFn, per_image

Corrector = Callable[..., tuple[Array, Array]]


def langevin(
    sde: SDE, score_fn: ScoreFn, x: Array, t: Array, *, z: Array, snr: float
) -> tuple[Array, Array]:
    """Take a Langevin step whose length follows the signal-to-noise ratio (algorithms 4 and 5).

    The norms of score and noise are those of each image. The original averages them over the batch,
    which makes an image depend on its neighbours; :func:`batch_langevin` does that.
    """
    score = score_fn(x, t)
    return _langevin(sde, x, t, score=score, z=z, size=snr * _norm(z) / _norm(score))


def batch_langevin(
    sde: SDE, score_fn: ScoreFn, x: Array, t: Array, *, z: Array, snr: float
) -> tuple[Array, Array]:
    """Take the original's Langevin step, with norms averaged over the batch on this device."""
    score = score_fn(x, t)
    size = snr * _norm(z).mean(keepdims=True) / _norm(score).mean(keepdims=True)
    return _langevin(sde, x, t, score=score, z=z, size=jnp.broadcast_to(size, t.shape))


def annealed_langevin(
    sde: SDE, score_fn: ScoreFn, x: Array, t: Array, *, z: Array, snr: float
) -> tuple[Array, Array]:
    """Take a Langevin step in proportion to the noise level (arXiv:1907.05600)."""
    return _langevin(sde, x, t, score=score_fn(x, t), z=z, size=snr * sde.std(t))


CORRECTORS: dict[str, Corrector] = {
    "langevin": langevin,
    "batch_langevin": batch_langevin,
    "ald": annealed_langevin,
}


def _langevin(
    sde: SDE, x: Array, t: Array, *, score: Array, z: Array, size: Array
) -> tuple[Array, Array]:
    step = 2 * sde.langevin_alpha(t) * size**2
    x_mean = x + per_image(step, x) * score
    return x_mean + per_image(jnp.sqrt(2 * step), x) * z, x_mean


def _norm(values: Array) -> Array:
    return jnp.sqrt(jnp.sum(values**2, axis=tuple(range(1, values.ndim))))
