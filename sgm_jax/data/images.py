"""A set of images behind one interface: ``[N, H, W, C]`` on the scale 0..255, read on demand."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgm_jax.data.checks import check_channels, check_equal_channels, check_shape, check_values
from sgm_jax.data.masked import Masked, check_fits
from sgm_jax.data.scaling import NONE, Scaling

_SAMPLE_IMAGES = 256
_SAMPLE_BYTES = 2**24


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
    channel: int | None = None
    """Which of several stored channels is delivered; None delivers all."""
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
    def stored_channels(self) -> int:
        """Channels of what is stored, 1 or 3."""
        return (
            1 if len(self.stored.shape) == 3 else self.stored.shape[1 if self.channels_first else 3]
        )

    @property
    def dtype(self) -> np.dtype:
        """Type of the delivered images, uint8 or float32."""
        whole_numbers = self.stored.dtype.kind in "biu" and self.scaling.kind == NONE
        return np.dtype(np.uint8 if whole_numbers else np.float32)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        block = self.scaling.apply(self.charge(rows))
        if self.channel is not None:
            block = block[..., self.channel, None]
        shape = (len(block), *self.shape[1:])
        return np.array(np.broadcast_to(block, shape), dtype=self.dtype, order="C")

    def charge(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return the stored values of some images, ``[n, H, W, c]`` with all stored channels."""
        if not isinstance(rows, slice):
            rows = _checked_rows(rows, len(self))
        block = np.asarray(self.stored[rows])
        if block.ndim == 3:
            return block[..., None]
        return np.moveaxis(block, 1, -1) if self.channels_first else block


def from_array(
    array: Any,
    *,
    num_channels: int,
    image_size: int | None,
    scaling: str = "none",
    planes: bool = False,
    plane: int | None = None,
    source: str = "array",
    mask: np.ndarray | None = None,
) -> Images:
    """Check `array` once, completely, and wrap it.

    Three equal channels are one grey channel. Three that differ are planes of a detector, such as
    three directions of wires; they are taken only on request, and never mixed.

    Args:
        array: ``[N, H, W]``, ``[N, H, W, 1 or 3]`` or ``[N, 1 or 3, H, W]``; anything with `shape`,
            `dtype` and reading by rows.
        num_channels: 1 or 3; grey images are repeated into 3 channels.
        image_size: height and width that the images must have; None takes any.
        scaling: ``"none"`` for values that are on the scale 0..255 already; ``"per_image"``,
            ``"quantile"`` or ``"fixed:FULL"`` for absolute charges (any finite values), see
            :class:`sgm_jax.data.scaling.Scaling`.
        planes: keep three different channels; needs `num_channels` 3.
        plane: take one of three channels, 0 to 2, as grey. Scales of an image are still those of
            all three.
        source: name of the array in messages.
        mask: booleans ``[1 or N, H, W]``; where False, pixels are never looked at and read as 0.

    What is legal but doubtful is for :func:`sgm_jax.data.survey.survey`.

    Raises:
        ValueError: wrong rank, size or channels, or values that are not finite or not in 0..255.
    """
    scale = Scaling.parse(scaling)
    channels_first = check_shape(array, image_size=image_size, source=source)
    stored_channels = 1 if len(array.shape) == 3 else array.shape[1 if channels_first else 3]
    check_channels(stored_channels, num_channels, planes=planes, plane=plane, source=source)
    if mask is not None:
        size = array.shape[2:4] if channels_first else array.shape[1:3]
        check_fits(mask, count=array.shape[0], size=size, source=source)
        array = Masked(array, mask, channels_first)
    check_values(array, scaling=scale, source=source)
    channel = plane
    if stored_channels == 3 and not planes and plane is None:
        check_equal_channels(array, 1 if channels_first else 3, source=source)
        channel = 0
    return Images(array, source, num_channels, channels_first, scale, channel)


def _checked_rows(rows: np.ndarray, total: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise IndexError("images are indexed by a slice or a 1-D array of integers")
    if rows.size and not (rows.min() >= 0 and rows.max() < total):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of {total} images do not exist")
    return rows


def _sample_blocks(images: Images) -> Iterator[np.ndarray]:
    """Yield up to 256 evenly spaced images, a few at a time: 256 large ones may fill the memory."""
    rows = evenly_spaced(len(images), _SAMPLE_IMAGES)
    count = max(1, _SAMPLE_BYTES // (4 * math.prod(images.shape[1:])))
    for start in range(0, len(rows), count):
        yield images[rows[start : start + count]]
