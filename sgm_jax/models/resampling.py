"""Double or halve the resolution of images ``[B, H, W, C]``, with or without a FIR filter.

The filters are those of StyleGAN2 (arXiv:1912.04958) and NCSN++ (arXiv:2011.13456): a short kernel,
normalised to sum one, applied along each axis, with zeros outside the image. On CPUs a filter is a
sum of shifted images: the gradient of a depthwise convolution is tens of times slower there. On
TPUs, where matrix products are cheap and shifted copies expensive, it is a matrix product.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _taps(kernel: Sequence[float], scale: float) -> list[float]:
    """Return the weights of a correlation (last tap first) that sum to ``scale``."""
    total = float(sum(kernel))
    if not total:
        raise ValueError(f"fir_kernel={tuple(kernel)}: the taps sum to 0, and cannot be normalised")
    return [scale * float(tap) / total for tap in reversed(kernel)]


def _filter(x: jax.Array, axis: int, *, taps: Sequence[float], stride: int) -> jax.Array:
    """Correlate one axis with ``taps``, without padding, keeping every ``stride``-th value."""
    stop = x.shape[axis] - len(taps) + 1
    return sum(
        tap * lax.slice_in_dim(x, shift, shift + stop, stride, axis)
        for shift, tap in enumerate(taps)
    )


def _pad(x: jax.Array, before: int, after: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))


def _upsample_axis(x: jax.Array, axis: int, taps: Sequence[float]) -> jax.Array:
    """Put zeros between the values of one axis and filter: even and odd outputs apart."""
    padding = len(taps) - 2
    before = (padding + 1) // 2 + 1
    size = x.shape[axis]
    phases = []
    for phase in (0, 1):
        # Tap j meets the value (phase + j - before) / 2 places further, if that is a whole number.
        used = [j for j in range(len(taps)) if (phase + j - before) % 2 == 0]
        shifts = [(phase + j - before) // 2 for j in used]
        low, high = max(0, -min(shifts)), max(0, max(shifts))
        widths = [(0, 0)] * x.ndim
        widths[axis] = (low, high)
        padded = jnp.pad(x, widths)
        phases.append(
            sum(
                taps[j] * lax.slice_in_dim(padded, low + shift, low + shift + size, 1, axis)
                for j, shift in zip(used, shifts, strict=True)
            )
        )
    shape = list(x.shape)
    shape[axis] = 2 * size
    return jnp.stack(phases, axis + 1).reshape(shape)


def upsample_2d(x: jax.Array, kernel: Sequence[float], gain: float = 1.0) -> jax.Array:
    """Double the resolution, to ``[B, 2H, 2W, C]``; constants grow by ``gain``."""
    taps = _taps(kernel, 2.0 * gain), _taps(kernel, 2.0)

    def shifted(x: jax.Array) -> jax.Array:
        return _upsample_axis(_upsample_axis(x, 1, taps[0]), 2, taps[1])

    return lax.platform_dependent(x, cpu=shifted, default=lambda x: _products(x, taps, up=True))


def downsample_2d(x: jax.Array, kernel: Sequence[float], gain: float = 1.0) -> jax.Array:
    """Halve the resolution, to ``[B, H/2, W/2, C]``; constants grow by ``gain``."""
    taps = _taps(kernel, gain), _taps(kernel, 1.0)
    padding = len(kernel) - 2

    def shifted(x: jax.Array) -> jax.Array:
        x = _pad(x, (padding + 1) // 2, padding // 2)
        return _filter(_filter(x, 1, taps=taps[0], stride=2), 2, taps=taps[1], stride=2)

    return lax.platform_dependent(x, cpu=shifted, default=lambda x: _products(x, taps, up=False))


def _products(x: jax.Array, taps: Sequence[Sequence[float]], *, up: bool) -> jax.Array:
    """Resample rows and columns by a matrix each; in bfloat16 sums are rounded once."""
    rows, columns = (
        jnp.asarray(resampling_matrix(size, each, up=up), x.dtype)
        for size, each in zip(x.shape[1:3], taps, strict=True)
    )
    # Products of float32 would be rounded to bfloat16 otherwise.
    exact = lax.Precision.HIGHEST
    x = jnp.einsum("oh,bhwc->bowc", rows, x, precision=exact)
    return jnp.einsum("pw,bowc->bopc", columns, x, precision=exact)


def resampling_matrix(size: int, taps: Sequence[float], *, up: bool) -> np.ndarray:
    """Return what the filter makes of each pulse on an axis: ``[2 size or size / 2, size]``."""
    pulses = np.eye(size)
    if up:
        pulses = np.kron(pulses, [1.0, 0.0])
    padding = len(taps) - 2
    widths = ((padding + 1) // 2 + up, padding // 2)
    answers = [np.correlate(np.pad(pulse, widths), taps, "valid") for pulse in pulses]
    return np.stack(answers, 1)[:: 1 if up else 2]


def conv_downsample_2d(
    x: jax.Array, weight: jax.Array, kernel: Sequence[float], *, gain: float = 1.0
) -> jax.Array:
    """Filter, then convolve every second pixel with ``weight`` ``[h, h, C, D]``.

    The image is padded once, before both, so ``[B, H, W, C]`` becomes ``[B, H/2, W/2, D]``.
    """
    padding = len(kernel) - 2 + weight.shape[0] - 1
    x = _pad(x, (padding + 1) // 2, padding // 2)
    x = _filter(x, 1, taps=_taps(kernel, gain), stride=1)
    x = _filter(x, 2, taps=_taps(kernel, 1.0), stride=1)
    return lax.conv_general_dilated(x, weight, (2, 2), "VALID", dimension_numbers=LAYOUT)


def upsample_conv_2d(
    x: jax.Array, weight: jax.Array, kernel: Sequence[float], *, gain: float = 1.0
) -> jax.Array:
    """Put zeros between pixels, convolve with ``weight`` ``[3, 3, C, D]``, then filter.

    The image is padded once, before both, so ``[B, H, W, C]`` becomes ``[B, 2H, 2W, D]``.
    """
    if weight.shape[:2] != (3, 3):
        raise ValueError(f"weight is {weight.shape[:2]} pixels wide; only (3, 3) is supported")
    b, h, w, c = x.shape
    d = weight.shape[-1]
    # Most products of a convolution over inserted zeros vanish. Tap j reaches output phase p from
    # input a (0 = previous pixel, 1 = this one) when j = 2a - p: a 2x2 kernel with four outputs.
    phases = jnp.pad(weight, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(2, 2, 2, 2, c, d)
    phases = phases[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, 4 * d)
    y = lax.conv_general_dilated(_pad(x, 1, 1), phases, (1, 1), "VALID", dimension_numbers=LAYOUT)
    y = depth_to_space(y.reshape(b, h + 1, w + 1, 4 * d), 2)[:, :-1, :-1]
    padding = len(kernel) - 4
    y = _pad(y, (padding + 1) // 2 + 1, padding // 2 + 1)
    y = _filter(y, 1, taps=_taps(kernel, 2.0 * gain), stride=1)
    return _filter(y, 2, taps=_taps(kernel, 2.0), stride=1)


def nearest_upsample_2d(x: jax.Array) -> jax.Array:
    """Repeat every pixel: ``[B, H, W, C]`` to ``[B, 2H, 2W, C]``."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def mean_downsample_2d(x: jax.Array) -> jax.Array:
    """Average squares of two by two pixels: ``[B, H, W, C]`` to ``[B, H/2, W/2, C]``."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def space_to_depth(x: jax.Array, k: int) -> jax.Array:
    """Fold ``k`` by ``k`` pixels into channels: ``[B, H, W, C]`` to ``[B, H/k, W/k, k*k*C]``."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // k, k, w // k, k, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // k, w // k, k * k * c)


def depth_to_space(x: jax.Array, k: int) -> jax.Array:
    """Undo ``space_to_depth``: ``[B, H, W, k*k*C]`` to ``[B, k*H, k*W, C]``."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, k, k, c // (k * k)).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * k, w * k, c // (k * k))
