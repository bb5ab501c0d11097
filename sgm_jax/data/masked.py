"""Images of which only some pixels are read; the others hold nothing that anything depends on."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Masked:
    """Stored images whose hidden pixels read as 0.

    Before anything looks at them: a hidden pixel may be NaN, or charge of a dead wire, and decides
    neither the scale of its image nor whether the image is refused.

    Attributes:
        stored: ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``, read by rows.
        mask: booleans ``[1 or N, H, W]``, True where pixels are read.
        channels_first: which of the last two shapes it has.
    """

    stored: Any
    mask: np.ndarray
    channels_first: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored images."""
        return tuple(self.stored.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the stored images."""
        return self.stored.dtype

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        block = np.asarray(self.stored[rows])
        mask = self.mask if len(self.mask) == 1 else self.mask[rows]
        if block.ndim == 4:
            mask = mask[:, None] if self.channels_first else mask[..., None]
        return np.where(mask, block, block.dtype.type(0))


def check_fits(mask: np.ndarray, *, count: int, size: tuple[int, int], source: str) -> None:
    """Refuse masks that do not lie over images.

    Raises:
        ValueError: with the sizes, or the numbers, of both.
    """
    if mask.dtype != np.bool_ or mask.ndim != 3:
        raise ValueError(f"{mask.dtype} masks of shape {mask.shape}; give booleans [1 or N, H, W]")
    if mask.shape[1:] != size:
        raise ValueError(
            f"{source} holds images of {size} pixels, and the mask has {mask.shape[1:]}: "
            "both must be equal"
        )
    if len(mask) not in (1, count):
        raise ValueError(
            f"there are {len(mask)} masks for the {count} images of {source}; give one for all, or "
            "one for each"
        )
