"""A trunk of two stacks of convolutions, as in the gated PixelCNN (arXiv:1606.05328).

The vertical stack sees the rows above, the horizontal one its row to the left, and what the
vertical one says of the same place; so nothing above is hidden, as it was behind one masked
convolution. Gates are tanh times sigmoid, and what an image is asked to show is a bias in each.

``published`` is the prior of the published VQ-VAE of liquid-argon images (arXiv:2204.02496): its
masks were centred on kernels that had been cut to the causal half before, so the first layer sees
nothing of the row above and not the pixel to the left. In its gates, tanh and sigmoid are added.

While an image is drawn, the vertical stack of a row is computed when the row begins.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.generators.autoregressive.orders import Order, Size

Array = jax.Array
Cache = dict[str, Any]
# The first and the last pixel that is seen, from the pixel itself.
Span = tuple[int, int]


class Seen(nn.Module):
    """A convolution of the pixels in a rectangle around each pixel.

    Attributes:
        rows: of it; negative is above.
        columns: of it; negative is to the left.
        features: of each pixel.
    """

    rows: Span
    columns: Span
    features: int

    def __call__(self, x: Array) -> Array:
        """Return the features ``[B, H, W, features]`` of all pixels of ``[B, H, W, C]``."""
        return self._convolved(_shifted(x, self.rows, axis=1), columns=True)

    def of_rows(self, seen: Array) -> Array:
        """Return those of one row ``[W, features]``, from the rows that it sees ``[R, W, C]``."""
        return self._convolved(seen[None], columns=True)[0, 0]

    def of_left(self, seen: Array) -> Array:
        """Return those of one pixel, from the pixels of its row that it sees ``[T, C]``."""
        return self._convolved(seen[None, None], columns=False)[0, 0, 0]

    @nn.compact
    def _convolved(self, x: Array, *, columns: bool) -> Array:
        if columns:
            x = _shifted(x, self.columns, axis=2)
        shape = tuple(last - first + 1 for first, last in (self.rows, self.columns))
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (*shape, x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + jnp.broadcast_to(bias, y.shape)


def _shifted(x: Array, span: Span, *, axis: int) -> Array:
    """Return ``x`` with zeros around and without its end, for a convolution that sees a span.

    A convolution's own padding may be negative, but on CPU its Jacobian is wrong then where the
    kernel is a single pixel (JAX 0.10).
    """
    first, last = span
    kept = jax.lax.slice_in_dim(x, 0, x.shape[axis] + min(last, 0), axis=axis)
    around = [(0, 0)] * x.ndim
    around[axis] = (-first, max(last, 0))
    return jnp.pad(kept, around)


class Block(nn.Module):
    """One layer of both stacks.

    Attributes:
        reach: pixels up, left and right that are seen.
        channels: of the features.
        first: it sees what is drawn, and so not its own pixel.
        published: with the masks and the gates as they were published.
        asked: add a bias from a vector to both gates.
        told: add what is known of a pixel beforehand to the horizontal gate.
    """

    reach: int
    channels: int
    first: bool
    published: bool
    asked: bool
    told: bool

    @property
    def nearest(self) -> int:
        """Where the nearest row above or pixel to the left is that is seen; 0 is the same."""
        if not self.first:
            return 0
        # Of a kernel cut to its first reach + 1 places, the mask kept those before its middle.
        return (self.reach + 1) // 2 - 1 - self.reach if self.published else -1

    def setup(self) -> None:
        """Name the layers."""
        wide, span = 2 * self.channels, (-self.reach, self.nearest)
        self.vertical = Seen(span, (-self.reach, self.reach), wide)
        self.across = nn.Dense(wide)
        self.horizontal = Seen((0, 0), span, wide)
        self.out = nn.Dense(self.channels)
        if self.asked:
            self.bias_above, self.bias = (nn.Dense(wide, use_bias=False) for _ in range(2))
        if self.told:
            self.known = nn.Dense(wide, use_bias=False)

    def __call__(
        self, above: Array, left: Array, vector: Array | None, context: Array | None
    ) -> tuple[Array, Array]:
        """Return what both stacks say of all pixels ``[B, H, W, channels]``."""
        vector = None if vector is None else vector[:, None, None]
        seen = self.vertical(above)
        return self.risen(seen, above, vector), self.widened(
            self.horizontal(left), self.across(seen), left, vector, context
        )

    def risen(self, seen: Array, before: Array, vector: Array | None) -> Array:
        """Return what the vertical stack says, from what it sees ``[..., 2 * channels]``."""
        if self.asked:
            seen = seen + self.bias_above(vector)
        added = self._gate(seen)
        return added if self.first or self.published else before + added

    def widened(
        self,
        seen: Array,
        above: Array,
        before: Array,
        vector: Array | None,
        context: Array | None,
    ) -> Array:
        """Return what the horizontal stack says, from what it sees and is told from above."""
        seen = seen + above
        if self.asked:
            seen = seen + self.bias(vector)
        if self.told:
            seen = seen + self.known(context)
        added = self.out(self._gate(seen))
        return added if self.first else before + added

    def _gate(self, x: Array) -> Array:
        value, opened = jnp.split(x, 2, axis=-1)
        if self.published:
            return jnp.tanh(value) + jax.nn.sigmoid(opened)
        return jnp.tanh(value) * jax.nn.sigmoid(opened)


class GatedPixelCNN(nn.Module):
    """Features of every pixel by rows, from the pixels before it.

    It is a :class:`sgm_jax.generators.autoregressive.stages.Trunk`.

    Attributes:
        order: of the pixels, which must be that of reading.
        size: height and width.
        features: for each pixel.
        channels: between the layers.
        layers: how many.
        first_kernel: pixels of the image seen around each pixel, an odd number.
        kernel: the same of the features in later layers.
        published: with the masks and the gates as they were published.
        conditional: add a bias from a vector to every gate.
        told: something is known of the pixels beforehand.
    """

    order: Order
    size: Size
    features: int
    channels: int = 64
    layers: int = 6
    first_kernel: int = 7
    kernel: int = 3
    published: bool = False
    conditional: bool = False
    told: bool = False

    def setup(self) -> None:
        """Name the layers."""
        self.blocks = [
            Block(
                (self.kernel if number else self.first_kernel) // 2,
                self.channels,
                number == 0,
                self.published,
                self.conditional,
                self.told,
            )
            for number in range(self.layers)
        ]
        self.hidden, self.last = nn.Dense(self.channels), nn.Dense(self.features)

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
            live: None; all pixels are drawn.
        """
        del live
        above = left = inputs
        for block in self.blocks:
            above, left = block(above, left, vector, context)
        return self._ended(left)

    def _ended(self, h: Array) -> Array:
        if self.published:
            return self.last(self.hidden(h))
        return self.last(nn.relu(self.hidden(nn.relu(h))))

    # ------------------------------------------------------------------- one pixel of an image

    def empty(self, channels: int) -> Cache:
        """Return what is kept of one image before its first pixel, of ``channels`` a value.

        ``above``: of each layer the rows that the next row will see, the newest last; of the first
        one also the row that is drawn now. ``across``: what the vertical stack says to each pixel
        of this row. ``left``: the features of the pixels to the left, the nearest last.
        """
        width = self.size[1]
        above = [jnp.zeros((self.blocks[0].reach + 1, width, channels))]
        left = []
        for block in self.blocks[1:]:
            above.append(jnp.zeros((block.reach, width, self.channels)))
            left.append(jnp.zeros((block.reach, self.channels)))
        across = jnp.zeros((self.layers, width, 2 * self.channels))
        return {"above": above, "across": across, "left": left}

    def look(
        self,
        kept: Cache,
        pixel: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> tuple[Array, Cache]:
        """Return the features ``[features]`` of the next pixel of one image, and what is kept.

        Arguments are those of a call for one image, with the ``context`` of this pixel ``[c]``.
        """
        del live
        h, kept = self._look(kept, pixel, vector, context)
        return self._ended(h), kept

    def skip(self, kept: Cache, pixel: Array, vector: Array | None = None) -> Cache:
        """Return what is kept of a pixel whose features nobody wants, where nothing is told."""
        return self._look(kept, pixel, vector, None)[1]

    def absorb(self, kept: Cache, pixel: Array, inputs: Array) -> Cache:
        """Return what is kept when the value of the pixel that was looked at last is known."""
        row = kept["above"][0][-1:]
        row = jax.lax.dynamic_update_slice_in_dim(row, inputs[None, None], self._column(pixel), 1)
        first = jnp.concatenate([kept["above"][0][:-1], row])
        return kept | {"above": [first, *kept["above"][1:]]}

    def _look(
        self, kept: Cache, pixel: Array, vector: Array | None, context: Array | None
    ) -> tuple[Array, Cache]:
        column = self._column(pixel)
        kept = nn.cond(
            column == 0,
            lambda trunk, kept: trunk.begin_row(kept, vector),
            lambda trunk, kept: kept,
            self,
            kept,
        )
        reach = self.blocks[0].reach
        row = jnp.pad(kept["above"][0][-1], ((reach, 0), (0, 0)))
        # Of the pixels to the left, those that the first layer sees.
        seen = jax.lax.dynamic_slice_in_dim(row, column, reach)
        seen = seen[: reach + 1 + self.blocks[0].nearest]
        left, h = [], jnp.zeros(self.channels)
        for number, block in enumerate(self.blocks):
            if number:
                seen = jnp.concatenate([kept["left"][number - 1], h[None]])
                left.append(seen[1:])
            across = kept["across"][number, column]
            h = block.widened(block.horizontal.of_left(seen), across, h, vector, context)
        return h, kept | {"left": left}

    def begin_row(self, kept: Cache, vector: Array | None) -> Cache:
        """Return what is kept when a row begins: the vertical stack has seen all rows above."""
        width, channels = self.size[1], kept["above"][0].shape[-1]
        drawn = kept["above"][0]
        above = [jnp.concatenate([drawn[1:], jnp.zeros((1, width, channels))])]
        across, row = [], None
        for number, block in enumerate(self.blocks):
            if number:
                rows = jnp.concatenate([kept["above"][number], row[None]])
                above.append(rows[1:])
            else:
                # Rows of the image: the one that was drawn last is the nearest of those above.
                rows = drawn[1 : block.reach + 2 + block.nearest]
            seen = block.vertical.of_rows(rows)
            across.append(block.across(seen))
            row = block.risen(seen, row, vector if vector is None else vector[None])
        left = [jnp.zeros_like(part) for part in kept["left"]]
        return {"above": above, "across": jnp.stack(across), "left": left}

    def _column(self, pixel: Array) -> Array:
        return pixel % self.size[1]
