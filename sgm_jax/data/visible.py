"""What of an image is looked at: its levels above a threshold, whole or anywhere within a level."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.data.normalise import TRUNCATION_SLACK, PixelScale

Array = jax.Array
# Four times what :func:`sgm_jax.data.to_uint8` forgives.
_MARGIN = 4 * TRUNCATION_SLACK


@dataclasses.dataclass(frozen=True)
class Visible:
    """The levels of a pixel that are looked at, and where they lie in network space.

    Attributes:
        threshold: the largest level that counts as 0, as of :func:`sgm_jax.data.to_uint8`.
        scale: of network space, in which 0 is dark.
    """

    threshold: int
    scale: PixelScale

    @property
    def first(self) -> float:
        """The lowest value of a lit pixel in network space."""
        return float(self.scale.to_model(np.float32(self.threshold + 1)))

    def cut(self, images: Array) -> Array:
        """Return images in network space whose faint pixels are 0.

        Levels come back from network space with rounding errors, so half a level decides.
        """
        lit = self.scale.from_model(images) > self.threshold + 0.5
        return jnp.where(lit, images, 0.0)

    def spread(self, keys: Array, images: Array) -> Array:
        """Return the same with each lit pixel anywhere within its level.

        What is drawn is not a whole level before it is written, and then it is truncated. So real
        images that are to look like drawn ones get a random part of a level.

        Args:
            keys: one for each image ``[B]``.
            images: of whole levels, in network space ``[B, H, W, C]``.
        """
        levels = jnp.round(self.scale.from_model(images))
        part = jax.vmap(lambda key: jax.random.uniform(key, images.shape[1:]))(keys)
        # What lies so near the next level may be rounded to it.
        part = (1 - _MARGIN) * part
        lit = levels > self.threshold
        return jnp.where(lit, self.scale.to_model(levels + part), 0.0)
