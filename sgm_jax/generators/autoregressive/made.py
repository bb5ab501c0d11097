"""The published trunk of SARM: a masked dense network (MADE, arXiv:1502.03509).

Every hidden unit has a degree d and sees the pixels up to number d of the order, and units of its
degree or less; the features of a pixel see the units of smaller degrees. Units are sorted by their
degree, so an image is drawn by computing in each step the few units that become known: all steps
together are one evaluation.

As published: a layer from the pixels, five hidden ones, degrees in turn, GELU, features of each
pixel and one layer shared by all of them. Different here: a network sees of each pixel whether it
is lit, too, and no unit has the last degree, which would see what nobody may be told.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.orders import Order, Size, ranks

Array = jax.Array
Cache = dict[str, Any]

_KERNEL = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=-1, out_axis=0)


class Made(nn.Module):
    """Features of every pixel of an image, from the pixels before it in an order.

    Attributes:
        order: of the pixels.
        size: height and width.
        features: for each pixel.
        hidden: units of a layer, at least as many as there are pixels.
        layers: hidden layers after the one that sees the pixels.
        inner: features of each pixel before the layer that all share.
        known: so many of the first pixels are seen by all units, and have no features.
        conditional: add a bias from a vector to every unit.
    """

    order: Order
    size: Size
    features: int
    hidden: int = 1024
    layers: int = 5
    inner: int = 16
    known: int = 0
    conditional: bool = False

    @nn.compact
    def _parts(self, channels: int, vector_size: int = 0) -> dict[str, Any]:
        """Return the parameters, kernels with outputs first: a unit is a row."""
        zeros, pixels = nn.initializers.zeros, len(self.order)
        layers = []
        for number in range(self.layers + 1):
            inputs = self.hidden if number else pixels * channels
            part = {
                "kernel": self.param(f"kernel_{number}", _KERNEL, (self.hidden, inputs)),
                "bias": self.param(f"bias_{number}", zeros, (self.hidden,)),
            }
            if self.conditional:
                shape = (self.hidden, vector_size)
                part["asked"] = self.param(f"asked_{number}", _KERNEL, shape)
            layers.append(part)
        drawn = pixels - self.known
        shape = (drawn, self.inner, self.hidden)
        # Features of a pixel are outputs, whichever pixel it is.
        scale = nn.initializers.normal(self.hidden**-0.5)
        return {
            "layers": layers,
            "kernel": self.param("kernel_out", scale, shape),
            "bias": self.param("bias_out", nn.initializers.normal(1.0), (drawn, self.inner)),
            "shared": self.param("kernel_shared", _KERNEL, (self.features, self.inner)),
            "shared_bias": self.param("bias_shared", zeros, (self.features,)),
        }

    def __call__(
        self,
        inputs: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> Array:
        """Return features ``[B, H, W, features]``; zeros for the known pixels.

        Args:
            inputs: what is seen of the pixels' values ``[B, H, W, channels]``.
            vector: what the images are asked to show ``[B, E]``, if the trunk is conditional.
            context: None; see :class:`~.causal_conv.CausalConv`.
            live: None.
        """
        _refuse(context, live)
        batch, height, width, channels = inputs.shape
        parts = self._parts(channels, 0 if vector is None else vector.shape[-1])
        order = np.array(self.order)
        h = inputs.reshape(batch, height * width, channels)[:, order].reshape(batch, -1)
        sees = np.repeat(np.arange(len(order)), channels)
        for part in parts["layers"]:
            mask = jnp.asarray(self._degrees)[:, None] >= jnp.asarray(sees)[None]
            before = h @ (part["kernel"] * mask.astype(jnp.float32)).T + part["bias"][None]
            if self.conditional:
                before = before + vector @ part["asked"].T
            h, sees = nn.gelu(before), self._degrees
        drawn = jnp.arange(self.known, len(order))
        mask = drawn[:, None, None] > jnp.asarray(sees)[None, None]
        inner = jnp.einsum("bh,nfh->bnf", h, parts["kernel"] * mask.astype(jnp.float32))
        features = self._shared(parts, inner + parts["bias"][None])
        features = jnp.pad(features, ((0, 0), (self.known, 0), (0, 0)))
        return features[:, ranks(self.order)].reshape(batch, height, width, -1)

    def empty(self, channels: int) -> Cache:
        """Return what is kept of one image before its first pixel, of ``channels`` a value."""
        units = [jnp.zeros(self.hidden) for _ in range(self.layers + 1)]
        return {"inputs": jnp.zeros((len(self.order), channels)), "units": units}

    def look(
        self,
        kept: Cache,
        pixel: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> tuple[Array, Cache]:
        """Return the features ``[features]`` of the next pixel of one image, and what is kept."""
        _refuse(context, live)
        channels = kept["inputs"].shape[-1]
        parts = self._parts(channels, 0 if vector is None else vector.shape[-1])
        number = jnp.asarray(ranks(self.order).astype(np.int32))[pixel]
        # Units that become known with the pixel before, among as many as any pixel makes known.
        first, count = (jnp.asarray(table)[number] for table in self._group)
        start = jnp.minimum(first, self.hidden - self._most)
        place = start + jnp.arange(self._most, dtype=jnp.int32)
        new = (place >= first) & (place < first + count)
        h, units = kept["inputs"].reshape(-1), list(kept["units"])
        for layer, part in enumerate(parts["layers"]):
            rows = jax.tree.map(self._rows(start), part)
            before = rows["kernel"] @ h + rows["bias"]
            if self.conditional:
                before = before + rows["asked"] @ vector
            # What is not known yet is zero, and so is heard by nobody.
            values = jnp.where(new, nn.gelu(before), self._rows(start)(units[layer]))
            h = units[layer] = jax.lax.dynamic_update_slice_in_dim(units[layer], values, start, 0)
        drawn = number - self.known
        inner = parts["kernel"][drawn] @ h + parts["bias"][drawn]
        return self._shared(parts, inner), kept | {"units": units}

    def skip(self, kept: Cache, pixel: Array, vector: Array | None = None) -> Cache:
        """Return what is kept of a pixel whose features nobody wants: no unit waits for it."""
        del pixel, vector
        return kept

    def absorb(self, kept: Cache, pixel: Array, inputs: Array) -> Cache:
        """Return what is kept when the value of the pixel that was looked at last is known."""
        number = jnp.asarray(ranks(self.order).astype(np.int32))[pixel]
        place = jax.lax.dynamic_update_slice_in_dim(kept["inputs"], inputs[None], number, 0)
        return kept | {"inputs": place}

    @staticmethod
    def _shared(parts: dict[str, Any], inner: Array) -> Array:
        features = inner @ parts["shared"].T
        return features + jnp.broadcast_to(parts["shared_bias"], features.shape)

    def _rows(self, start: Array) -> Callable[[Array], Array]:
        """Return what takes as many rows from ``start`` on as any pixel makes known."""
        return lambda x: jax.lax.dynamic_slice_in_dim(x, start, self._most)

    # -------------------------------------------------------------------------- what is fixed

    @property
    def _degrees(self) -> np.ndarray:
        """Return the degrees of the units, rising: all that there can be, in turn."""
        lowest = max(self.known - 1, 0)
        number = max(len(self.order) - 1 - lowest, 1)
        return np.sort(lowest + np.arange(self.hidden) % number)

    @property
    def _group(self) -> tuple[np.ndarray, np.ndarray]:
        """Return for each pixel's number the first unit that becomes known there, and how many."""
        numbers = np.arange(len(self.order)) - 1
        first = np.searchsorted(self._degrees, numbers)
        stop = np.searchsorted(self._degrees, numbers, side="right")
        return first.astype(np.int32), (stop - first).astype(np.int32)

    @property
    def _most(self) -> int:
        """Return the most units of one degree."""
        return int(np.bincount(self._degrees).max())


def made_parameters(pixels: int, *, hidden: int, layers: int, inner: int, channels: int) -> int:
    """Return how many parameters the kernels of such a network have."""
    return hidden * (pixels * channels + layers * hidden + pixels * inner)


def _refuse(context: Array | None, live: Array | None) -> None:
    if context is not None or live is not None:
        raise ValueError("a masked dense network draws all pixels, and is told nothing of them")
