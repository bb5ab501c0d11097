"""From a network and a head to the probability of a whole image, in one stage or in two.

:class:`Stage` is one network on one grid. A plan says how stages make an image: :class:`OneStage`;
:class:`Window`, SARM-2, where an inner square has a network of its own and comes first; and
:class:`Blocks` for tracks, which have no middle: first which blocks of pixels are lit at all, and
then the pixels of those alone. All of them are exact distributions of whole images.

An image is drawn with the keys of its own, one for each pixel, so it depends on nothing else.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.heads import Head
from sgm_jax.generators.autoregressive.orders import Order, Size, ranks

Array = jax.Array
Params = dict[str, Any]
State = dict[str, Any]


class Trunk(Protocol):
    """A Flax module from the pixels before each pixel to features; two ways to the same numbers.

    :class:`~.causal_conv.CausalConv` and :class:`~.made.Made` are such.
    """

    order: Order
    size: Size

    def __call__(
        self,
        inputs: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> Array:
        """Return the features of all pixels ``[B, H, W, features]``."""

    def empty(self, channels: int) -> Any:
        """Return what is kept of one image before its first pixel."""

    def look(
        self,
        kept: Any,
        pixel: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> tuple[Array, Any]:
        """Return the features ``[features]`` of the next pixel of one image, and what is kept."""

    def skip(self, kept: Any, pixel: Array, vector: Array | None = None) -> Any:
        """Return what is kept of a pixel whose features nobody wants."""

    def absorb(self, kept: Any, pixel: Array, inputs: Array) -> Any:
        """Return what is kept when the value of the pixel that was looked at last is known."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One network and the head of its pixels, on one grid."""

    trunk: Trunk
    head: Head

    @property
    def pixels(self) -> int:
        """How many there are."""
        return len(self.trunk.order)

    def place(self, i: Array) -> Array:
        """Return the pixel that comes in step ``i`` of the order."""
        return jnp.asarray(np.array(self.trunk.order, np.int32))[i]

    def init(self, key: Array, vector: Array | None, context: int = 0) -> Params:
        """Return random parameters, for a vector like the one given and a context so wide."""
        inputs = jnp.zeros((1, *self.trunk.size, self.head.channels))
        told = jnp.zeros((1, *self.trunk.size, context)) if context else None
        return self.trunk.init(key, inputs, vector, told)["params"]

    def features(self, params: Params, values: Array, vector: Array | None, **told: Any) -> Array:
        """Return the features of all pixels of images of whole numbers ``[B, H, W]``."""
        return self.trunk.apply({"params": params}, self.head.embed(values), vector, **told)

    def empty(self, count: int) -> Any:
        """Return what is kept of so many images before their first pixel."""
        kept = self.trunk.bind({"params": {}}).empty(self.head.channels)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), kept)

    def draw(
        self,
        params: Params,
        kept: Any,
        pixel: Array,
        key: Array,
        vector: Array | None,
        *,
        lit: Array | bool = False,
        full: Array | None = None,
        **told: Any,
    ) -> tuple[Array, Any]:
        """Return the value of the next pixel of one image, and what is kept.

        Of an image that is ``full`` no more pixel is of the last level: in place of such a value
        another lit one is drawn, and if that is of the last level again it is the level below.
        """
        look = {"params": params}, kept, pixel, vector
        features, kept = self.trunk.apply(*look, **told, method="look")
        value = self.head.draw(key, features, lit)
        if full is not None:
            last = self.head.levels.last
            other = self.head.draw(jax.random.fold_in(key, 1), features, True)
            value = jnp.where(full & (value == last), jnp.minimum(other, last - 1), value)
        return value, self.absorb(params, kept, pixel, value)

    def absorb(self, params: Params, kept: Any, pixel: Array, value: Array) -> Any:
        """Return what is kept with the value of the pixel that was looked at last."""
        inputs = self.head.embed(value)
        return self.trunk.apply({"params": params}, kept, pixel, inputs, method="absorb")

    def follow(
        self, params: Params, kept: Any, pixel: Array, value: Array, vector: Array | None
    ) -> Any:
        """Return what is kept of a pixel whose value comes from elsewhere."""
        kept = self.trunk.apply({"params": params}, kept, pixel, vector, method="skip")
        return self.absorb(params, kept, pixel, value)


