"""Codes of a coarse grid, then those of the fine one, which is told the coarse ones (VQ-VAE-2)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.generators.autoregressive.orders import Size
from sgm_jax.generators.autoregressive.stages import (
    OneStage,
    Params,
    Stage,
    State,
    keys_of_step,
    with_value,
)
from sgm_jax.generators.vqvae.networks import Residual

Array = jax.Array


class Context(nn.Module):
    """What coarse codes say to each place of the fine grid.

    Attributes:
        channels: of it.
        blocks: residual blocks that look around.
    """

    channels: int
    blocks: int

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        """Map unit vectors of codes ``[B, h, w, K]`` to ``[B, 2h, 2w, channels]``."""
        x = nn.Dense(self.channels, use_bias=False)(codes)
        x = nn.Conv(self.channels, (3, 3))(x)
        for _ in range(self.blocks):
            x = Residual()(x)
        return x.repeat(2, axis=1).repeat(2, axis=2)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoLevels:
    """A stage for each level; a :class:`sgm_jax.generators.autoregressive.stages.Plan`.

    Its values are those of both grids in a row ``[B, n + N]``, coarse ones first.

    Attributes:
        top: on the coarse grid.
        bottom: on the fine one.
        context: what the first says to the second.
    """

    top: Stage
    bottom: Stage
    context: Context

    @property
    def size(self) -> Size:
        """Height and width of the fine grid."""
        return self.bottom.trunk.size

    @property
    def num_steps(self) -> int:
        """One for each code."""
        return self.top.pixels + self.bottom.pixels

    def init(self, key: Array, vector: Array | None) -> Params:
        """Return random parameters."""
        top, context, bottom = jax.random.split(key, 3)
        codes = jnp.zeros((1, *self.top.trunk.size, self.top.head.channels))
        return {
            "top": self.top.init(top, vector),
            "context": self.context.init(context, codes)["params"],
            "bottom": self.bottom.init(bottom, vector, context=self.context.channels),
        }

    def log_prob(self, params: Params, values: Array, vector: Array | None) -> Array:
        """Return the logarithms of the probabilities of codes."""
        top = values[:, : self.top.pixels].reshape(-1, *self.top.trunk.size)
        bottom = values[:, self.top.pixels :].reshape(-1, *self.size)
        features = self.top.features(params["top"], top, vector)
        first = self.top.head.log_prob(features, top).sum((1, 2))
        told = {"context": self._context(params, values)}
        features = self.bottom.features(params["bottom"], bottom, vector, **told)
        return first + self.bottom.head.log_prob(features, bottom).sum((1, 2))

    def start(self, count: int) -> State:
        """Return the state of codes of which nothing is drawn."""
        coarse = OneStage(self.top).start(count)
        height, width = self.size
        return {
            "values": jnp.zeros((count, self.num_steps), jnp.int32),
            "top": coarse["kept"],
            "bottom": self.bottom.empty(count),
            "context": jnp.zeros((count, height * width, self.context.channels)),
        }

    def step(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        """Draw code ``i``: those of the coarse grid come first."""
        branch = jnp.where(i < self.top.pixels, 0, 1)
        draw = [self._draw_top, self._draw_bottom]
        return jax.lax.switch(branch, draw, params, i, state, keys_of_step(keys, i), vector)

    def _draw_top(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        place = self.top.place(i)

        def draw(kept, key, vector):
            return self.top.draw(params["top"], kept, place, key, vector)

        drawn, kept = jax.vmap(draw)(state["top"], keys, vector)
        return state | {"values": with_value(state["values"], place, drawn), "top": kept}

    def _draw_bottom(
        self, params: Params, i: Array, state: State, keys: Array, vector: Array | None
    ) -> State:
        number = i - self.top.pixels
        place = self.bottom.place(number)
        shape = state["context"].shape
        # All coarse codes are known from now on.
        context = jax.lax.cond(
            number == 0,
            lambda: self._context(params, state["values"]).reshape(shape),
            lambda: state["context"],
        )

        def draw(kept, key, vector, context):
            return self.bottom.draw(params["bottom"], kept, place, key, vector, context=context)

        drawn, kept = jax.vmap(draw)(state["bottom"], keys, vector, context[:, place])
        values = with_value(state["values"], self.top.pixels + place, drawn)
        return state | {"values": values, "bottom": kept, "context": context}

    def _context(self, params: Params, values: Array) -> Array:
        """Return what the coarse codes say ``[B, H, W, channels]``."""
        top = values[:, : self.top.pixels].reshape(-1, *self.top.trunk.size)
        return self.context.apply({"params": params["context"]}, self.top.head.embed(top))
