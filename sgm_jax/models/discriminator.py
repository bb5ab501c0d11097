"""A network that tells drawn images from real ones by single pixels as well as by whole tracks."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.lines import LINES, Lines
from sgm_jax.models.resampling import space_to_depth

Array = jax.Array


class Discriminator(nn.Module):
    """Convolutions on ever coarser grids, and of each grid sums and maxima of its features.

    Sums of the fine grids count what a generator may draw too often, such as isolated pixels; the
    coarse ones see shapes. It is their logarithms that count: of one saturated pixel as well as of
    hundreds of lit ones. The last layer begins with zeros: at first all images are alike.

    With ``directions`` it also looks at sums along straight lines: how straight and how thin long
    tracks are, convolutions of the image hardly see.

    Attributes:
        channels: features of each grid, the finest first, which has half the resolution of the
            image.
        hidden: units of the dense layers.
        directions: of the lines; 0 for none.
        line_channels: features of the grids of lines, see :class:`~sgm_jax.models.lines.Lines`.
    """

    channels: Sequence[int]
    hidden: int
    directions: int = 0
    line_channels: Sequence[int] = (16, 32, 48)

    @nn.compact
    def __call__(self, x: Array, whole: Array) -> Array:
        """Return a number of each image ``[B]``.

        Args:
            x: images ``[B, H, W, C]`` of numbers up to 1, perhaps shifted.
            whole: the same before the shift, of which sums are seen, and lines.
        """
        seen, h = [_sum(whole)], space_to_depth(x, 2)
        for level, features in enumerate(self.channels):
            if level == 0:
                h = nn.relu(nn.Conv(features, (3, 3), name="first")(h))
            else:
                down = nn.Conv(features, (3, 3), strides=(2, 2), name=f"down_{level}")
                h = self._residual(down(nn.relu(h)), level)
            seen += [_sum(h), h.max((1, 2))]
        h = nn.Dense(self.hidden, name="dense_0")(jnp.concatenate(seen, axis=-1))
        if self.directions:
            # Before the shift, which takes ends of tracks away: where lines lie is not seen anyway.
            told = whole[..., : 2 * whole.shape[-1] // 3]  # the charge, and which pixels are lit
            h = h + Lines(self.directions, self.line_channels, self.hidden, name=LINES)(told)
        h = nn.swish(nn.Dense(self.hidden, name="dense_1")(nn.swish(h)))
        return nn.Dense(1, kernel_init=nn.initializers.zeros, name="last")(h)[:, 0]

    def _residual(self, h: Array, level: int) -> Array:
        features, zeros = h.shape[-1], nn.initializers.zeros
        inner = nn.Conv(features, (3, 3), name=f"inner_{level}")(nn.swish(h))
        outer = nn.Conv(features, (3, 3), kernel_init=zeros, name=f"outer_{level}")
        return h + outer(nn.swish(inner))


def _sum(x: Array) -> Array:
    """Return the logarithms of sums over pixels ``[B, C]``; what is negative counts as 0."""
    return jnp.log1p(nn.relu(x).sum((1, 2)))
