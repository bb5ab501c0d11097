"""SSNet: the semantic-segmentation network (dense UResNet) that tells track from shower pixels.

arXiv:1808.07269; published code: NuTufts/uresnet_pytorch, ``uresnet_dense.py``. Images are NHWC on
the scale 0..255. Every convolution pads by repeating the border and is followed by batch
normalisation, which has two modes:

* ``batch_statistics``: mean and variance of the batch at hand, what the published code does also
  when it labels images. The result of an image then depends on the others of its batch.
* ``running_statistics``: mean and variance gathered while training; images are independent.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Statistics = tuple[Array, Array]
Variables = Any

BACKGROUND, SHOWER, TRACK = range(3)
CLASSES = ("background", "shower", "track")
NORMALISATIONS = ("batch_statistics", "running_statistics")
SCORE_CAP = 0.999
EPSILON = 1e-5
# Running statistics average over about 1 / (1 - momentum) batches.
MOMENTUM = 0.98

# Uniform within 1 / sqrt(fan-in), as PyTorch starts its convolutions.
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Kernel index that leads from input offset d (column) to output phase a (row); index 3 is none.
_PHASE_TAPS = np.array(((1, 3), (2, 0)))


class SSNetOutput(NamedTuple):
    """What the network says of a batch."""

    logits: Array  # [B, H, W, classes]
    features: Array  # [B, H / 8, W / 8, 8 * filters], third level on the way down, for FID


class ConvNorm(nn.Module):
    """Border repetition, convolution, batch normalisation."""

    features: int
    kernel: int
    stride: int
    running: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel, bias = Weights(shape, name="conv")()
        x = repeat_border(x, edge_padding(self.kernel, self.stride, x.shape[2]))
        x = jax.lax.conv_general_dilated(
            x, kernel, (self.stride, self.stride), "VALID", dimension_numbers=_LAYOUT
        )
        return BatchNorm(self.running, self.axis_name, name="norm")(x, bias)


class UpConvNorm(nn.Module):
    """Transposed 3x3 convolution of stride 2, batch normalisation.

    The output has four phases (even and odd rows and columns), each a convolution with those taps
    of the kernel that reach it; one 2x2 convolution makes all four. On CPU this is several times
    faster than to convolve a dilated input.
    """

    features: int
    running: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, 2 H, 2 W, features]``."""
        batch, height, width, channels = x.shape
        kernel, bias = Weights((3, 3, channels, self.features), name="conv")()
        padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
        taps = padded[_PHASE_TAPS][:, :, _PHASE_TAPS]  # [phase, offset, phase, offset, in, out]
        kernel = taps.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, channels, 4 * self.features)
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((0, 1), (0, 1)), dimension_numbers=_LAYOUT
        )
        x = x.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, 2 * height, 2 * width, self.features)
        return BatchNorm(self.running, self.axis_name, name="norm")(x, bias)


class Weights(nn.Module):
    """Kernel, HWIO, and bias of a convolution; returned as a pair."""

    shape: tuple[int, int, int, int]

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Return kernel and bias."""
        kernel = self.param("kernel", _INIT, self.shape)
        return kernel, self.param("bias", nn.initializers.zeros_init(), self.shape[-1:])


class ResNetModule(nn.Module):
    """Two 3x3 convolutions, without activation between them, beside a shortcut."""

    features: int
    stride: int
    running: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        mode = {"running": self.running, "axis_name": self.axis_name}
        shortcut = x
        if x.shape[-1] != self.features or self.stride != 1:
            shortcut = ConvNorm(self.features, 1, self.stride, **mode, name="shortcut")(x)
        x = ConvNorm(self.features, 3, self.stride, **mode, name="residual1")(x)
        x = ConvNorm(self.features, 3, 1, **mode, name="residual2")(x)
        return nn.relu(shortcut + x)


class DoubleResNet(nn.Module):
    """Two residual modules; the first changes size and channels."""

    features: int
    stride: int
    running: bool
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""
        mode = {"running": self.running, "axis_name": self.axis_name}
        x = ResNetModule(self.features, self.stride, **mode, name="resnet1")(x)
        return ResNetModule(self.features, 1, **mode, name="resnet2")(x)


class SSNet(nn.Module):
    """The network: ``apply(variables, images [B, H, W, 1]) -> SSNetOutput``.

    Height and width are multiples of ``2 ** num_strides``.

    Attributes:
        normalisation: one of ``NORMALISATIONS``.
        filters: channels at full resolution; they double with each stride.
        num_strides: levels below the full resolution, at least 3 for the features.
        num_classes: of the logits.
        axis_name: device axis that the statistics of a batch are averaged over, if there is one.
    """

    normalisation: str
    filters: int = 16
    num_strides: int = 4
    num_classes: int = len(CLASSES)
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> SSNetOutput:
        """Map images ``[B, H, W, 1]`` on 0..255 to logits and features."""
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(
                f"normalisation is {self.normalisation!r}; it can be: {', '.join(NORMALISATIONS)}"
            )
        running = self.normalisation == "running_statistics"
        mode = {"running": running, "axis_name": self.axis_name}
        x = nn.relu(ConvNorm(self.filters, 3, 1, **mode, name="conv1")(images))
        levels = [x]
        for i in range(self.num_strides):
            width = self.filters * 2 ** (i + 1)
            levels.append(DoubleResNet(width, 2, **mode, name=f"double_resnet_{i}")(levels[-1]))
        x = levels[-1]
        for i, skip in enumerate(levels[-2::-1]):
            width = skip.shape[-1]
            up = nn.relu(UpConvNorm(width, **mode, name=f"decode_conv_{i}")(x))
            x = jnp.concatenate([up, skip], axis=-1)
            x = DoubleResNet(width, 1, **mode, name=f"decode_double_resnet_{i}")(x)
        x = nn.relu(ConvNorm(self.filters, 3, 1, **mode, name="conv2")(x))
        logits = ConvNorm(self.num_classes, 3, 1, **mode, name="conv3")(x)
        return SSNetOutput(logits, levels[min(3, self.num_strides)])


def apply(net: SSNet, variables: Variables, images: Array) -> SSNetOutput:
    """Run the network for its output only; new running statistics are dropped."""
    if net.normalisation == "running_statistics":
        return net.apply(variables, images)
    output, _ = net.apply({"params": variables["params"]}, images, mutable=["batch_stats"])
    return output


def probabilities(logits: Array, *, cap: float | None = None) -> Array:
    """Return the softmax; values above ``cap`` become ``cap``, as in the paper (0.999)."""
    scores = jax.nn.softmax(logits, axis=-1)
    return scores if cap is None else jnp.minimum(scores, cap)


# Border repetition and batch normalisation, with their gradients written out: automatic
# differentiation is right and slow here. It makes arrays of zeros for every border, and sums over
# all pixels one after the other, which also loses digits.


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
