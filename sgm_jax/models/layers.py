"""Normalisation, dropout and the initial weights shared by the blocks of the network."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

_DRAWS = 1 << 16


def default_init(scale: float = 1.0) -> Callable:
    """Return the initialiser of DDPM: uniform, variance ``scale`` over the mean fan.

    A ``scale`` of 0 means 1e-10: nearly zero, but not a dead start.
    """
    return nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def spread(values: jax.Array, rows: int) -> jax.Array:
    """Repeat ``[B, C]`` as ``[B, rows, 1, C]``, to meet ``[B, rows, W, C]``.

    Its gradient sums along each row first and over the rows last. XLA would join the two sums, and
    on CPUs the joined one takes twice the time: it first writes all the terms. Hence the barrier.
    """
    b, c = values.shape
    repeated = jnp.broadcast_to(values[:, None, None, :], (b, rows, 1, c))
    return jax.lax.optimization_barrier(repeated)


def pixel_sum(x: jax.Array) -> jax.Array:
    """Sum ``[B, H, W, C]`` over pixels to ``[B, C]``, row by row (see ``spread``)."""
    return jax.lax.optimization_barrier(x.sum(2)).sum(1)


def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, groups: int, eps: float = 1e-6
) -> jax.Array:
    """Normalise ``[B, H, W, C]`` over pixels and each group of channels (arXiv:1803.08494).

    It is computed and returned in float32, whatever the type of ``x``. Sums run over pixels first
    and groups last, the variance takes a second pass (no cancellation), and all of it ends in one
    multiply-add: on CPUs three quarters of the time of the textbook form.
    """
    b, h, w, c = x.shape
    count = h * w * (c // groups)

    def group_mean(values: jax.Array) -> jax.Array:
        sums = pixel_sum(values).reshape(b, groups, c // groups).sum(-1, keepdims=True)
        return jnp.broadcast_to(sums / count, (b, groups, c // groups)).reshape(b, c)

    wide = x.astype(jnp.float32)
    mean = group_mean(wide)
    variance = group_mean(jnp.square(wide - spread(mean, h)))
    slope = scale[None, :] * jax.lax.rsqrt(variance + eps)
    offset = bias[None, :] - mean * slope
    return wide * spread(slope, h) + spread(offset, h)


def group_count(channels: int) -> int:
    """Return how many groups of channels are normalised together.

    Raises:
        ValueError: if the channels do not divide into the groups.
    """
    groups = min(channels // 4, 32)
    if groups == 0 or channels % groups:
        raise ValueError(
            f"GroupNorm: {channels} channels do not divide into {groups} groups;"
            " take nf as a multiple of 4, and of 32 where a level has 128 channels or more"
        )
    return groups


class GroupNorm(nn.Module):
    """Group normalisation with ``min(C / 4, 32)`` groups, followed by ``activation`` if given.

    Attributes:
        activation: of the normalised values, in float32.
        dtype: of the result.
    """

    activation: Callable[[jax.Array], jax.Array] | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise ``[B, H, W, C]``."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        y = group_norm(x, scale, bias, groups=group_count(channels))
        return (y if self.activation is None else self.activation(y)).astype(self.dtype)


def example_dropout(x: jax.Array, key: jax.Array, example: jax.Array, *, rate: float) -> jax.Array:
    """Zero values of ``[B, ...]`` at ``rate`` and scale the rest, keeping the mean.

    The mask of an example depends on ``key`` and on its number ``example[i]`` only, so it is the
    same in every batch and on every device. Draws have 16 bits: ``rate`` is rounded to 1/65536 and
    the scale is exact for the rounded rate.
    """
    kept = round((1.0 - rate) * _DRAWS)
    if kept == _DRAWS:
        return x
    size = x[0].size

    def draw(number: jax.Array) -> jax.Array:
        # The generator behind jax.random.bits, which would throw half of its words away.
        own = jax.random.key_data(jax.random.fold_in(key, number))
        words = threefry_2x32(own, jnp.arange((size + 1) // 2, dtype=jnp.uint32))
        return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size]

    mask = jax.vmap(draw)(example).reshape(x.shape) < jnp.uint16(kept)
    return jnp.where(mask, x * (_DRAWS / kept), jnp.zeros((), x.dtype))
