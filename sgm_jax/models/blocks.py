"""The blocks of NCSN++: residual, attention, resampling and combination."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from sgm_jax.models import resampling
from sgm_jax.models.layers import GroupNorm, default_init, example_dropout, spread

Activation = Callable[[jax.Array], jax.Array]


class Conv(nn.Module):
    """A convolution ``width`` pixels wide, or a matrix at every pixel for width 1.

    Attributes:
        gain: factor of the output; it multiplies the weights, which are smaller than images.
        padding: pixels of zeros before and after each axis; "SAME" keeps the resolution.
        after: linear map of the pixels between the convolution and the bias.
        dtype: type of the products and the result; parameters and ``shift`` are float32.
    """

    features: int
    width: int = 3
    init_scale: float = 1.0
    gain: float = 1.0
    stride: int = 1
    padding: str | Sequence[tuple[int, int]] = "SAME"
    after: Callable[[jax.Array], jax.Array] = lambda y: y
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, shift: jax.Array | None = None) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', features]`` and add ``shift`` ``[B, features]``."""
        shape = (self.width, self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", default_init(self.init_scale), shape) * self.gain
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) * self.gain
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = self.after(convolve(x, kernel, stride=self.stride, padding=self.padding))
        offset = jnp.broadcast_to(bias, (x.shape[0], self.features))
        # In float32 because the gradient is a sum over pixels.
        y = y.astype(jnp.float32) + spread(offset if shift is None else offset + shift, y.shape[1])
        return y.astype(self.dtype)


class Dense(nn.Module):
    """A matrix and a bias; attributes are those of :class:`Conv`."""

    features: int
    init_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[..., C]`` to ``[..., features]``."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", default_init(self.init_scale), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype))
        offset = bias.reshape((1,) * (y.ndim - 1) + (self.features,))
        return (y.astype(jnp.float32) + offset).astype(self.dtype)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
) -> jax.Array:
    """Convolve ``[B, H, W, C]`` with ``[h, w, C, D]``; one pixel is a plain matrix product."""
    if kernel.shape[:2] == (1, 1):
        # As a matrix product, the weight gradient takes half the time of a 1x1 convolution's.
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
    strides = (stride, stride)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=resampling.LAYOUT
    )


def merge_gain(rescale: bool) -> float:
    """Return the factor of a sum of two branches; ``rescale`` keeps the variance of equal ones."""
    return math.sqrt(0.5) if rescale else 1.0


class ResampleConv(nn.Module):
    """A 3x3 convolution joined with a FIR filter that doubles or halves the resolution."""

    features: int
    up: bool
    fir_kernel: Sequence[float]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, 2H, 2W, features]`` or ``[B, H/2, W/2, features]``."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", default_init(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        resample = resampling.upsample_conv_2d if self.up else resampling.conv_downsample_2d
        y = resample(x.astype(self.dtype), kernel, self.fir_kernel).astype(jnp.float32)
        return (y + bias[None, None, None, :]).astype(self.dtype)


class Resample(nn.Module):
    """Double or halve the resolution, with a FIR filter, a convolution, both or neither."""

    up: bool
    with_conv: bool
    fir_kernel: Sequence[float] | None
    features: int | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, 2H, 2W, features or C]`` or half the resolution."""
        features = self.features or x.shape[-1]
        if not self.with_conv:
            return resample(x, up=self.up, fir_kernel=self.fir_kernel)
        if self.fir_kernel is not None:
            join = ResampleConv(features, self.up, self.fir_kernel, self.dtype, name="Conv2d_0")
            return join(x)
        if self.up:
            return Conv(features, dtype=self.dtype)(resampling.nearest_upsample_2d(x))
        padding = ((0, 1), (0, 1))
        return Conv(features, stride=2, padding=padding, dtype=self.dtype)(x)


def resample(x: jax.Array, *, up: bool, fir_kernel: Sequence[float] | None) -> jax.Array:
    """Double or halve the resolution of ``[B, H, W, C]``; without a kernel, repeat or average."""
    if fir_kernel is None:
        return resampling.nearest_upsample_2d(x) if up else resampling.mean_downsample_2d(x)
    filtered = resampling.upsample_2d if up else resampling.downsample_2d
    return filtered(x, fir_kernel)


class Combine(nn.Module):
    """Bring the input pyramid to the width of the features, then add or append it."""

    method: str

    @nn.compact
    def __call__(self, pyramid: jax.Array, h: jax.Array) -> jax.Array:
        """Combine ``[B, H, W, P]`` with ``[B, H, W, C]``: ``C`` channels, or ``2C`` for "cat"."""
        pyramid = Conv(h.shape[-1], 1)(pyramid).astype(h.dtype)
        return jnp.concatenate([pyramid, h], axis=-1) if self.method == "cat" else pyramid + h


class AttentionBlock(nn.Module):
    """Self-attention over all pixels, one head, with a residual connection."""

    skip_rescale: bool
    init_scale: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to the same shape."""
        b, h, w, c = x.shape
        pixels = GroupNorm(dtype=self.dtype, name="GroupNorm_0")(x).reshape(b * h * w, c)
        tokens = (self._dense(c, i, 0.1)(pixels) for i in range(3))
        query, key, value = (token.reshape(b, h * w, c) for token in tokens)
        single = {"preferred_element_type": jnp.float32}
        weights = jnp.einsum("bqc,bkc->bqk", query * c**-0.5, key, **single)
        weights = jax.nn.softmax(weights).astype(self.dtype)
        attended = jnp.einsum("bqk,bkc->bqc", weights, value)
        out = self._dense(c, 3, self.init_scale)(attended.reshape(b * h * w, c))
        return (x + out.reshape(x.shape)) * merge_gain(self.skip_rescale)

    def _dense(self, features: int, index: int, scale: float) -> Dense:
        return Dense(features, scale, self.dtype, name=f"NIN_{index}")


