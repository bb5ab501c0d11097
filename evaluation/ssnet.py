"""SSNet: the semantic-segmentation network (dense UResNet) that tells track from shower pixels.

arXiv:1808.07269; published code: NuTufts/uresnet_pytorch, ``uresnet_dense.py``. Images are NHWC on
the scale 0..255. Every convolution pads by repeating the border and is followed by batch
normalisation, which has two modes:

* ``batch_statistics``: mean and variance of the batch at hand, what the published code does also
  when it labels images. The result of an image then depends on the others of its batch.
* ``running_statistics``: mean and variance gathered while training; images are independent.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from evaluation.ssnet_layers import BatchNorm, edge_padding, repeat_border

Array = jax.Array
Variables = Any

BACKGROUND, SHOWER, TRACK = range(3)
CLASSES = ("background", "shower", "track")
NORMALISATIONS = ("batch_statistics", "running_statistics")
SCORE_CAP = 0.999

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
