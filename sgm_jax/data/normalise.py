"""The one normalisation between images on 0..255 and the network, and the paper's post-processing.

Paper: arXiv:2307.13687 (images scaled to -1..1; generated values below 5 set to 0).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sgm_jax.data.images import Images, evenly_spaced

_GREY_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)
_GREY_HALF = np.uint32(32768)
# Sixteen float32 steps at 255, twice the worst rounding of a transform and its inverse.
TRUNCATION_SLACK = 2.0**-12
_STD_ROWS = 512
# The saturated level, and the largest value that truncation keeps apart from it.
_SATURATED = 255
_UNSATURATED = _SATURATED - 2 * TRUNCATION_SLACK

# The gain k of the transforms "log" and "asinh". With 50, an eighth of the largest charge is in the
# middle of the logarithmic scale; half of the lit pixels of the simulated images are below a tenth.
GAIN = 50.0


class Transform(NamedTuple):
    """A monotone map of the charge ``q`` in 0..1 to 0..1, its inverse, and the log of its slope."""

    forward: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    log_slope: Callable[[Any], Any]


def _module(array: Any) -> Any:
    """Return numpy for arrays of numpy, and jax.numpy for others."""
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def _odd(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Continue a function of non-negative numbers to all: what a network draws may be negative."""

    def continued(values: Any) -> Any:
        module = _module(values)
        return module.sign(values) * function(module.abs(values))

    return continued


TRANSFORMS = {
    "linear": Transform(lambda q: q, lambda x: x, lambda q: 0 * q),
    "sqrt": Transform(
        _odd(lambda q: _module(q).sqrt(q)),
        _odd(lambda x: x * x),
        # It is infinite at 0, where a random charge between two levels may be.
        lambda q: -0.5 * _module(q).log(4 * _module(q).maximum(q, 1e-9)),
    ),
    "log": Transform(
        _odd(lambda q: _module(q).log1p(GAIN * q) / math.log1p(GAIN)),
        _odd(lambda x: _module(x).expm1(x * math.log1p(GAIN)) / GAIN),
        lambda q: math.log(GAIN / math.log1p(GAIN)) - _module(q).log1p(GAIN * q),
    ),
    "asinh": Transform(
        lambda q: _module(q).arcsinh(GAIN * q) / math.asinh(GAIN),
        lambda x: _module(x).sinh(x * math.asinh(GAIN)) / GAIN,
        lambda q: math.log(GAIN / math.asinh(GAIN)) - 0.5 * _module(q).log1p((GAIN * q) ** 2),
    ),
}


@dataclasses.dataclass(frozen=True)
class PixelScale:
    """The map between pixels on 0..255 and the space of a network.

    Detector images are faint: half of the lit pixels are below a tenth of the largest, and a
    network that gets charge on a linear scale hardly sees them. All transforms except "linear" (the
    paper's) spread them.

    Where an image is scaled by its largest pixel, or a charge is cut at what electronics can
    count, many pixels are exactly 255 and hardly any just below. A network draws values that lie
    around 255, and few of them on it. With a gap below the saturated level it can decide: what is
    drawn above the middle of the gap is 255, and what is below is less.

    Attributes:
        centered: network space is -1..1 instead of 0..1.
        transform: a name in :data:`TRANSFORMS`.
        saturation: width of the gap, where network space is 0..1 without it; 0 for none.
    """

    centered: bool
    transform: str = "linear"
    saturation: float = 0.0

    @classmethod
    def from_config(cls, data: Any) -> "PixelScale":
        """Return the scale that ``config.data`` describes."""
        return cls(data.centered, data.transform, data.saturation)

    def to_model(self, images: Any) -> Any:
        """Map images on 0..255 to float32 in network space.

        Takes numpy and JAX arrays of any shape and returns the same kind.
        """
        images = images.astype(np.float32)
        unit = TRANSFORMS[self.transform].forward(images / 255)
        if self.saturation:
            saturated = unit + np.float32(self.saturation)
            unit = _module(unit).where(images >= _SATURATED, saturated, unit)
        return 2 * unit - 1 if self.centered else unit

    def from_model(self, x: Any) -> Any:
        """Map network space back to float32 on 0..255, the inverse of :meth:`to_model`.

        Nothing is clipped: outside of network space the transform continues as an odd function.
        But what lies in the gap of `saturation` goes to the level that is nearer.
        """
        x = x.astype(np.float32)
        unit = (x + 1) / 2 if self.centered else x
        transform = TRANSFORMS[self.transform]
        if self.saturation:
            module = _module(unit)
            below = module.minimum(unit, transform.forward(np.float32(_UNSATURATED / 255)))
            above = module.maximum(unit - np.float32(self.saturation), np.float32(1))
            unit = module.where(unit > 1 + self.saturation / 2, above, below)
        return transform.inverse(unit) * 255

    def log_slope(self, images: Any) -> Any:
        """Return the logarithm of how fast :meth:`to_model` rises per level, for each pixel.

        A density of images is that of network space times the exponential of its sum.
        """
        slope = TRANSFORMS[self.transform].log_slope(images.astype(np.float32) / 255)
        return slope + math.log((2 if self.centered else 1) / 255)


