"""Where the charge of all earlier pixels lies: its sum and its centre.

Crops around the centre of the charge are balanced, and a network that draws one pixel after the
other cannot see from nearby how much charge lies on either side so far. With the first moments it
is told, and can draw what brings the centre to its place.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.data import PixelScale
from sgm_jax.generators.autoregressive.orders import Order, Size, ranks

Array = jax.Array

# Keeps the centre of no charge at 0.
_FAINT = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """The charge before each pixel in an order, and its moments about the middle of the image.

    Attributes:
        order: of the pixels.
        size: height and width.
        scale: of network space, in which inputs hold the charge as their second channel.
    """

    order: Order
    size: Size
    scale: PixelScale

    def before(self, inputs: Array) -> Array:
        """Return what each pixel of ``[B, H, W, channels]`` is told, ``[B, H, W, 5]``."""
        batch, height, width, _ = inputs.shape
        parts = self._charge(inputs)[..., None] * jnp.asarray(self._weights)[None]
        ordered = parts.reshape(batch, height * width, 3)[:, np.array(self.order)]
        earlier = jnp.pad(ordered, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        total = jnp.cumsum(earlier, axis=1)[:, ranks(self.order)]
        return _seen(total).reshape(batch, height, width, -1)

    def empty(self) -> Array:
        """Return the moments of one image of which nothing is drawn."""
        return jnp.zeros(3)

    def at(self, total: Array) -> Array:
        """Return what the next pixel is told, ``[5]``."""
        return _seen(total)

    def add(self, total: Array, pixel: Array, inputs: Array) -> Array:
        """Return the moments with those of one more pixel ``[channels]``."""
        weights = jnp.asarray(self._weights.reshape(-1, 3))
        return total + self._charge(inputs) * weights[pixel]

    def _charge(self, inputs: Array) -> Array:
        """Return the charge ``[...]`` of inputs ``[..., channels]``, in saturated pixels."""
        return self.scale.from_model(inputs[..., 1]) / 255

    @property
    def _weights(self) -> np.ndarray:
        """Return what the charge of a pixel counts for in each sum, ``[H, W, 3]``."""
        height, width = self.size
        rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        y, x = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
        return np.stack([np.ones_like(y), y, x], axis=-1).astype(np.float32)


def _seen(total: Array) -> Array:
    """Return charge, moments and centre ``[..., 5]`` on a scale that a network can look at."""
    charge, moments = total[..., :1], total[..., 1:]
    centre = moments / (charge + _FAINT)
    # Both: the centre says where the charge is, and the moment how much it takes to balance it.
    parts = [0.5 * jnp.log1p(charge), 0.5 * jnp.arcsinh(4 * moments), 2 * centre]
    return jnp.concatenate(parts, axis=-1)
