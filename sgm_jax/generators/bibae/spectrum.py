"""The post-processor: it mends how bright lit pixels are, and touches nothing else.

A decoder with critics draws the right shapes, and pixels whose spectrum has not the edges that real
ones have. So a small network is trained to move each pixel, so that sorted pixels of its image look
like sorted pixels of the real one (arXiv:2005.05334).

Here it is a monotone curve for each image: its slopes between some knots are what a small network
says of the charge of the image and of its share of lit pixels. It begins as the identity. Zeros
stay zeros, lit pixels stay lit, and brighter ones stay brighter.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array

# Slopes between knots, up to the largest charge in network space.
_PIECES = 16
# Softplus of this is 1.
_ONE = 0.5413249


class PostProcessor(nn.Module):
    """Images to images with another spectrum.

    Attributes:
        first: the lowest value of a lit pixel.
        features: between what it sees of an image and the slopes.
    """

    first: float
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images in network space ``[B, H, W, 1]``."""
        lit = x > 0
        seen = jnp.stack([jnp.log1p(x.sum(axis=(1, 2, 3))), lit.mean(axis=(1, 2, 3))], axis=-1)
        h = nn.leaky_relu(nn.Dense(self.features, name="hidden")(seen))
        slopes = nn.Dense(_PIECES, kernel_init=nn.initializers.zeros, name="slopes")(h)
        slopes = jax.nn.softplus(slopes + _ONE)[:, None, None, :]
        width = (1 - self.first) / _PIECES
        pieces = jnp.arange(_PIECES, dtype=jnp.float32)
        knots = self.first + width * pieces
        above = x - knots[None, None, None, :]
        # How much of each piece lies below a pixel; the last piece has no end.
        ends = jnp.where(pieces == _PIECES - 1, jnp.inf, width)
        part = jnp.minimum(jnp.maximum(above, 0), ends[None, None, None, :])
        curve = self.first + (slopes * part).sum(axis=-1, keepdims=True)
        return jnp.where(lit, curve, 0.0)


def spectrum_discrepancy(
    first: Array, second: Array, *, window: int, stride: int, pixels: int, sharpness: float
) -> Array:
    """Return how different the sorted pixels of two sets of images are, image by image.

    The brightest pixels of each are looked at in windows that overlap, and in each window the
    pixels of both images as two sets of numbers, whose maximum mean discrepancy is taken.

    Args:
        first: images ``[B, H, W, 1]``.
        second: images of the same number and shape.
        window: pixels of a window.
        stride: from one window to the next.
        pixels: how many of the brightest are looked at.
        sharpness: of the squared distance, in the kernel.

    Returns:
        The mean over windows and images.
    """

    def windows(images: Array) -> Array:
        brightest, _ = jax.lax.top_k(images.reshape(len(images), -1), pixels)
        starts = range(0, pixels - window + 1, stride)
        return jnp.stack([brightest[:, start : start + window] for start in starts], axis=1)

    def kernel(x: Array, y: Array) -> Array:
        return jnp.exp(-sharpness * (x[..., :, None] - y[..., None, :]) ** 2).mean()

    a, b = windows(first), windows(second)
    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
