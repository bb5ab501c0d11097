"""A picture of many images."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

GAP_PX = 2
ZOOM = 2


def save_grid(path: Path, images: np.ndarray, *, columns: int | None = None) -> None:
    """Write :func:`grid` of images ``[N, H, W]`` or ``[N, H, W, C]`` as one PNG."""
    grid(images, columns=columns).save(path)


def grid(images: np.ndarray, *, columns: int | None = None, zoom: int = ZOOM) -> Image.Image:
    """Return a picture of images on the scale 0..255, row by row, nearly square.

    Grey stands for charge, white for none, and each image is stretched to its own maximum, as in
    the paper's figures: the smallest deposits show. Channels that differ are planes, and stand side
    by side.

    Args:
        images: ``[N, H, W]`` or ``[N, H, W, C]``.
        columns: images in a row.
        zoom: pixels of the picture along a side of a pixel.
    """
    grey = grey_of(images)
    grey = grey / np.maximum(grey.max(axis=(1, 2), keepdims=True), 1)
    sheet = sheet_of(np.sqrt(grey), columns=columns, gap=0.4)
    picture = Image.fromarray(np.uint8(255 * (1 - sheet)))
    size = (picture.width * zoom, picture.height * zoom)
    return picture.resize(size, Image.Resampling.NEAREST)


def grey_of(images: np.ndarray) -> np.ndarray:
    """Return images ``[N, H, W]`` or ``[N, H, W, C]`` as float32 ``[N, H, W]``, cut to 0..255.

    Channels that differ are planes, and stand side by side: ``[N, H, C W]``.
    """
    grey = np.clip(np.asarray(images, np.float32), 0, 255)
    if grey.ndim == 3:
        return grey
    if (grey == grey[..., :1]).all():
        return grey[..., 0]
    count, height, width, channels = grey.shape
    return np.moveaxis(grey, -1, 2).reshape(count, height, channels * width)


def sheet_of(images: np.ndarray, *, columns: int | None, gap: float) -> np.ndarray:
    """Lay images ``[N, H, W]`` out row by row, nearly square, with gaps of some value."""
    count, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX), gap)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        y, x = GAP_PX + row * (height + GAP_PX), GAP_PX + column * (width + GAP_PX)
        sheet[y : y + height, x : x + width] = image
    return sheet
