"""LAGAN (arXiv:1701.05927): the last layers have weights of their own at each place.

That is good for images that all have the same centre, as those of jets do. Here the features of a
pixel are normalised where the published networks normalise over a batch.
"""

import math

import flax.linen as nn
import jax

from sgm_jax.models.dcgan import Verdict, beside, pixel_norm
from sgm_jax.models.local import LocalConv
from sgm_jax.models.spectral import LOCAL

Array = jax.Array
# Of negative features, what goes on.
_SLOPE = 0.3


class Local(nn.Module):
    """LAGAN's generator: a convolution, and three locally connected layers, on three grids.

    Attributes:
        size: height and width of the image.
        channels: of the features of the coarse grid, before and after the convolution.
        local: of the locally connected layers.
    """

    size: tuple[int, int]
    channels: tuple[int, int]
    local: int

    @nn.compact
    def __call__(self, z: Array, vector: Array | None) -> Array:
        """Map ``[B, N]``, and the condition's vector ``[B, E]``, to ``[B, H, W, 1]``."""
        first = (self.size[0] // 4, self.size[1] // 4, self.channels[0])
        x = nn.Dense(math.prod(first), name="first")(beside(z, vector)).reshape(-1, *first)
        x = pixel_norm(nn.leaky_relu(nn.Conv(self.channels[1], (5, 5))(x), _SLOPE))
        x = LocalConv(self.local, 5, name=f"{LOCAL}_coarse")(_repeated(x))
        x = pixel_norm(nn.leaky_relu(x, _SLOPE))
        x = LocalConv(self.local, 3, name=f"{LOCAL}_fine")(_repeated(x))
        x = nn.leaky_relu(x, _SLOPE)
        return LocalConv(1, 2, use_bias=False, name=f"{LOCAL}_last")(x)


class LocalJudge(nn.Module):
    """LAGAN's discriminator: a convolution, and three locally connected layers.

    Attributes:
        channels: of the convolution.
        local: of the locally connected layers.
        features: as of :class:`sgm_jax.models.dcgan.Judge`.
        group: as there.
    """

    channels: int
    local: int
    features: int
    group: int

    @nn.compact
    def __call__(self, x: Array, vector: Array | None) -> Array:
        """Map ``[B, H, W, 1]``, and the condition's vector ``[B, features]``, to ``[B]``."""
        x = nn.leaky_relu(nn.Conv(self.channels, (5, 5))(x), _SLOPE)
        for number, (kernel, stride) in enumerate(((5, 2), (5, 1), (3, 2))):
            layer = LocalConv(self.local, kernel, stride, name=f"{LOCAL}_{number}")
            x = nn.leaky_relu(layer(x), _SLOPE)
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
        return Verdict(self.features, self.group, name="verdict")(x, vector)


def _repeated(x: Array) -> Array:
    """Return each pixel four times, as a square."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
