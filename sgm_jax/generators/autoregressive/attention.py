"""Causal attention over all earlier pixels of a coarse grid, as in PixelSNAIL (arXiv:1712.09763).

Every pixel asks with what the network knows of it; earlier ones answer with that and with their
value. The first pixel has nobody to ask, and gets zeros.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.orders import Order, ranks

Array = jax.Array
Cache = dict[str, Any]


class CausalAttention(nn.Module):
    """Attention of every pixel to those before it in an order.

    Attributes:
        order: of the pixels.
        channels: of the features, in and out.
        heads: into which they are divided.
    """

    order: Order
    channels: int
    heads: int

    def setup(self) -> None:
        """Name the layers."""
        self.query, self.key, self.value, self.out = (nn.Dense(self.channels) for _ in range(4))

    def __call__(self, h: Array, inputs: Array) -> Array:
        """Return what is added to features ``[B, H, W, C]`` of pixels that show ``inputs``."""
        batch, height, width, _ = h.shape
        key, value = self._answers(h, inputs)
        flat = (batch, height * width, self.heads, -1)
        query, key, value = (x.reshape(flat) for x in (self.query(h), key, value))
        when = ranks(self.order)
        weights = jnp.einsum("bihd,bjhd->bhij", query, key)
        weights = self._weights(weights, jnp.asarray(when[:, None] > when)[None, None])
        attended = jnp.einsum("bhij,bjhd->bihd", weights, value)
        return self.out(attended.reshape(h.shape))

    def empty(self, channels: int) -> Cache:
        """Return what is kept of one image, ``channels`` of each pixel's value."""
        del channels
        shape = (len(self.order), self.heads, self.channels // self.heads)
        return {
            "key": jnp.zeros(shape),
            "value": jnp.zeros(shape),
            "features": jnp.zeros(self.channels),
        }

    def at(self, kept: Cache, pixel: Array, h: Array) -> tuple[Array, Cache]:
        """Return what is added to the features ``[C]`` of one pixel."""
        when = jnp.asarray(ranks(self.order).astype(np.int32))
        query = self.query(h).reshape(self.heads, -1)
        weights = jnp.einsum("hd,jhd->hj", query, kept["key"])
        weights = self._weights(weights, (when < when[pixel])[None])
        attended = jnp.einsum("hj,jhd->hd", weights, kept["value"])
        # Its value is not known yet, and with it what it will answer.
        return self.out(attended.reshape(-1)), kept | {"features": h}

    def absorb(self, kept: Cache, pixel: Array, inputs: Array) -> Cache:
        """Return what is kept when the value of the pixel that was looked at last is known."""
        answers = zip(("key", "value"), self._answers(kept["features"], inputs), strict=True)
        shape = (1, self.heads, self.channels // self.heads)
        return kept | {
            name: jax.lax.dynamic_update_slice_in_dim(kept[name], x.reshape(shape), pixel, axis=0)
            for name, x in answers
        }

    def _answers(self, h: Array, inputs: Array) -> tuple[Array, Array]:
        known = jnp.concatenate([h, inputs], axis=-1)
        return self.key(known), self.value(known)

    def _weights(self, products: Array, earlier: Array) -> Array:
        """Return how much each earlier pixel is heard; all zeros where there is none."""
        scaled = products / (self.channels / self.heads) ** 0.5
        earlier = jnp.broadcast_to(earlier, scaled.shape)
        # A row without earlier pixels must not become NaN, nor its gradient.
        scaled = jnp.where(earlier, scaled, -1e30)
        return jnp.where(earlier, jax.nn.softmax(scaled), 0.0)
