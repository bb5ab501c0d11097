"""How much of an image lies along each straight line: its Radon transform.

A straight track is one bright point there, wherever it lies and however long it is; if it bends or
is too wide, the point is spread out. Convolutions of the image itself see that only from afar.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
# The name of its parameters in a network, which weights of one without lines lack.
LINES = "lines"
# Pixels of a line that are to count as 1.
_LONG = 16


def line_sums(images: Array, directions: int) -> Array:
    """Return sums along lines ``[B, directions, R, C]`` of images ``[B, H, W, C]``.

    Those of direction 0 run along columns, and direction k is turned clockwise by
    ``180 k / directions`` degrees, as printed. Lines are a pixel apart, and as many as cover the
    diagonal d of the image: ``R = 2 ceil(d / 2) + 1``. A pixel is shared by the two lines nearest
    to its centre, so the sum over all lines of a direction is that of the image.

    Args:
        images: of any numbers.
        directions: evenly spaced over 180 degrees, at least 1.
    """
    count, height, width, channels = images.shape
    farthest = math.ceil(math.hypot(height, width) / 2)
    places = jnp.arange(-farthest, farthest + 1.0)
    rows, columns = (jnp.arange(side) - (side - 1) / 2 for side in (height * 1.0, width * 1.0))
    down, right = jnp.meshgrid(rows, columns, indexing="ij")
    pixels = images.transpose(0, 3, 1, 2).reshape(count * channels, height * width)

    def along(angle: Array) -> Array:
        across = (right * jnp.cos(angle) + down * jnp.sin(angle)).reshape(-1)
        return pixels @ jnp.maximum(1 - jnp.abs(across[:, None] - places[None]), 0.0)

    # One direction after the other: the shares of all of them at once are 100 MB.
    angles = jnp.arange(0.0, directions) * (jnp.pi / directions)
    sums = jax.lax.map(along, angles).reshape(directions, count, channels, -1)
    return sums.transpose(1, 0, 3, 2)


class Lines(nn.Module):
    """What convolutions see in the sums along lines, as numbers that begin with zeros.

    Attributes:
        directions: of the lines.
        channels: features of the grids of lines: the first has all lines of all directions, and
            each further one half as many of both.
        features: that are returned.
    """

    directions: int
    channels: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return ``[B, features]`` of images ``[B, H, W, C]`` of numbers from 0 to 1."""
        sums, seen = line_sums(x, self.directions), []
        # Faint lines as well as bright ones.
        h = jnp.concatenate([jnp.log1p(sums), sums / _LONG], axis=-1)
        for level, features in enumerate(self.channels):
            strides = (2, 2) if level else (1, 1)
            h = nn.relu(nn.Conv(features, (3, 3), strides=strides, name=f"conv_{level}")(h))
            if level:
                seen += [jnp.log1p(h.sum((1, 2))), h.max((1, 2))]
        last = nn.Dense(
            self.features, use_bias=False, kernel_init=nn.initializers.zeros, name="dense"
        )
        return last(jnp.concatenate(seen, axis=-1))