class Plan(Protocol):
    """How stages make an image of whole numbers.

    Attributes:
        size: height and width.
        num_steps: in which an image is drawn, one pixel or one block in each.
    """

    size: Size
    num_steps: int

    def init(self, key: Array, vector: Array | None) -> Params:
        """Return random parameters by stage, for a vector like the one given."""

    def log_prob(self, params: Params, values: Array, vector: Array | None) -> Array:
        """Return the logarithms ``[B]`` of the probabilities of images ``[B, H, W]``."""

    def start(self, count: int) -> State:
        """Return the state of so many images before the first step; ``values`` are in it."""

    def step(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        """Return the state after step ``i``, with one key for each image."""


def _blank(count: int, pixels: int) -> Array:
    return jnp.zeros((count, pixels), jnp.int32)


def keys_of_step(keys: Array, number: Array) -> Array:
    """Return the keys of one step ``[B]``; its number is one for all images, or ``[B]``."""
    numbers = jnp.broadcast_to(number, keys.shape)
    return jax.vmap(jax.random.fold_in)(keys, numbers)


@dataclasses.dataclass(frozen=True, eq=False)
class OneStage:
    """Every pixel by one network.

    Attributes:
        stage: network and head.
        one_saturated: draw at most one pixel of the last level in each image.
    """

    stage: Stage
    one_saturated: bool = False

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.stage.trunk.size

    @property
    def num_steps(self) -> int:
        """One for each pixel."""
        return self.stage.pixels

    def init(self, key: Array, vector: Array | None) -> Params:
        """Return random parameters."""
        return {"pixels": self.stage.init(key, vector)}

    def log_prob(self, params: Params, values: Array, vector: Array | None) -> Array:
        """Return the logarithms of the probabilities of images."""
        features = self.stage.features(params["pixels"], values, vector)
        return self.stage.head.log_prob(features, values).sum((1, 2))

    def start(self, count: int) -> State:
        """Return the state of images of which nothing is drawn."""
        state = {"values": _blank(count, self.num_steps), "kept": self.stage.empty(count)}
        return state | ({"full": jnp.zeros(count, bool)} if self.one_saturated else {})

    def step(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        """Draw pixel ``i`` of the order."""
        pixel, full = self.stage.place(i), state.get("full")

        def draw(
            kept: Any, key: Array, vector: Array | None, full: Array | None
        ) -> tuple[Array, Any]:
            return self.stage.draw(params["pixels"], kept, pixel, key, vector, full=full)

        drawn, kept = jax.vmap(draw)(state["kept"], keys_of_step(keys, i), vector, full)
        after = {"values": with_value(state["values"], pixel, drawn), "kept": kept}
        if full is not None:
            after["full"] = full | (drawn == self.stage.head.levels.last)
        return after


def with_value(values: Array, pixel: Array, drawn: Array) -> Array:
    """Return values ``[B, N]`` with those of one pixel, the same in all images."""
    return jax.lax.dynamic_update_slice_in_dim(values, drawn[:, None], pixel, axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """An inner square by a network of its own, then the rest by one that sees all of it.

    Attributes:
        inner: on the square.
        outer: on the whole image, in an order that begins with the square.
        corner: the square's uppermost row and leftmost column.
    """

    inner: Stage
    outer: Stage
    corner: tuple[int, int]

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return self.outer.trunk.size

    @property
    def num_steps(self) -> int:
        """One for each pixel."""
        return self.outer.pixels

    def init(self, key: Array, vector: Array | None) -> Params:
        """Return random parameters."""
        inner, outer = jax.random.split(key)
        return {"inner": self.inner.init(inner, vector), "outer": self.outer.init(outer, vector)}

    def log_prob(self, params: Params, values: Array, vector: Array | None) -> Array:
        """Return the logarithms of the probabilities of images."""
        (top, left), side = self.corner, self.inner.trunk.size[0]
        square = values[:, top : top + side, left : left + side]
        features = self.inner.features(params["inner"], square, vector)
        first = self.inner.head.log_prob(features, square).sum((1, 2))
        features = self.outer.features(params["outer"], values, vector)
        outside = np.ones(self.size, np.float32)
        outside[top : top + side, left : left + side] = 0
        rest = self.outer.head.log_prob(features, values) * jnp.asarray(outside)[None]
        return first + rest.sum((1, 2))

    def start(self, count: int) -> State:
        """Return the state of images of which nothing is drawn."""
        kept = {"inner": self.inner.empty(count), "outer": self.outer.empty(count)}
        return {"values": _blank(count, self.num_steps), "kept": kept}

    def step(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        """Draw pixel ``i`` of the order."""
        pixel = self.outer.place(i)
        keys = keys_of_step(keys, i)

        def inside(kept: Any, key: Array, vector: Array | None) -> tuple[Array, Any]:
            place = self.inner.place(i)
            drawn, inner = self.inner.draw(params["inner"], kept["inner"], place, key, vector)
            # The other network needs to have seen it.
            outer = self.outer.follow(params["outer"], kept["outer"], pixel, drawn, vector)
            return drawn, {"inner": inner, "outer": outer}

        def outside(kept: Any, key: Array, vector: Array | None) -> tuple[Array, Any]:
            drawn, outer = self.outer.draw(params["outer"], kept["outer"], pixel, key, vector)
            return drawn, kept | {"outer": outer}

        drawn, kept = jax.lax.cond(
            i < self.inner.pixels,
            lambda *args: jax.vmap(inside)(*args),
            lambda *args: jax.vmap(outside)(*args),
            state["kept"],
            keys,
            vector,
        )
        return {"values": with_value(state["values"], pixel, drawn), "kept": kept}


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """First which blocks hold a lit pixel, then the pixels of those.

    A block that holds one cannot be empty: where all of its pixels but the last one in the order
    are dark, that one is lit. So the second stage gives no probability to what the first excludes.

    Attributes:
        coarse: on the grid of blocks, with a head of two numbers: empty, or not.
        fine: on the image.
        side: of a block.
    """

    coarse: Stage
    fine: Stage
    side: int

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return self.fine.trunk.size

    @property
    def num_steps(self) -> int:
        """One for each block, and for each pixel; without pixels left, they do nothing."""
        return self.coarse.pixels + self.fine.pixels

    @property
    def _block(self) -> np.ndarray:
        """Return in which block each pixel lies ``[N]``."""
        rows, columns = np.divmod(np.arange(self.fine.pixels), self.size[1])
        return rows // self.side * self.coarse.trunk.size[1] + columns // self.side

    @property
    def _is_last(self) -> np.ndarray:
        """Tell for each pixel whether it is the last one of its block ``[N]``."""
        when, block = ranks(self.fine.trunk.order), self._block
        latest = np.zeros(self.coarse.pixels, np.int64)
        np.maximum.at(latest, block, when)
        return when == latest[block]

    def init(self, key: Array, vector: Array | None) -> Params:
        """Return random parameters."""
        coarse, fine = jax.random.split(key)
        return {
            "blocks": self.coarse.init(coarse, vector),
            "pixels": self.fine.init(fine, vector, context=9),
        }

    def log_prob(self, params: Params, values: Array, vector: Array | None) -> Array:
        """Return the logarithms of the probabilities of images."""
        rows, columns = self.coarse.trunk.size
        shape = (len(values), rows, self.side, columns, self.side)
        lit = (values > 0).astype(jnp.int32)
        each = lit.reshape(shape)
        occupied = each.max((2, 4))
        features = self.coarse.features(params["blocks"], occupied, vector)
        first = self.coarse.head.log_prob(features, occupied).sum((1, 2))

        live = self._spread(occupied).astype(jnp.float32)
        context = self._spread(jax.vmap(_around)(occupied))
        told = {"context": context, "live": live}
        features = self.fine.features(params["pixels"], values, vector, **told)
        nats = self.fine.head.log_prob(features, values)
        # All others of the block are dark: the block is known to hold one more than these.
        others = self._spread(each.sum((2, 4))) - lit
        forced = jnp.asarray(self._is_last.reshape(self.size))[None] & (others == 0)
        sure = jnp.where(forced, self.fine.head.log_lit(features), 0.0)
        return first + (jnp.where(live > 0, nats - sure, 0.0)).sum((1, 2))

    def start(self, count: int) -> State:
        """Return the state of images of which nothing is drawn."""
        blocks, pixels = self.coarse.pixels, self.fine.pixels
        return {
            "values": _blank(count, pixels),
            "occupied": _blank(count, blocks),
            "lit": _blank(count, blocks),
            "queue": _blank(count, pixels),
            "live": jnp.zeros((count, pixels)),
            "coarse": self.coarse.empty(count),
            "kept": self.fine.empty(count),
        }

    def step(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        """Draw block ``i``, or after all blocks the next pixel of an occupied one."""
        blocks = self.coarse.pixels
        number = jnp.maximum(i - blocks, 0)
        # The images that still have so many pixels.
        left = number < state["occupied"].sum(1) * self.side**2
        return jax.lax.switch(
            jnp.where(i < blocks, 0, jnp.where(left.any(), 1, 2)),
            [self._draw_block, self._draw_pixel, lambda params, number, state, *_: state],
            params,
            jnp.where(i < blocks, i, number),
            state,
            keys,
            vector,
        )

    def _draw_block(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        block = self.coarse.place(i)

        def draw(kept: Any, key: Array, vector: Array | None) -> tuple[Array, Any]:
            return self.coarse.draw(params["blocks"], kept, block, key, vector)

        drawn, coarse = jax.vmap(draw)(state["coarse"], keys_of_step(keys, i), vector)
        state = state | {"occupied": with_value(state["occupied"], block, drawn), "coarse": coarse}
        return jax.lax.cond(i == self.coarse.pixels - 1, self._line_up, lambda state: state, state)

    def _line_up(self, state: State) -> State:
        """Return the state with the pixels that are to be drawn, in their order."""
        order = np.array(self.fine.trunk.order, np.int32)
        live = state["occupied"][:, self._block]
        ordered = live[:, order]
        place = jnp.where(ordered > 0, jnp.cumsum(ordered, axis=1) - 1, len(order))

        def queue(place: Array) -> Array:
            line = jnp.zeros(len(order), jnp.int32)
            return line.at[place].set(jnp.asarray(order), mode="drop")

        return state | {"queue": jax.vmap(queue)(place), "live": live.astype(jnp.float32)}

    def _draw_pixel(
        self, params: Params, number: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        left = number < state["occupied"].sum(1) * self.side**2
        pixels = state["queue"][:, number]

        def draw(
            image: State, pixel: Array, key: Array, active: Array, vector: Array | None
        ) -> tuple[Array, Array, Any]:
            block = jnp.asarray(self._block.astype(np.int32))[pixel]
            sure = jnp.asarray(self._is_last)[pixel] & (image["lit"][block] == 0)
            rows, columns = self.coarse.trunk.size
            around = _around(image["occupied"].reshape(rows, columns)).reshape(-1, 9)[block]
            told = {"context": around, "live": image["live"], "lit": sure}
            key = jax.random.fold_in(key, self.coarse.pixels + pixel)
            value, kept = self.fine.draw(
                params["pixels"], image["kept"], pixel, key, vector, **told
            )
            # Of an image that is ready nothing changes any more.
            value = jnp.where(active, value, image["values"][pixel])
            lit = image["lit"].at[block].add((active & (value > 0)).astype(jnp.int32))
            return image["values"].at[pixel].set(value), lit, kept

        values, lit, kept = jax.vmap(draw)(state, pixels, keys, left, vector)
        return state | {"values": values, "lit": lit, "kept": kept}

    def _spread(self, blocks: Array) -> Array:
        """Return for each pixel what is known of its block ``[B, rows, columns, ...]``."""
        return blocks.repeat(self.side, axis=1).repeat(self.side, axis=2)


def _around(occupied: Array) -> Array:
    """Return of each block which of the 3 x 3 around it are occupied, ``[rows, columns, 9]``."""
    rows, columns = occupied.shape
    padded = jnp.pad(occupied, 1).astype(jnp.float32)
    parts = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    return jnp.stack(parts, axis=-1)
