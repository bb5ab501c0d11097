"""Networks between a random vector and an image, and between an image and one number.

They are those of DCGAN (arXiv:1511.06434), with two changes for images that are drawn one by one:
features are normalised pixel by pixel and not over a batch, and the grid is doubled by
:class:`sgm_jax.models.double.Double`.

A condition enters a generator beside the random vector, and a discriminator by a projection
(arXiv:1802.05637): to its output it adds the product of what it saw with the condition's vector.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.double import Double

Array = jax.Array
# Of negative features, what goes on.
_SLOPE = 0.2


def pixel_norm(x: Array) -> Array:
    """Divide the features of each pixel by their root mean square (arXiv:1710.10196, eq. 1)."""
    return x * jax.lax.rsqrt((x**2).mean(axis=-1, keepdims=True) + 1e-8)


def with_deviation(x: Array, size: int) -> Array:
    """Append how much images of a group differ, as one more feature of ``[B, H, W, C]``.

    A discriminator that sees it knows a generator that always draws the same (arXiv:1710.10196,
    section 3). Groups are of neighbours in the batch, of at most ``size`` images: so, unlike a
    statistic of the whole batch, it does not depend on the number of devices.
    """
    batch, height, width, channels = x.shape
    size = math.gcd(batch, size)
    groups = x.reshape(-1, size, height, width, channels)
    deviation = jnp.sqrt(groups.var(axis=1) + 1e-8).mean(axis=(1, 2, 3))
    told = jnp.broadcast_to(deviation.repeat(size)[:, None, None, None], (batch, height, width, 1))
    return jnp.concatenate([x, told], axis=-1)


class Convolutional(nn.Module):
    """Random numbers to the outputs of an image, from a coarse grid to ever finer ones.

    Attributes:
        size: height and width of the image.
        channels: of the features of each grid, coarse ones first; the image is twice as fine as the
            last of them.
    """

    size: tuple[int, int]
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array, vector: Array | None) -> Array:
        """Map ``[B, N]``, and the condition's vector ``[B, E]``, to ``[B, H, W, 1]``."""
        by = 2 ** len(self.channels)
        first = (self.size[0] // by, self.size[1] // by, self.channels[0])
        x = nn.Dense(math.prod(first), name="first")(beside(z, vector))
        x = pixel_norm(nn.leaky_relu(x.reshape(-1, *first), _SLOPE))
        for channels in self.channels[1:]:
            x = pixel_norm(nn.leaky_relu(Double(channels)(x), _SLOPE))
        return Double(1, name="last")(x)


class Judge(nn.Module):
    """Images to one number each: the mirror image of :class:`Convolutional`.

    Attributes:
        channels: as there.
        features: numbers that it has seen at the end.
        group: images that are compared, see :func:`with_deviation`; 0 for none.
    """

    channels: tuple[int, ...]
    features: int
    group: int

    @nn.compact
    def __call__(self, x: Array, vector: Array | None) -> Array:
        """Map ``[B, H, W, 1]``, and the condition's vector ``[B, features]``, to ``[B]``."""
        for channels in self.channels[::-1]:
            x = nn.leaky_relu(nn.Conv(channels, (4, 4), (2, 2))(x), _SLOPE)
        return Verdict(self.features, self.group, name="verdict")(x, vector)


class Verdict(nn.Module):
    """Features of an image to one number; attributes as of :class:`Judge`."""

    features: int
    group: int

    @nn.compact
    def __call__(self, x: Array, vector: Array | None) -> Array:
        """Map ``[B, h, w, C]``, and the condition's vector ``[B, features]``, to ``[B]``."""
        if self.group:
            x = with_deviation(x, self.group)
        seen = nn.Dense(self.features, name="seen")(x.reshape(len(x), -1))
        seen = nn.leaky_relu(seen, _SLOPE)
        output = nn.Dense(1, name="output")(seen)[:, 0]
        return output if vector is None else output + (seen * vector).sum(axis=-1)


def beside(z: Array, vector: Array | None) -> Array:
    """Return random numbers and the vector of a condition, if there is one, ``[B, N + E]``."""
    return z if vector is None else jnp.concatenate([z, vector], axis=-1)
