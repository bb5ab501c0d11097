"""Border repetition and batch normalisation of SSNet, with their gradients written out.

Automatic differentiation is right and slow here: it makes arrays of zeros for every border, and
sums over all pixels one after the other, which also loses digits.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
Statistics = tuple[Array, Array]

EPSILON = 1e-5
# Running statistics average over about 1 / (1 - momentum) batches.
MOMENTUM = 0.98


def edge_padding(kernel: int, stride: int, width: int) -> tuple[int, int]:
    """Return by how many pixels the border is repeated before and after, on both axes.

    The original looks at the width only, and so do we.
    """
    total = max(kernel - (width % stride or stride), 0)
    return total // 2, total - total // 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def repeat_border(x: Array, padding: tuple[int, int]) -> Array:
    """Pad both axes of ``[B, H, W, C]`` with the border pixel, at most one before and after."""
    for axis in (1, 2):
        first, last = (jax.lax.slice_in_dim(x, k, k + 1, axis=axis) for k in (0, x.shape[axis] - 1))
        x = jnp.concatenate([first] * padding[0] + [x] + [last] * padding[1], axis)
    return x


def _fold_border(padding: tuple[int, int], _: None, gradient: Array) -> tuple[Array]:
    before, after = padding
    for axis in (2, 1):
        size = gradient.shape[axis] - before - after
        place = jnp.arange(size).reshape([size if k == axis else 1 for k in range(4)])
        part = functools.partial(jax.lax.slice_in_dim, gradient, axis=axis)
        gradient = part(before, before + size)
        if before:
            gradient += jnp.where(place == 0, part(0, 1), 0.0)
        if after:
            gradient += jnp.where(place == size - 1, part(before + size, None), 0.0)
    return (gradient,)


repeat_border.defvjp(lambda x, padding: (repeat_border(x, padding), None), _fold_border)


class BatchNorm(nn.Module):
    """Batch normalisation with batch or running statistics, as ``flax.linen.BatchNorm``.

    ``offset [C]`` is the bias of the convolution before. Batch statistics take it out again, so it
    is never added to the image, only to the mean that is kept.
    """

    running: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array, offset: Array) -> Array:
        """Normalise ``x + offset``, ``[B, H, W, C]``."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), channels)
        bias = self.param("bias", nn.initializers.zeros_init(), channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        variance = self.variable("batch_stats", "var", jnp.ones, channels)
        if self.running:
            return scale_and_shift(x, scale, bias, (mean.value - offset, variance.value))
        if self.is_initializing():
            return x
        out, (new_mean, new_variance) = normalise_batch(x, scale, bias, self.axis_name)
        mean.value += (1.0 - MOMENTUM) * (new_mean + offset - mean.value)
        variance.value += (1.0 - MOMENTUM) * (new_variance - variance.value)
        return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_batch(
    x: Array, scale: Array, bias: Array, axis_name: str | None
) -> tuple[Array, Statistics]:
    """Normalise ``[B, H, W, C]`` with its own mean and biased variance ``[C]``; return these too.

    The statistics are for keeping: no gradient flows through them.
    """
    mean, square = _over_devices(_two_means(x, x), axis_name)
    statistics = mean, jnp.maximum(square - mean * mean, 0.0)
    return scale_and_shift(x, scale, bias, statistics), statistics


def scale_and_shift(x: Array, scale: Array, bias: Array, statistics: Statistics) -> Array:
    """Normalise ``[B, H, W, C]`` with given mean and variance ``[C]``: one multiply-add."""
    mean, variance = statistics
    factor = scale * jax.lax.rsqrt(variance + EPSILON)
    return x * _wide(factor) + _wide(bias - mean * factor)


def _forward(x: Array, scale: Array, bias: Array, axis_name: str | None):
    out = normalise_batch(x, scale, bias, axis_name)
    return out, (x, scale, out[1])


def _backward(axis_name: str | None, saved, gradients):
    x, scale, (mean, variance) = saved
    gradient, _ = gradients
    rate = jax.lax.rsqrt(variance + EPSILON)
    here = _two_means(gradient, x)
    along = rate * (here[1] - mean * here[0])
    level, product = _over_devices(here, axis_name)
    slope = rate * rate * (product - mean * level)
    gradient = gradient - x * _wide(slope) + _wide(mean * slope - level)
    pixels = x.size // x.shape[-1]
    return gradient * _wide(scale * rate), along * pixels, here[0] * pixels


normalise_batch.defvjp(_forward, _backward)


def _two_means(x: Array, y: Array) -> Array:
    """Return the channel means of ``x`` and of ``x * y``, ``[2, C]``."""
    return jnp.stack([_mean(x), _mean(x * y)])


def _mean(x: Array) -> Array:
    """Average ``[B, H, W, C]`` over all but channels, in stages that vectorise and keep digits."""
    batch, height, width, channels = x.shape
    rows = x.reshape(batch, height, width * channels).mean(axis=1)
    return rows.reshape(batch, width, channels).mean(axis=1).mean(axis=0)


def _over_devices(x: Array, axis_name: str | None) -> Array:
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def _wide(channels: Array) -> Array:
    return channels.reshape(1, 1, 1, -1)