def to_uint8(images: Any, threshold: int = 4, *, planes: bool = False) -> np.ndarray:
    """Turn generated images into 8-bit images as the paper does, grey ones or planes.

    Clip to 0..255, truncate, set every channel value up to `threshold` to 0, then convert three
    channels, which grey images were repeated into, to grey with the integer weights of ITU-R 601.
    The threshold comes before the conversion, so grey values up to `threshold` survive where only
    some of the channels passed.

    The original truncates; here a value within 2.4e-4 below an integer counts as that integer, so
    that every integer above the threshold comes back from network space, whatever the transform.

    Args:
        images: ``[N, H, W, 1 or 3]`` on the scale 0..255, not clipped; numpy or JAX.
        threshold: largest value that becomes 0; 0 keeps everything.
        planes: the three channels are planes of a detector, and stay what they are.

    Returns:
        uint8 ``[N, H, W, 1]``, or ``[N, H, W, 3]`` with `planes`.

    Raises:
        ValueError: other channels, or values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images have shape {images.shape}; expected [N, H, W, 1] or [N, H, W, 3]")
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not finite.all():
        raise ValueError(
            f"{np.count_nonzero(~finite)} of {len(images)} images hold NaN or infinity, the first "
            f"is image {np.argmin(finite)}; the sampler or the training diverged"
        )
    # The slack is added in float32: 255 + slack still truncates to 255.
    counts = (np.clip(images.astype(np.float32), 0, 255) + TRUNCATION_SLACK).astype(np.uint8)
    counts[counts <= threshold] = 0
    if planes or counts.shape[-1] == 1:
        return counts
    grey = (counts.astype(np.uint32) @ _GREY_WEIGHTS + _GREY_HALF) >> np.uint32(16)
    return grey.astype(np.uint8)[..., None]


def data_std(images: Images, scale: PixelScale, *, max_images: int = 10_000) -> float:
    """Measure the standard deviation of all pixel values in network space.

    This is sigma_data of the EDM preconditioning (arXiv:2206.00364). Sets larger than `max_images`
    are measured on that many evenly spaced images.

    Raises:
        ValueError: all pixels are equal.
    """
    rows = evenly_spaced(len(images), max_images)
    unit = dataclasses.replace(scale, centered=False)
    total, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), _STD_ROWS):
        block = unit.to_model(images[rows[start : start + _STD_ROWS]]).astype(np.float64)
        total += block.sum()
        squares += np.square(block).sum()
        count += block.size
    variance = squares / count - (total / count) ** 2
    # Rounding of sums of up to 1e10 equal terms makes this much of a zero variance.
    if variance < 1e-12:
        raise ValueError(f"{images.source}: all pixels of {len(rows)} images are equal; no data")
    return float(np.sqrt(variance)) * (2 if scale.centered else 1)
