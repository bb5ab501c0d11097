"""How bright an image is as a whole and in its parts, as a vector for the blocks of a network.

Where noise hides the pixels, what is left to see are means over many of them: how much charge
there is, and about where. Convolutions would have to add up thousands of noisy pixels to see it,
and group normalisation takes the mean away again; here it is an input.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

# Under this name the layers lie in the parameters of a network.
OVERVIEW = "overview"


class Overview(nn.Module):
    """A vector of the means of an image over a coarse grid, to be added to the time's embedding.

    The last layer begins with zeros: a network that gets one gives the numbers that it gave before.

    Attributes:
        features: length of the vector.
        grid: parts to a side.
        activation: between the layers.
    """

    features: int
    grid: int
    activation: Callable[[jax.Array], jax.Array] = nn.swish

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``[B, H, W, C]`` to ``[B, features]``."""
        means = block_means(x, self.grid)
        # Times the side of a part, so that independent pixels of deviation 1 give numbers of it.
        scaled = (means * (x.shape[1] / self.grid)).reshape(len(x), -1)
        h = self.activation(nn.Dense(self.features, name="hidden")(scaled))
        return nn.Dense(self.features, kernel_init=nn.initializers.zeros, name="last")(h)


def block_means(x: jax.Array, grid: int) -> jax.Array:
    """Return the means over ``grid x grid`` equal parts of images, ``[B, grid, grid, C]``."""
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, grid, height // grid, grid, width // grid, channels)
    return parts.mean((2, 4))
