"""Whole levels of charge as numbers that a flow can learn: noise in between, then a logit.

A flow is a density, and levels are points. So noise is added within a level, and what is learnt is
a lower bound of their probability (arXiv:1511.01844). Levels below the first lit one do not occur,
and all of their room belongs to dark pixels: their noise has a density that vanishes at both ends,
so that no wall stands between dark and faint.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sgm_jax.data.normalise import Transform

Array = jax.Array


class Noised(NamedTuple):
    """Numbers, and the logarithms of the densities that their noise was drawn from."""

    values: Array
    log_noise: Array


def dequantise(key: Array, levels: Array, first: int) -> Noised:
    """Add noise to whole levels, those from ``n`` on to ``[n, n + 1)``, zeros to ``[0, first)``.

    Args:
        key: of the noise.
        levels: zeros, and numbers of at least ``first``, of any shape.
        first: the lowest level but zero.
    """
    noise = jax.random.uniform(key, (2, *levels.shape), minval=1e-6)
    middle = (noise[0] + noise[1]) / 2
    triangle = jnp.log(4 * jnp.minimum(middle, 1 - middle) / first)
    dark = levels == 0
    values = jnp.where(dark, first * middle, levels.astype(noise.dtype) + noise[0])
    return Noised(values, jnp.where(dark, triangle, 0.0))


def quantise(values: Array, first: int) -> Array:
    """Return the whole levels of numbers, the inverse of :func:`dequantise`."""
    return jnp.where(values < first, 0.0, jnp.floor(values))


def log_transform(gain: float) -> Transform:
    """Return a logarithmic map of 0..1 to itself, nearly linear below ``1 / gain``."""
    whole = math.log1p(gain)
    return Transform(
        lambda q: jnp.log1p(gain * q) / whole,
        lambda x: jnp.expm1(x * whole) / gain,
        lambda q: math.log(gain / whole) - jnp.log1p(gain * q),
    )


@dataclasses.dataclass(frozen=True)
class LogitScale:
    """Charges as numbers without bounds, of mean 0 and standard deviation 1.

    A charge is a share q of the largest, and becomes logit(alpha + (1 - 2 alpha) transform(q)). As
    alpha is above 0, neither no charge nor the largest one is infinite.

    Attributes:
        top: the largest charge.
        transform: of 0..1, before the logit.
        alpha: between 0 and 0.5.
        mean: of the logits.
        std: of the logits.
    """

    top: float
    transform: Transform
    alpha: float
    mean: float = 0.0
    std: float = 1.0

    def to_network(self, charge: Array) -> tuple[Array, Array]:
        """Return the numbers of charges, and the logarithms of how fast they rise with them."""
        q = charge / self.top
        share = jnp.clip(self.transform.forward(q), 0, 1)
        # Of numbers near 1 the difference from 1 has few digits left, so it is computed apart.
        low, high = self._inner(share), self._inner(1 - share)
        slope = self.transform.log_slope(q) - math.log(self.top * self.std)
        log_slope = slope + math.log(1 - 2 * self.alpha) - jnp.log(low) - jnp.log(high)
        return (jnp.log(low) - jnp.log(high) - self.mean) / self.std, log_slope

    def from_network(self, y: Array) -> Array:
        """Return the charges of numbers, at least 0 and at most the largest."""
        share = (jax.nn.sigmoid(y * self.std + self.mean) - self.alpha) / (1 - 2 * self.alpha)
        return self.top * self.transform.inverse(jnp.clip(share, 0, 1))

    def _inner(self, share: Array) -> Array:
        return self.alpha + (1 - 2 * self.alpha) * share
