"""Encoders and decoders with codes between them, on one level (arXiv:1711.00937) or on two.

On two levels (VQ-VAE-2, arXiv:1906.00446) the codes of a coarse grid are chosen first; those of the
fine grid see them, and the decoder sees both.

A network does not know its codebooks: ``encode`` is told how to quantise.
"""

from collections.abc import Callable
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.generators.vqvae.codebook import Quantised
from sgm_jax.models.double import Double

Array = jax.Array
# From the number of a level and its encodings to what becomes of them.
Quantiser = Callable[[int, Array], Quantised]


class Autoencoder(Protocol):
    """A Flax module between images and vectors of codes.

    Attributes:
        shrinks: by how much the grid of each level is smaller than the image, coarse ones first.
    """

    shrinks: tuple[int, ...]

    def encode(self, x: Array, quantise: Quantiser, train: bool = False) -> tuple[Quantised, ...]:
        """Return what becomes of what is seen of images ``[B, H, W, C]``, level by level."""

    def decode(self, vectors: tuple[Array, ...]) -> Array:
        """Return outputs ``[B, H, W, features]`` of the vectors of each level."""

    def __call__(self, x: Array, quantise: Quantiser, train: bool = False) -> Array:
        """Return the outputs for images."""


class Residual(nn.Module):
    """A block of two convolutions, beside which its input goes on."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, h, w, C]`` to the same shape."""
        channels = x.shape[-1]
        h = nn.Conv(max(channels // 2, 1), (3, 3), name="first")(nn.relu(x))
        return x + nn.Conv(channels, (1, 1), name="last")(nn.relu(h))


class Down(nn.Module):
    """Halve the grid once for each number of channels, then look around."""

    channels: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, h, w, C]`` to features of a smaller grid."""
        for channels in self.channels:
            x = nn.relu(nn.Conv(channels, (4, 4), (2, 2))(x))
        x = nn.Conv(self.channels[-1], (3, 3))(x)
        for _ in range(self.blocks):
            x = Residual()(x)
        return nn.relu(x)


class Up(nn.Module):
    """Look around, then double the grid once for each number of channels."""

    channels: tuple[int, ...]
    blocks: int
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, h, w, C]`` to features of a larger grid."""
        x = nn.Conv(self.channels[0], (3, 3))(x)
        for _ in range(self.blocks):
            x = Residual()(x)
        x = nn.relu(x)
        for channels in self.channels[1:]:
            x = nn.relu(Double(channels)(x))
        return Double(self.features, name="last")(x)


class OneLevel(nn.Module):
    """Codes on one grid.

    Attributes:
        channels: of the features after each halving.
        blocks: residual blocks of each part.
        size: of an encoding.
        features: of the outputs.
    """

    channels: tuple[int, ...]
    blocks: int
    size: int
    features: int

    @property
    def shrinks(self) -> tuple[int, ...]:
        """Two for each halving."""
        return (2 ** len(self.channels),)

    def setup(self) -> None:
        """Name the parts."""
        self.down = Down(self.channels, self.blocks)
        self.encoding = nn.Conv(self.size, (1, 1))
        self.up = Up(self.channels[::-1], self.blocks, self.features)

    def encode(self, x: Array, quantise: Quantiser, train: bool = False) -> tuple[Quantised, ...]:
        """Return what becomes of images."""
        del train
        return (quantise(0, self.encoding(self.down(x))),)

    def decode(self, vectors: tuple[Array, ...]) -> Array:
        """Return the outputs."""
        return self.up(vectors[0])

    def __call__(self, x: Array, quantise: Quantiser, train: bool = False) -> Array:
        """Return the outputs for images."""
        return self.decode(tuple(q.passed for q in self.encode(x, quantise, train)))


class TwoLevels(nn.Module):
    """Codes on a coarse grid, then on one twice as fine; attributes as of :class:`OneLevel`."""

    channels: tuple[int, ...]
    blocks: int
    size: int
    features: int

    @property
    def shrinks(self) -> tuple[int, ...]:
        """Two for each halving, and two more on the coarse grid."""
        fine = 2 ** len(self.channels)
        return (2 * fine, fine)

    def setup(self) -> None:
        """Name the parts."""
        last = self.channels[-1:]
        self.down = Down(self.channels, self.blocks)
        self.down_top = Down(last, self.blocks)
        self.encoding_top, self.encoding = (nn.Conv(self.size, (1, 1)) for _ in range(2))
        self.up_top = Up(last, self.blocks, last[0])
        self.lift = Double(self.size)
        self.up = Up(self.channels[::-1], self.blocks, self.features)

    def encode(self, x: Array, quantise: Quantiser, train: bool = False) -> tuple[Quantised, ...]:
        """Return what becomes of images, on the coarse grid and on the fine one."""
        del train
        h = self.down(x)
        top = quantise(0, self.encoding_top(self.down_top(h)))
        known = jnp.concatenate([h, self.up_top(top.passed)], axis=-1)
        return top, quantise(1, self.encoding(known))

    def decode(self, vectors: tuple[Array, ...]) -> Array:
        """Return the outputs."""
        top, bottom = vectors
        return self.up(jnp.concatenate([self.lift(top), bottom], axis=-1))

    def __call__(self, x: Array, quantise: Quantiser, train: bool = False) -> Array:
        """Return the outputs for images."""
        return self.decode(tuple(q.passed for q in self.encode(x, quantise, train)))
