"""Masks that say which pixels of images are known."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError


def read_mask(path: Path) -> np.ndarray:
    """Return masks ``[N, H, W, 1]``, True where pixels are known.

    Args:
        path: a .npy file of booleans, ``[H, W]`` or ``[N, H, W]``, or a .png file, white where
            pixels are known and black elsewhere.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds anything else, or masks nothing or everything.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no mask {path}")
    try:
        picture = path.suffix.lower() == ".png"
        mask = _black_and_white(path) if picture else np.load(path, allow_pickle=False)
    except (ValueError, EOFError, UnidentifiedImageError) as error:
        raise ValueError(f"{path}: no mask can be read from it: {error}") from error
    if mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        raise ValueError(
            f"{path}: {mask.dtype} of shape {mask.shape}; a mask is boolean, True where pixels are "
            "known, of shape (height, width) or (images, height, width)"
        )
    if mask.all() or not mask.any():
        raise ValueError(f"{path}: {mask.mean():.0%} of the pixels are known; nothing to inpaint")
    return mask.reshape(-1, *mask.shape[-2:], 1)


def _black_and_white(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        levels = np.asarray(picture.convert("L"))
    other = np.setdiff1d(levels, [0, 255])
    if other.size:
        raise ValueError(f"it has grey levels such as {other[0]}; use black and white only")
    return levels == 255
