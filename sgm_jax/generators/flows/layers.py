"""An image as layers, drawn one after the other: strips of its rows or of its columns."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

ROWS, COLUMNS = "rows", "columns"


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of square images.

    Attributes:
        side: of an image, in pixels.
        along: "rows" or "columns".
        strip: rows or columns of one layer; it divides the side.
        before: so many layers are seen before one.
    """

    side: int
    along: str
    strip: int
    before: int

    @property
    def count(self) -> int:
        """Of the layers of an image."""
        return self.side // self.strip

    @property
    def size(self) -> int:
        """Pixels of a layer."""
        return self.side * self.strip

    def split(self, images: Array) -> Array:
        """Return the layers ``[B, count, size]`` of images ``[B, side, side]``."""
        if self.along == COLUMNS:
            images = images.swapaxes(1, 2)
        return images.reshape(len(images), self.count, self.size)

    def join(self, layers: Array) -> Array:
        """Return the images of layers, the inverse of :meth:`split`."""
        images = layers.reshape(len(layers), self.side, self.side)
        return images.swapaxes(1, 2) if self.along == COLUMNS else images

    def earlier(self, layers: Array, places: Array) -> Array:
        """Return what lies before some layers of each image; before the first layer lie zeros.

        Args:
            layers: of images ``[B, count, size]``.
            places: numbers of layers ``[B, m]``.

        Returns:
            The layers before each, the nearest last, ``[B, m, before * size]``.
        """
        padded = jnp.pad(layers, ((0, 0), (self.before, 0), (0, 0)))
        numbers = places[..., None] + jnp.arange(self.before)[None, None]
        seen = jax.vmap(lambda image, rows: image[rows])(padded, numbers)
        return seen.reshape(*places.shape, self.before * self.size)

    @property
    def places(self) -> np.ndarray:
        """Return where each layer lies, as sines and cosines ``[count, features]``."""
        waves = 2.0 ** np.arange(max(math.ceil(math.log2(self.count)), 1)) * np.pi
        angles = (np.arange(self.count) + 0.5)[:, None] / self.count * waves
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
