"""The autoencoder of the published VQ-VAE of liquid-argon images (arXiv:2204.02496), as it was.

Its traps are kept: encodings are not negative, for a ReLU makes them; a ReLU stands before each
normalisation of the batch and again after it, which cuts off half of what was normalised; and the
output has a ReLU, which gives exact zeros, and pixels without a gradient.
"""

import flax.linen as nn
import jax

from sgm_jax.generators.vqvae.codebook import Quantised
from sgm_jax.generators.vqvae.networks import Quantiser
from sgm_jax.run.parallel import AXIS

Array = jax.Array

# Those of Keras.
_MOMENTUM, _EPSILON = 0.99, 1e-3


class Published(nn.Module):
    """Codes on one grid, a quarter as wide as the image.

    Attributes:
        channels: of the two convolutions, 16 and 32.
        size: of an encoding, 8.
        features: of the outputs, 1.
    """

    channels: tuple[int, ...] = (16, 32)
    size: int = 8
    features: int = 1

    @property
    def shrinks(self) -> tuple[int, ...]:
        """Two for each convolution."""
        return (2 ** len(self.channels),)

    def setup(self) -> None:
        """Name the layers."""
        self.down = [nn.Conv(channels, (3, 3), (2, 2)) for channels in self.channels]
        # In training all devices normalise by the batch of all.
        options = {"momentum": _MOMENTUM, "epsilon": _EPSILON, "axis_name": AXIS}
        self.norms = [nn.BatchNorm(**options) for _ in self.channels]
        self.encoding = nn.Conv(self.size, (3, 3))
        self.up = [nn.ConvTranspose(n, (4, 4), (2, 2)) for n in self.channels[::-1]]
        self.last = nn.ConvTranspose(self.features, (3, 3))

    def encode(self, x: Array, quantise: Quantiser, train: bool = False) -> tuple[Quantised, ...]:
        """Return what becomes of images; with ``train`` normalised by all devices' batch."""
        for conv, norm in zip(self.down, self.norms, strict=True):
            x = nn.relu(norm(nn.relu(conv(x)), use_running_average=not train))
        return (quantise(0, nn.relu(self.encoding(x))),)

    def decode(self, vectors: tuple[Array, ...]) -> Array:
        """Return images that are not negative."""
        y = vectors[0]
        for conv in self.up:
            y = nn.relu(conv(y))
        return nn.relu(self.last(y))

    def __call__(self, x: Array, quantise: Quantiser, train: bool = False) -> Array:
        """Return the outputs for images."""
        return self.decode(tuple(q.passed for q in self.encode(x, quantise, train)))
