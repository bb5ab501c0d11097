"""Where the particle goes: what a momentum says of each place of an image, as features.

A vector that is the same for all pixels says the direction only in numbers; the network would have
to learn the map of every angle. Here each place is told where it lies as seen along the momentum:
how far along, how far aside. The particle begins in the middle of the image.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Under this name the layers lie in the parameters of a network.
MAP = "momentum_map"
# Places of the components down and to the right in a momentum, as in sgm_jax.data.condition.
_IN_PLANE = slice(1, 3)
# Widths of bands along the momentum, as shares of the image: one pixel of 64, three and ten.
_BANDS = (1 / 64, 3 / 64, 10 / 64)
_SMALLEST = 1e-6


class MomentumMap(nn.Module):
    """Features of each place, to be added to those of an image.

    The last layer begins with zeros: a network that gets one gives the numbers that it gave before.
    An image of any momentum gets zeros always.

    Attributes:
        features: of each place.
        side: places to a side.
        momentum_scale: in MeV/c, a momentum of ordinary size.
        activation: between the layers.
    """

    features: int
    side: int
    momentum_scale: float
    activation: Callable[[jax.Array], jax.Array] = nn.swish

    @nn.compact
    def __call__(self, momentum: jax.Array, embedding: jax.Array) -> jax.Array:
        """Map momenta in MeV/c ``[B, 3]``, NaN for any, to ``[B, side, side, features]``.

        What is seen where also depends on the time and the condition: ``embedding`` ``[B, E]``.
        """
        asked = ~jnp.isnan(momentum).any(axis=-1, keepdims=True)
        # A gradient through NaN would be NaN, too.
        known = jnp.where(asked, momentum / self.momentum_scale, 1.0)
        h = nn.Dense(self.features, name="places")(seen_along(known, self.side))
        told = nn.Dense(self.features, name="told")(self.activation(embedding))
        h = self.activation(h + told[:, None, None, :])
        zeros = nn.initializers.zeros
        last = nn.Dense(self.features, use_bias=False, kernel_init=zeros, name="last")(h)
        return jnp.where(asked[:, :, None, None], last, 0.0)


def seen_along(momentum: jax.Array, side: int) -> jax.Array:
    """Return where each place lies, as seen from the middle along momenta.

    Args:
        momentum: ``[B, 3]``, of any unit.
        side: places to a side.

    Returns:
        ``[B, side, side, 9]``: distance along and aside, as shares of half the image, the distance
        aside without its sign, the component of the momentum in the plane, and bands along its
        direction of three widths, before and behind the middle apart for the widest.
    """
    place = (np.arange(side) - (side - 1) / 2) * (2 / side)
    down, right = jnp.asarray(np.stack(np.meshgrid(place, place, indexing="ij")), momentum.dtype)
    in_plane = momentum[:, _IN_PLANE]
    length = jnp.sqrt((in_plane**2).sum(axis=-1, keepdims=True) + _SMALLEST**2)
    unit = (in_plane / length)[:, :, None, None]
    along = unit[:, 0] * down[None] + unit[:, 1] * right[None]
    aside = unit[:, 0] * right[None] - unit[:, 1] * down[None]
    # Half a side is 1 here, so a share of the image is twice as much.
    bands = [jnp.exp(-0.5 * (aside / (2 * width)) ** 2) for width in _BANDS]
    ahead = jax.nn.sigmoid(along * side)
    size = jnp.broadcast_to(length[:, :, None], along.shape)
    parts = [along, aside, jnp.abs(aside), size, *(band * ahead for band in bands)]
    parts += [bands[-1] * (1 - ahead), jnp.exp(-0.5 * (along**2 + aside**2) / 0.1**2)]
    return jnp.stack(parts, axis=-1)
