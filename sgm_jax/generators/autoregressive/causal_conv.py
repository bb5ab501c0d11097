"""A trunk of locally masked convolutions: features of each pixel from those before it.

Residual gated blocks. Each narrows its features, looks at them around the pixel, and lets a gate
(tanh times sigmoid, arXiv:1606.05328) decide what is added; what an image is asked to show is a
bias in the gate. The first layer sees the image around the pixel, where the pixel lies, and sums
over all earlier ones.

An image is drawn with the same layers, one pixel after the other: what each layer gave for earlier
pixels is kept as long as a later one looks at it, so drawing costs what one evaluation does.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.attention import CausalAttention
from sgm_jax.generators.autoregressive.neighbours import LocalConv, Neighbours, neighbours
from sgm_jax.generators.autoregressive.orders import Order, Size
from sgm_jax.generators.autoregressive.sums import sums

Array = jax.Array
Cache = dict[str, Any]


class GatedBlock(nn.Module):
    """What is added to the features of a pixel, seen around it.

    Attributes:
        near: which pixels are seen around one.
        channels: of the features.
        width: of what is seen of each pixel around.
        conditional: add a bias from a vector to the gate.
    """

    near: Neighbours
    channels: int
    width: int
    conditional: bool

    def setup(self) -> None:
        """Name the layers."""
        self.norm = nn.RMSNorm()
        self.down = nn.Dense(self.width)
        self.gate = LocalConv(self.near, 2 * self.channels)
        self.out = nn.Dense(self.channels)
        if self.conditional:
            self.bias = nn.Dense(2 * self.channels, use_bias=False)

    def narrow(self, h: Array) -> Array:
        """Return what later pixels see of features ``[..., channels]``, ``[..., width]``."""
        return self.down(self.norm(h))

    def __call__(self, h: Array, seen: Array, vector: Array | None) -> Array:
        """Return the features of all pixels after the block, from what is seen of each."""
        return self._widened(h, self.gate(seen), vector)

    def of_patch(self, h: Array, seen: Array, vector: Array | None) -> Array:
        """Return those of one pixel, from what is seen around it ``[T * width]``."""
        return self._widened(h, self.gate.of_patch(seen), vector)

    def _widened(self, h: Array, gate: Array, vector: Array | None) -> Array:
        if self.conditional:
            gate = gate + self.bias(vector)
        value, opened = jnp.split(gate, 2, axis=-1)
        return h + self.out(jnp.tanh(value) * jax.nn.sigmoid(opened))


class CausalConv(nn.Module):
    """Features of every pixel of an image, from the pixels before it in an order.

    Attributes:
        order: of the pixels.
        size: height and width.
        features: for each pixel.
        channels: between the blocks.
        width: of what is seen of each pixel around.
        first_kernel: pixels of the image seen around each pixel, an odd number.
        kernel: the same of the features in each block.
        dilations: of each block, pixels from one that is seen to the next.
        attention: numbers of the blocks that causal attention follows, from 0.
        heads: of the attention.
        sums: also look at sums over all earlier pixels.
        conditional: add a bias from a vector to every gate.
        block: side of blocks in which pixels lie, if that is to be seen.
    """

    order: Order
    size: Size
    features: int
    channels: int = 32
    width: int = 16
    first_kernel: int = 7
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    attention: tuple[int, ...] = ()
    heads: int = 4
    sums: bool = True
    conditional: bool = False
    block: int | None = None

    def setup(self) -> None:
        """Name the layers."""
        near = functools.partial(neighbours, self.order, self.size)
        self.around = LocalConv(near(kernel=self.first_kernel, itself=False), self.channels)
        self.known = nn.Dense(self.channels, use_bias=False)
        self.blocks = [
            GatedBlock(
                near(kernel=self.kernel, dilation=dilation, itself=True),
                self.channels,
                self.width,
                self.conditional,
            )
            for dilation in self.dilations
        ]
        self.attentions = [
            CausalAttention(self.order, self.channels, self.heads) for _ in self.attention
        ]
        self.norm = nn.RMSNorm()
        self.last = nn.Dense(self.features)

    # --------------------------------------------------------------------- all pixels at once

    def __call__(
        self,
        inputs: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> Array:
        """Return features ``[B, H, W, features]``.

        Args:
            inputs: what is seen of the pixels' values ``[B, H, W, channels]``.
            vector: what the images are asked to show ``[B, E]``, if the trunk is conditional.
            context: what is known of pixels before any is drawn ``[B, H, W, c]``.
            live: which pixels are drawn at all ``[B, H, W]``, 0 or 1; no pixel looks at others,
                whose inputs are zeros.
        """
        where = jnp.broadcast_to(
            jnp.asarray(self._positions), (*inputs.shape[:3], self._positions.shape[-1])
        )
        known = [where]
        if self.sums:
            known.append(self._sums.before(inputs))
        if context is not None:
            known.append(context)
        h = self.around(inputs) + self.known(jnp.concatenate(known, axis=-1))
        bias = None if vector is None else vector[:, None, None]
        for number, block in enumerate(self.blocks):
            seen = block.narrow(h)
            if live is not None:
                seen = seen * live[..., None]
            h = block(h, seen, bias)
            if number in self.attention:
                h = h + self.attentions[self.attention.index(number)](h, inputs)
        return self.last(self.norm(h))

    # ------------------------------------------------------------------- one pixel of an image

    def empty(self, channels: int) -> Cache:
        """Return what is kept of one image before its first pixel, of ``channels`` a value."""
        kept: Cache = {"inputs": self.around.near.empty(channels)}
        kept["blocks"] = [block.near.empty(self.width) for block in self.blocks]
        if self.sums:
            kept["sums"] = self._sums.empty(channels)
        kept["attention"] = [attention.empty(channels) for attention in self.attentions]
        return kept

    def look(
        self,
        kept: Cache,
        pixel: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> tuple[Array, Cache]:
        """Return the features ``[features]`` of the next pixel of one image, and what is kept.

        Arguments are those of a call for one image, with the ``context`` of this pixel ``[c]``, and
        of all pixels whether they are ``live`` ``[N]``.
        """
        h, kept = self._look(kept, pixel, vector, context, live)
        return self.last(self.norm(h)), kept

    def skip(self, kept: Cache, pixel: Array, vector: Array | None = None) -> Cache:
        """Return what is kept of a pixel whose features nobody wants."""
        return self._look(kept, pixel, vector, None, None)[1]

    def absorb(self, kept: Cache, pixel: Array, inputs: Array) -> Cache:
        """Return what is kept when the value of the pixel that was looked at last is known."""
        kept = kept | {"inputs": self.around.near.keep(kept["inputs"], pixel, inputs)}
        if self.sums:
            kept["sums"] = self._sums.add(kept["sums"], pixel, inputs)
        kept["attention"] = [
            attention.absorb(part, pixel, inputs)
            for attention, part in zip(self.attentions, kept["attention"], strict=True)
        ]
        return kept

    def _look(
        self,
        kept: Cache,
        pixel: Array,
        vector: Array | None,
        context: Array | None,
        live: Array | None,
    ) -> tuple[Array, Cache]:
        positions = jnp.asarray(self._positions.reshape(len(self.order), -1))
        known = [positions[pixel]]
        if self.sums:
            known.append(self._sums.at(kept["sums"], pixel))
        if context is not None:
            known.append(context)
        around = self.around.near.patch(kept["inputs"], pixel, live)
        h = self.around.of_patch(around) + self.known(jnp.concatenate(known))
        blocks, attentions = list(kept["blocks"]), list(kept["attention"])
        for number, block in enumerate(self.blocks):
            blocks[number] = block.near.keep(blocks[number], pixel, block.narrow(h))
            h = block.of_patch(h, block.near.patch(blocks[number], pixel, live), vector)
            if number in self.attention:
                place = self.attention.index(number)
                found, attentions[place] = self.attentions[place].at(attentions[place], pixel, h)
                h = h + found
        return h, kept | {"blocks": blocks, "attention": attentions}

    # -------------------------------------------------------------------------- what is fixed

    @property
    def _sums(self) -> Any:
        return sums(self.order, self.size, block=self.block)

    @property
    def _positions(self) -> np.ndarray:
        """Return where each pixel lies ``[H, W, 2 or 5]``, about -0.5 to 0.5.

        With blocks, also where in its block, and which share of that is not drawn yet.
        """
        height, width = self.size
        rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        parts = [(rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5]
        if self.block is not None:
            side = self.block
            groups = self._sums.sorted[-1]
            left = np.empty(len(self.order))
            left[groups] = 1 - np.arange(groups.shape[1]) / groups.shape[1]
            parts += [(rows % side + 0.5) / side - 0.5, (columns % side + 0.5) / side - 0.5]
            parts.append(left.reshape(self.size))
        return np.stack(parts, axis=-1).astype(np.float32)


def kept_numbers(trunk: CausalConv, channels: int) -> int:
    """Return how many numbers are kept of each image while it is drawn."""
    kept = jax.eval_shape(lambda: trunk.bind({}).empty(channels))
    return sum(leaf.size for leaf in jax.tree.leaves(kept))