class ResidualBlock(nn.Module):
    """Two convolutions with normalisation, a time embedding, dropout and a shortcut.

    Attributes:
        features: channels of the output; None keeps those of the input.
        resample: "none", "up" or "down": BigGAN blocks resample inside (arXiv:1809.11096).
        dense_shortcut: a changed width passes the shortcut through a dense layer with small
            weights (DDPM) instead of a 1x1 convolution (BigGAN).
        fir_kernel: filter of the resampling; None repeats or averages pixels.
    """

    activation: Activation
    dropout: float
    skip_rescale: bool
    init_scale: float
    features: int | None = None
    resample: str = "none"
    dense_shortcut: bool = False
    fir_kernel: Sequence[float] | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        embedding: jax.Array | None,
        train: bool,
        example: jax.Array,
    ) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', features]``, given an activated embedding.

        ``embedding`` is ``[B, E]`` or None; ``example`` ``[B]`` numbers the images for their
        dropout masks, and is read in training only.
        """
        features = self.features or x.shape[-1]
        h = self._resample(GroupNorm(self.activation, self.dtype, name="GroupNorm_0")(x))
        shift = None
        if embedding is not None:
            shift = Dense(features, name="Dense_0")(embedding)
        h = Conv(features, dtype=self.dtype, name="Conv_0")(h, shift)
        h = GroupNorm(self.activation, self.dtype, name="GroupNorm_1")(h)
        if train and self.dropout > 0.0:
            h = example_dropout(h, self.make_rng("dropout"), example, rate=self.dropout)
        gain = merge_gain(self.skip_rescale)
        h = Conv(features, init_scale=self.init_scale, gain=gain, dtype=self.dtype, name="Conv_1")(
            h
        )
        return self._shortcut(x, features, gain) + h

    def _resample(self, x: jax.Array) -> jax.Array:
        if self.resample == "none":
            return x
        return resample(x, up=self.resample == "up", fir_kernel=self.fir_kernel)

    def _shortcut(self, x: jax.Array, features: int, gain: float) -> jax.Array:
        if self.resample == "none" and x.shape[-1] == features:
            return x * gain
        if self.dense_shortcut:
            return Dense(features, 0.1, self.dtype, name="NIN_0")(x) * gain
        if self.resample == "up":
            # Mixing channels and filtering pixels commute, and fewer pixels are cheaper to mix.
            return self._mix(features, gain, after=self._resample)(x)
        return self._mix(features, gain)(self._resample(x))

    def _mix(self, features: int, gain: float, **options) -> Conv:
        return Conv(features, 1, gain=gain, dtype=self.dtype, name="Conv_2", **options)
