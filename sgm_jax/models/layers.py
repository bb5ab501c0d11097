"""Normalisation, dropout and the initial weights shared by the blocks of the network."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p, threefry_2x32

_DRAWS = 1 << 16


def default_init(scale: float = 1.0) -> Callable:
    """Return the initialiser of DDPM: uniform, variance ``scale`` over the mean fan.

    A ``scale`` of 0 means 1e-10: nearly zero, but not a dead start.
    """
    return nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def _apart(x: jax.Array) -> jax.Array:
    """On CPUs, keep the computations before and after ``x`` in separate loops."""
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


def spread(values: jax.Array, rows: int) -> jax.Array:
    """Repeat ``[B, C]`` as ``[B, rows, 1, C]``, to meet ``[B, rows, W, C]``.

    Its gradient sums along each row first, and then over the rows. XLA would join the two sums,
    which takes twice the time on CPUs, because all terms are written first. Hence the barrier.
    """
    b, c = values.shape
    repeated = jnp.broadcast_to(values[:, None, None, :], (b, rows, 1, c))
    return _apart(repeated)


def pixel_sum(x: jax.Array) -> jax.Array:
    """Sum ``[B, H, W, C]`` over pixels to ``[B, C]``, row by row (see ``spread``)."""
    return _apart(x.sum(2)).sum(1)


def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, groups: int, eps: float = 1e-6
) -> jax.Array:
    """Normalise ``[B, H, W, C]`` over pixels and each group of channels (arXiv:1803.08494).

    It is computed and returned in float32, whatever the type of ``x``. Sums run over pixels first
    and groups last, and the result is a single multiply-add: on CPUs this takes three quarters of
    the time of the textbook form.
    """
    wide = x.astype(jnp.float32)
    if x.dtype == jnp.float32:
        mean, variance = _moments(wide, groups)
    else:
        row = x.shape[1] // 2
        near = _group_mean(x[:, row : row + 1].astype(jnp.float32), groups)
        mean, variance = _moments_around(near, wide, groups)
    slope = scale[None, :] * jax.lax.rsqrt(variance + eps)
    offset = bias[None, :] - mean * slope
    return wide * spread(slope, x.shape[1]) + spread(offset, x.shape[1])


def _moments(x: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Return mean and variance ``[B, C]`` of each group, in two passes without cancellation."""
    mean = _group_mean(x, groups)
    return mean, _group_mean(jnp.square(x - spread(mean, x.shape[1])), groups)


def _moments_around(near: jax.Array, x: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Return the same in one pass, from sums around ``near`` ``[B, C]``, the mean of some pixels.

    One pass is faster on TPUs, where reading memory takes most of the time. The subtraction cancels
    digits in proportion to the squared distance of the two means over the variance, which is too
    few to matter in bfloat16.
    """
    # The moments do not depend on ``near``, and so neither do gradients.
    near = jax.lax.stop_gradient(near)
    away = x - spread(near, x.shape[1])
    rest = _group_mean(away, groups)
    variance = _group_mean(jnp.square(away), groups) - jnp.square(rest)
    return near + rest, jnp.maximum(variance, 0.0)


def _group_mean(x: jax.Array, groups: int) -> jax.Array:
    """Return the mean ``[B, C]`` of ``[B, H, W, C]`` over pixels and groups, for each channel."""
    b, h, w, c = x.shape
    shape = (b, groups, c // groups)
    sums = pixel_sum(x).reshape(shape).sum(-1, keepdims=True)
    return jnp.broadcast_to(sums / (h * w * (c // groups)), shape).reshape(b, c)


def group_count(channels: int) -> int:
    """Return how many groups of channels are normalised together.

    Raises:
        ValueError: if the channels do not divide into the groups.
    """
    groups = min(channels // 4, 32)
    if groups == 0 or channels % groups:
        raise ValueError(
            f"GroupNorm: {channels} channels do not divide into {groups} groups;"
            " take --config.model.nf as a multiple of 4, and of 32 where a level has 128 channels"
            " or more"
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
        y = group_norm(x, scale, bias, groups=group_count(channels)).astype(self.dtype)
        if self.activation is None:
            return y
        # Rounding in between as well saves a tenth of a block's memory traffic in the gradient.
        return self.activation(y.astype(jnp.float32)).astype(self.dtype)


def example_dropout(x: jax.Array, key: jax.Array, example: jax.Array, *, rate: float) -> jax.Array:
    """Zero values of ``[B, ...]`` at ``rate`` and scale the rest, keeping the mean.

    The mask of an example depends on ``key`` and on its number ``example[i]`` only, so it is the
    same in every batch and on every device. Draws have 16 bits: ``rate`` is rounded to 1/65536 and
    the scale is exact for the rounded rate.
    """
    kept = round((1.0 - rate) * _DRAWS)
    if kept == _DRAWS:
        return x

    def own_key(number: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(key, number))

    def draw(number: jax.Array) -> jax.Array:
        return packed_draws(own_key(number), x.shape[1:]) < jnp.uint16(kept)

    def draw_in_place(number: jax.Array) -> jax.Array:
        halves = draws_in_place(own_key(number), x.shape[1:])
        # Compared before they are joined: flags move a quarter of the bytes of numbers.
        return jnp.concatenate([half < jnp.uint32(kept) for half in halves])

    # On a CPU work counts, and a word makes two draws. Put beside each other they cost a TPU, whose
    # memory is laid out in tiles, a third of a block's traffic; work it has to spare.
    divides = x.shape[1] % 2 == 0 and math.prod(x.shape[1:]) % 4 == 0
    branches = {"cpu": jax.vmap(draw), "default": jax.vmap(draw_in_place if divides else draw)}
    mask = jax.lax.platform_dependent(example, **branches)
    return jnp.where(mask, x * (_DRAWS / kept), jnp.zeros((), x.dtype))


def packed_draws(own: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw 16 bits for each value, from halves of words; ``own`` is the key's two words."""
    # The generator behind jax.random.bits, which would throw half of its words away.
    size = math.prod(shape)
    words = threefry_2x32(own, jnp.arange((size + 1) // 2, dtype=jnp.uint32))
    return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size].reshape(shape)


def draws_in_place(own: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Return the same draws as 32-bit numbers, each computed where it belongs.

    A value's word is found from the value's number, and so made twice. The generator makes two
    words at a time: one for the upper half of the rows, one for the lower, as they are returned.
    """
    half = (shape[0] // 2, *shape[1:])
    number = jax.lax.iota(jnp.uint32, math.prod(half)).reshape(half)
    pair, odd = number >> jnp.uint32(1), number & jnp.uint32(1)
    first, second = (jnp.broadcast_to(word, half) for word in own)
    words = threefry2x32_p.bind(first, second, pair, pair + jnp.uint32(math.prod(half) // 2))
    upper, lower = (word >> (odd * jnp.uint32(16)) for word in words)
    return upper & jnp.uint32(_DRAWS - 1), lower & jnp.uint32(_DRAWS - 1)
