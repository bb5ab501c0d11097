"""Losses of two networks that learn from each other, and the penalty that holds one of them back.

A discriminator maps images to one number each, high for real ones; a generator makes images whose
number is to be high.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class AdversarialLoss(NamedTuple):
    """What the discriminator loses; the generator always loses minus the mean of its outputs.

    Attributes:
        discriminator: of its outputs for real and for generated images ``[B]``, a scalar.
        penalised: the slope of the discriminator needs a penalty, see :func:`gradient_penalty`.
    """

    discriminator: Callable[[Array, Array], Array]
    penalised: bool


def hinge(real: Array, generated: Array) -> Array:
    """Return the hinge loss: real images are to be above 1, others below -1 (arXiv:1705.02894)."""
    return jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + generated).mean()


def wasserstein(real: Array, generated: Array) -> Array:
    """Return minus the difference that a critic sees (arXiv:1701.07875, eq. 2)."""
    return generated.mean() - real.mean()


LOSSES = {
    "hinge": AdversarialLoss(hinge, penalised=False),
    "wgan_gp": AdversarialLoss(wasserstein, penalised=True),
}


def generator_loss(generated: Array) -> Array:
    """Return what the generator loses, of the discriminator's outputs for its images ``[B]``."""
    return -generated.mean()


def gradient_penalty(
    critic: Callable[[Array], Array], real: Array, generated: Array, share: Array
) -> Array:
    """Return how far the slope of a critic is from 1 between images (arXiv:1704.00028, eq. 3).

    Args:
        critic: of images ``[B, ...]``, each of which has its own output ``[B]``.
        real: images.
        generated: images of the same shape.
        share: of the real image in each mixture, ``[B]`` in 0..1.

    Returns:
        The mean of ``(|gradient| - 1)^2``, without its weight.
    """
    share = share.reshape(-1, *(1,) * (real.ndim - 1))
    mixed = share * real + (1 - share) * generated
    gradient = jax.grad(lambda x: critic(x).sum())(mixed)
    squares = (gradient**2).reshape(len(mixed), -1).sum(1)
    # The root has no slope at 0, where a critic that is dead lies.
    length = jnp.sqrt(jnp.maximum(squares, 1e-12))
    return ((length - 1) ** 2).mean()
