"""What a decoder says of an image: which pixels are lit and how brightly, or a charge for each.

A squared error of all pixels is one of the background, which most of them are. So here a decoder
says of each pixel whether it is lit (binary cross-entropy), and which charge it has if it is
(squared error, in network space). An image is that charge where a hit is more probable than not,
and exactly 0 elsewhere.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from sgm_jax.generators.autoregressive.heads import Gated, Levels, TruncatedNormal

Array = jax.Array

# In network space: what a spread is a multiple of, see TruncatedNormal.
_TENTH = 0.1
_TINY = 1e-12


class Output(Protocol):
    """From the numbers of a decoder to images and back.

    Attributes:
        features: how many numbers a decoder gives for each pixel.
        seen_features: how many an encoder sees of each.
        likelihood: there is a probability of whole levels.
    """

    features: int
    seen_features: int
    likelihood: bool

    def seen(self, images: Array) -> Array:
        """Return what an encoder sees of images in network space ``[B, H, W, 1]``."""

    def loss(self, outputs: Array, images: Array) -> tuple[Array, dict[str, Array]]:
        """Return the loss of each image, summed over pixels ``[B]``; and squares to follow."""

    def images(self, outputs: Array) -> Array:
        """Return the images in network space ``[B, H, W, 1]``."""


@dataclasses.dataclass(frozen=True)
class Hits:
    """A hit or none, and the charge of hits.

    Attributes:
        levels: that a pixel can have.
        charge_weight: of the squared error of the charge of a lit pixel.
    """

    levels: Levels
    charge_weight: float
    features: int = 2
    seen_features: int = 2
    likelihood: bool = True

    def values(self, images: Array) -> Array:
        """Return whole levels ``[B, H, W]`` of images in network space."""
        return self.levels.cut(self.levels.scale.from_model(images[..., 0]))

    def seen(self, images: Array) -> Array:
        """Return hits and charge."""
        return self.levels.embed(self.values(images))

    def loss(self, outputs: Array, images: Array) -> tuple[Array, dict[str, Array]]:
        """Return cross-entropy of hits and weighted squared error of their charge."""
        seen = self.seen(images)
        lit, charge = seen[..., 0], seen[..., 1]
        logit = self._logit(outputs)
        entropy = jax.nn.softplus(jnp.where(lit > 0, -logit, logit))
        squares = lit * (outputs[..., 1] - charge) ** 2
        wrong = ((logit > 0) != (lit > 0)).astype(jnp.float32)
        followed = {"square": squares.mean(), "lit": lit.mean(), "wrong": wrong.mean()}
        return (entropy + self.charge_weight * squares).sum((1, 2)), followed

    def images(self, outputs: Array) -> Array:
        """Return whole levels where a hit is more probable than not, and 0 elsewhere."""
        lit = self._logit(outputs) > 0
        levels = jnp.where(lit, self.levels.level_at(outputs[..., 1]), 0)
        return self.levels.scale.to_model(levels)[..., None]

    def log_prob(self, outputs: Array, values: Array, spread: Array) -> Array:
        """Return the log-probability ``[B]`` of whole levels ``[B, H, W]``.

        A pixel is lit with the probability of its hit. A lit one has the levels of a normal above
        the half level under the first, around the decoder's charge; each level has what lies
        between its halves.

        Args:
            outputs: of the decoder.
            values: levels, cut.
            spread: the normal's standard deviation in network space, a scalar.
        """
        width = jnp.broadcast_to(jnp.log(spread / _TENTH), values.shape)
        features = jnp.concatenate([outputs, width[..., None]], axis=-1)
        return self._head.log_prob(features, values).sum((1, 2))

    @property
    def _head(self) -> Gated:
        return Gated(self.levels, TruncatedNormal(self.levels))

    def _logit(self, outputs: Array) -> Array:
        return self._head.logit(outputs)


@dataclasses.dataclass(frozen=True)
class SquaredError:
    """The charge of every pixel; it gives no probability.

    Attributes:
        scale: what network space is multiplied with; 10 in the published autoencoder.
        weight: of the squared error.
    """

    scale: float = 1.0
    weight: float = 1.0
    features: int = 1
    seen_features: int = 1
    likelihood: bool = False

    def seen(self, images: Array) -> Array:
        """Return the charge."""
        return self.scale * images

    def loss(self, outputs: Array, images: Array) -> tuple[Array, dict[str, Array]]:
        """Return the squared error of all pixels."""
        return self.weight * ((outputs - self.seen(images)) ** 2).sum((1, 2, 3)), {}

    def images(self, outputs: Array) -> Array:
        """Return the charge, which is not negative."""
        return jax.nn.relu(outputs) / self.scale


def spread(error: dict[str, Array]) -> Array:
    """Return the root mean square of the error of lit pixels, from the averages that follow it."""
    square = error["square"] / jnp.maximum(error["lit"], _TINY)
    return jnp.sqrt(jnp.maximum(square, _TINY))
