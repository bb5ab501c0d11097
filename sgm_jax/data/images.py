"""A set of images behind one interface: ``[N, H, W, C]`` on the scale 0..255, read on demand."""

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgm_jax.data.masked import Masked, check_fits
from sgm_jax.data.scaling import NONE, Scaling, flag

_CHECK_BYTES = 2**26
_SAMPLE_IMAGES = 256
_SAMPLE_BYTES = 2**24
_FAINT = 4


def evenly_spaced(total: int, count: int) -> np.ndarray:
    """Choose at most `count` different positions in ``0..total-1``, first and last included."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(np.int64))


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size, read when indexed and never all at once.

    ``images[rows]`` takes a slice or a 1-D array of non-negative integers in any order, repeats
    allowed, and returns a new array ``[n, H, W, C]`` on the scale 0..255: uint8, or float32 where
    the source holds floating point or is scaled.
    """

    stored: Any
    """What holds the pixels, ``[N, H, W]``, ``[N, H, W, c]`` or ``[N, c, H, W]``."""
    source: str
    num_channels: int
    channels_first: bool
    scaling: Scaling
    fingerprint: str = field(init=False)
    """Hash of the shape and of up to 256 evenly spaced images as they are delivered.

    It does not depend on the file format. A changed set is very likely to have another one, but
    pixels of the other images may change without being noticed.
    """

    def __post_init__(self):
        # Computed at once, which also proves that the source can be read.
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=16)
        for block in _sample_blocks(self):
            digest.update(block.astype("<f4").tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    def __len__(self) -> int:
        return self.stored.shape[0]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Size of the whole set, ``(N, H, W, C)``."""
        height, width = self.stored.shape[2:4] if self.channels_first else self.stored.shape[1:3]
        return len(self), height, width, self.num_channels

    @property
    def dtype(self) -> np.dtype:
        """Type of the delivered images, uint8 or float32."""
        whole_numbers = self.stored.dtype.kind in "biu" and self.scaling.kind == NONE
        return np.dtype(np.uint8 if whole_numbers else np.float32)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        if not isinstance(rows, slice):
            rows = _checked_rows(rows, len(self))
        block = np.asarray(self.stored[rows])
        if block.ndim == 3:
            block = block[..., None]
        elif self.channels_first:
            block = np.moveaxis(block, 1, -1)
        shape = (len(block), *self.shape[1:])
        block = self.scaling.apply(block)
        return np.array(np.broadcast_to(block, shape), dtype=self.dtype, order="C")


def from_array(
    array: Any,
    *,
    num_channels: int,
    image_size: int | None,
    scaling: str = "none",
    source: str = "array",
    mask: np.ndarray | None = None,
) -> Images:
    """Check `array` once, completely, and wrap it.

    Args:
        array: ``[N, H, W]``, ``[N, H, W, 1 or 3]`` or ``[N, 1 or 3, H, W]``; anything with `shape`,
            `dtype` and reading by rows.
        num_channels: 1 or 3; grey images are repeated into 3 channels, colour is never made grey.
        image_size: height and width that the images must have; None takes any.
        scaling: ``"none"`` for values that are on the scale 0..255 already; ``"per_image"``,
            ``"quantile"`` or ``"fixed:FULL"`` for absolute charges (any finite values), see
            :class:`sgm_jax.data.scaling.Scaling`.
        source: name of the array in messages.
        mask: booleans ``[1 or N, H, W]``; where False, pixels are never looked at and read as 0.

    Warns when more than half of the lit pixels are so faint that the paper's post-processing sets
    them to 0: such values are legal but nearly always absolute charges or labels.

    Raises:
        ValueError: wrong rank, size or channels, or values that are not finite or not in 0..255.
    """
    if num_channels not in (1, 3):
        raise ValueError(f"num_channels is {num_channels}; images have 1 (grey) or 3 (colour)")
    scale = Scaling.parse(scaling)
    channels_first = _check_shape(array, num_channels=num_channels, source=source)
    height, width = array.shape[2:4] if channels_first else array.shape[1:3]
    if image_size is not None and (height, width) != (image_size, image_size):
        raise ValueError(size_message(source, height, width, image_size))
    if mask is not None:
        check_fits(mask, count=array.shape[0], size=(height, width), source=source)
        array = Masked(array, mask, channels_first)
    _check_values(array, scaling=scale, source=source)
    images = Images(array, source, num_channels, channels_first, scale)
    _warn_if_faint(images)
    return images


def size_message(source: str, height: int, width: int, image_size: int) -> str:
    """Say that images have another size than the configured one."""
    return (
        f"{source}: images are {height}x{width} (height x width) but image_size is {image_size}; "
        f"crop the images to {image_size}x{image_size} or change image_size"
    )


def _checked_rows(rows: np.ndarray, total: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise IndexError("images are indexed by a slice or a 1-D array of integers")
    if rows.size and not (rows.min() >= 0 and rows.max() < total):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of {total} images do not exist")
    return rows


def _check_shape(array: Any, *, num_channels: int, source: str) -> bool:
    """Return whether the channel axis of `array` comes before height and width."""
    shape = tuple(array.shape)
    if len(shape) not in (3, 4):
        hint = "; for a single image add a leading axis" if len(shape) == 2 else ""
        raise ValueError(f"{source}: shape {shape} is not [N, H, W] or [N, H, W, C]{hint}")
    if 0 in shape:
        raise ValueError(f"{source}: shape {shape} holds no images; was it written completely?")
    if len(shape) == 3:
        # 1 or 3 columns are no image: this is nearly always a single [H, W, C] picture.
        if shape[-1] in (1, 3):
            raise ValueError(
                f"{source}: shape {shape} may be one image [H, W, C] or {shape[0]} images "
                f"{shape[1]}x{shape[2]}; write it as [N, H, W, C]"
            )
        return False
    last, first = shape[3] in (1, 3), shape[1] in (1, 3)
    if last == first:
        problem = "either axis 1 or axis 3 may be" if last else "neither axis 1 nor axis 3 is"
        raise ValueError(
            f"{source}: shape {shape} has no clear channel axis, {problem} 1 or 3 channels; "
            "write the images as [N, H, W] or [N, H, W, C]"
        )
    if num_channels == 1 and shape[1 if first else 3] == 3:
        raise ValueError(
            f"{source}: images have 3 channels but num_channels is 1; set num_channels to 3 or "
            "store one grey channel (array[..., 0] if the three are equal)"
        )
    return first


def _check_values(array: Any, *, scaling: Scaling, source: str) -> None:
    """Read floating-point and wide-integer arrays through once and refuse unusable values."""
    kind = array.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"{source}: dtype {array.dtype} is not a real number; convert to float32")
    if array.dtype == np.uint8 or (scaling.kind != NONE and kind != "f"):
        return
    low, high, first_outside = np.inf, -np.inf, None
    rows = max(1, _CHECK_BYTES // (array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, array.shape[0], rows):
        block = np.asarray(array[start : start + rows]).reshape(-1, *array.shape[1:])
        block_low, block_high = float(block.min()), float(block.max())
        if not np.isfinite([block_low, block_high]).all():
            _refuse_first(block, ~np.isfinite(block), start, source, "remove or repair the image")
        low, high = min(low, block_low), max(high, block_high)
        if first_outside is None and (low < 0 or high > 255):
            first_outside = start
    if scaling.kind == NONE:
        _check_range(array, low, high, first_outside, rows=rows, source=source)


def _check_range(array, low, high, first_outside, *, rows: int, source: str) -> None:
    span = f"{source}: values span {low:g}..{high:g}, images must be on the scale 0..255"
    if low >= 0 and high <= 1:
        raise ValueError(f"{span}; this looks like 0..1: multiply by 255")
    if -1.5 <= low < 0 and high <= 1.5:
        raise ValueError(f"{span}; this looks like -1..1: store clip((x + 1) * 127.5, 0, 255)")
    if first_outside is not None:
        block = np.asarray(array[first_outside : first_outside + rows])
        fix = (
            f"outside 0..255 (all values span {low:g}..{high:g}): for charges in any unit give a "
            f"scaling, {flag('per_image')}, or quantile, or fixed:FULL"
        )
        _refuse_first(block, (block < 0) | (block > 255), first_outside, source, fix)


def _sample_blocks(images: Images) -> Iterator[np.ndarray]:
    """Yield up to 256 evenly spaced images, a few at a time: 256 large ones may fill the memory."""
    rows = evenly_spaced(len(images), _SAMPLE_IMAGES)
    count = max(1, _SAMPLE_BYTES // (4 * math.prod(images.shape[1:])))
    for start in range(0, len(rows), count):
        yield images[rows[start : start + count]]


def _warn_if_faint(images: Images) -> None:
    lit, faint, largest = 0, 0, 0
    for block in _sample_blocks(images):
        lit += np.count_nonzero(block > 0)
        faint += np.count_nonzero((block > 0) & (block <= _FAINT))
        largest = max(largest, block.max())
    if faint > lit / 2:
        warnings.warn(
            f"{images.source}: {100 * faint / lit:.0f} % of the lit pixels are at most "
            f"{_FAINT} of 255 (the largest is {largest:g}); if these are absolute charges give a "
            f"scaling, {flag('per_image')}",
            stacklevel=3,
        )


def _refuse_first(block, bad, start: int, source: str, fix: str) -> None:
    position = tuple(int(k) for k in np.argwhere(bad)[0])
    raise ValueError(
        f"{source}: image {start + position[0]} holds {block[position]:g} at {position[1:]}; {fix}"
    )
