"""A density of particle and momentum, whose parameters a network gives.

It is a mixture. Kind k has a probability, and momenta of that kind are normal, with a full
covariance, in three coordinates: the logarithm of the size, whose resolution is relative, and the
direction's components down the rows and to the right. So a size and an angle in the plane that an
image shows well are not blurred by the angle out of it, which it hardly shows. The third component
follows from the two but for its sign, and both signs look the same.

The coordinates' own volume is left out: it belongs to the momentum alone and moves no image.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sgm_jax.data.condition import DOWN, RIGHT
from sgm_jax.models.condition import Condition

Array = jax.Array

_COORDINATES = 3
# Means, widths, and how each coordinate depends on those before it.
_NUMBERS = 3 * _COORDINATES
# No image tells a momentum better than to 1 %; without it, single images would be learnt by heart.
_NARROWEST = 0.01
_SMALLEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Density:
    """Log-probabilities of conditions from what a network says of images.

    Attributes:
        fields: of a condition, "particle", "momentum" or both.
        num_particles: kinds of particle.
        momentum_scale: in MeV/c, a momentum of ordinary size.
    """

    fields: tuple[str, ...]
    num_particles: int
    momentum_scale: float

    @property
    def num_outputs(self) -> int:
        """How many numbers the network gives for an image."""
        return self._kinds * (1 + _NUMBERS * ("momentum" in self.fields))

    @property
    def _kinds(self) -> int:
        return self.num_particles if "particle" in self.fields else 1

    def log_prob(self, outputs: Array, condition: Condition) -> Array:
        """Return the log-probability of each image's condition, ``[B]`` in nats.

        What is not asked is summed over: a momentum of any particle has the density of the mixture,
        and a particle of any momentum its probability alone.

        Args:
            outputs: of the network, ``[B, num_outputs]``.
            condition: with all :attr:`fields`, see :mod:`sgm_jax.models.condition`.
        """
        outputs = outputs.reshape(outputs.shape[0], self._kinds, -1)
        nats = jax.nn.log_softmax(outputs[..., 0], axis=1)
        if "momentum" in self.fields:
            momentum = condition["momentum"]
            asked = ~jnp.isnan(momentum).any(axis=1, keepdims=True)
            # The gradient would be NaN wherever a NaN went through.
            known = jnp.where(asked, momentum, self.momentum_scale)
            nats = nats + jnp.where(asked, _normal(outputs[..., 1:], self.coordinates(known)), 0.0)
        any_kind = jax.nn.logsumexp(nats, axis=1)
        if "particle" not in self.fields:
            return any_kind
        kind = condition["particle"]
        this_kind = jnp.take_along_axis(nats, jnp.maximum(kind, 0)[:, None], axis=1)[:, 0]
        return jnp.where(kind < 0, any_kind, this_kind)

    def coordinates(self, momentum: Array) -> Array:
        """Map momenta ``[B, 3]`` in MeV/c to what is normal, ``[B, 3]``."""
        size = jnp.maximum(jnp.linalg.norm(momentum, axis=1), _SMALLEST)
        parts = (jnp.log(size / self.momentum_scale), *(momentum[:, (DOWN, RIGHT)].T / size[None]))
        return jnp.stack(parts, axis=1)


def _normal(numbers: Array, y: Array) -> Array:
    """Return the log-density of coordinates ``[B, 3]`` for each kind, ``[B, K]``.

    Each coordinate is normal given those before it, which is any covariance, without conditions on
    the numbers ``[B, K, 9]``.
    """
    mean, raw, slopes = jnp.split(numbers, 3, axis=-1)
    width = _NARROWEST + jax.nn.softplus(raw)
    off = y[:, None] - mean
    first, second = off[..., 0], off[..., 1]
    expected = (
        jnp.zeros_like(first),
        slopes[..., 0] * first,
        slopes[..., 1] * first + slopes[..., 2] * second,
    )
    return jax.scipy.stats.norm.logpdf((off - jnp.stack(expected, axis=-1)) / width).sum(
        -1
    ) - jnp.log(width).sum(-1)
