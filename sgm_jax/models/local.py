"""A convolution with other weights at each place, for images that all have the same centre."""

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
# Each place sums over its own weights, not over those of all.
_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=(0, 1))


class LocalConv(nn.Module):
    """A locally connected layer, with zeros around the image.

    What each place sees is written beside each other, and then there is one matrix product a place:
    Flax's ``ConvLocal`` finds the same with a convolution, and takes minutes on CPUs for its
    gradient.

    Attributes:
        features: of the output.
        size: side of the square that a place sees, in pixels.
        stride: from one place to the next, which divides the image.
        use_bias: add a number of its own to each place.
    """

    features: int
    size: int
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, H / stride, W / stride, features]``."""
        _, height, width, channels = x.shape
        around = max(self.size - self.stride, 0)
        ends = (around // 2, around - around // 2)
        wide = jnp.pad(x, ((0, 0), ends, ends, (0, 0)))
        seen = jnp.concatenate(
            [
                wide[:, row : row + height : self.stride, column : column + width : self.stride]
                for row in range(self.size)
                for column in range(self.size)
            ],
            axis=-1,
        )
        grid = seen.shape[1:3]
        shape = (*grid, self.size**2 * channels, self.features)
        output = jnp.einsum("bhwi,hwio->bhwo", seen, self.param("kernel", _INIT, shape))
        if not self.use_bias:
            return output
        bias = self.param("bias", nn.initializers.zeros, (*grid, self.features))
        return output + bias[None]
