"""The one normalisation between images on 0..255 and the network, and the paper's post-processing.

Paper: arXiv:2307.13687 (images scaled to -1..1; generated values below 5 set to 0).
"""

from typing import Any

import numpy as np

from sgm_jax.data.images import Images, evenly_spaced

_GREY_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)
_GREY_HALF = np.uint32(32768)
# Eight float32 steps at 255, four times the worst rounding of from_model(to_model(k)).
_TRUNCATION_SLACK = 2.0**-13
_STD_ROWS = 512


def to_model(images: Any, *, centered: bool) -> Any:
    """Map images on 0..255 to float32 in 0..1, or in -1..1 when `centered`.

    Takes numpy and JAX arrays of any shape and returns the same kind.
    """
    unit = images.astype(np.float32) / 255
    return 2 * unit - 1 if centered else unit


def from_model(x: Any, *, centered: bool) -> Any:
    """Map network space back to float32 on 0..255, the inverse of `to_model`; nothing is clipped.

    Takes numpy and JAX arrays of any shape and returns the same kind.
    """
    x = x.astype(np.float32)
    unit = (x + 1) / 2 if centered else x
    return unit * 255


def to_uint8(images: Any, threshold: int = 4) -> np.ndarray:
    """Turn generated images into grey 8-bit images as the paper does.

    Clip to 0..255, truncate, set every channel value up to `threshold` to 0, then convert colour
    to grey with the integer weights of ITU-R 601. The threshold comes before the conversion, so
    grey values up to `threshold` survive where only some of the channels passed.

    The original truncates; here a value within 1.2e-4 below an integer counts as that integer, so
    that ``to_uint8(from_model(to_model(k)))`` gives back every integer above the threshold.

    Args:
        images: ``[N, H, W, 1 or 3]`` on the scale 0..255, not clipped; numpy or JAX.
        threshold: largest value that becomes 0; 0 keeps everything.

    Returns:
        uint8 ``[N, H, W, 1]``.

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
    counts = (np.clip(images.astype(np.float32), 0, 255) + _TRUNCATION_SLACK).astype(np.uint8)
    counts[counts <= threshold] = 0
    if counts.shape[-1] == 1:
        return counts
    grey = (counts.astype(np.uint32) @ _GREY_WEIGHTS + _GREY_HALF) >> np.uint32(16)
    return grey.astype(np.uint8)[..., None]


def data_std(images: Images, *, centered: bool, max_images: int = 10_000) -> float:
    """Measure the standard deviation of all pixel values in network space.

    This is sigma_data of the EDM preconditioning (arXiv:2206.00364). Sets larger than `max_images`
    are measured on that many evenly spaced images.

    Raises:
        ValueError: all pixels are equal.
    """
    rows = evenly_spaced(len(images), max_images)
    total, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), _STD_ROWS):
        block = images[rows[start : start + _STD_ROWS]].astype(np.float64) / 255
        total += block.sum()
        squares += np.square(block).sum()
        count += block.size
    variance = squares / count - (total / count) ** 2
    # Sums of up to 1e10 equal terms leave this much of a zero variance.
    if variance < 1e-12:
        raise ValueError(f"{images.source}: all pixels of {len(rows)} images are equal; no data")
    return float(np.sqrt(variance)) * (2 if centered else 1)
