"""A folder of PNG files as one array; every file is decoded once, which proves it readable."""

import contextlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data.arrays import spool
from sgm_jax.data.checks import size_message

_BLOCK_FILES = 4096
_TASK_FILES = 64  # for one thread at a time: handing over a file takes longer than decoding it
_BLOCK_BYTES = 2**24
# The most one-bit pixels that deflation can pack into one bit.
_MOST_PIXELS_PER_BIT = 1040
# Pillow's mode -> (mode to convert to, what it is). Alpha has no meaning for charge: not listed.
_MODES = {
    "1": ("L", "8-bit grey"),
    "L": ("L", "8-bit grey"),
    "I;16": ("I;16", "16-bit grey"),
    "I": ("I", "16-bit grey"),
    "P": ("RGB", "colour"),
    "RGB": ("RGB", "colour"),
}


@dataclass(frozen=True)
class _Header:
    path: Path
    height: int
    width: int
    kind: str


def png_files(folder: Path) -> list[Path]:
    """List the PNG files of `folder` in natural order, ``a_2.png`` before ``a_10.png``.

    Raises:
        ValueError: there is none.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() == ".png" and p.name[0] != "."]
    if not files:
        inner = sorted(p.name for p in folder.iterdir() if p.is_dir())
        hint = f" or to a folder in it ({', '.join(inner[:5])})" if inner else ""
        raise ValueError(f"{folder}: no *.png files; point to the folder that holds them{hint}")
    return sorted(files, key=_natural_key)


def read_png_folder(folder: Path, *, image_size: int | None) -> np.ndarray:
    """Decode all PNG files of `folder` into ``[N, H, W]`` or ``[N, H, W, 3]``, on disk.

    Raises:
        ValueError: no files, a file that is damaged or no PNG, or files that differ in size or
            kind. Sizes are compared before pixels are decoded.
    """
    files = png_files(folder)
    first = _read_header(files[0])
    if image_size is not None and (first.height, first.width) != (image_size, image_size):
        raise ValueError(size_message(str(files[0]), first.height, first.width, image_size))
    sample = _decode(files[0], first=first)
    blocks = _decode_blocks(files, first, sample.nbytes)
    return spool(blocks, (len(files), *sample.shape), sample.dtype, source=str(folder))


def _natural_key(path: Path) -> tuple:
    # Odd places are the digits, so keys compare text with text and number with number.
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name


def _decode_blocks(files: list[Path], first: _Header, each_bytes: int) -> Iterator[np.ndarray]:
    # A file of some kilobytes may unpack to a hundred megabytes.
    count = max(1, min(_BLOCK_FILES, _BLOCK_BYTES // each_bytes))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), count):
            block = files[start : start + count]
            tasks = [block[k : k + _TASK_FILES] for k in range(0, len(block), _TASK_FILES)]
            yield np.concatenate(list(pool.map(partial(_decode_all, first=first), tasks)))


def _read_header(path: Path) -> _Header:
    with _open(path) as image:
        return _header_of(image, path)


def _decode_all(paths: list[Path], *, first: _Header) -> np.ndarray:
    return np.stack([_decode(path, first=first) for path in paths])


def _decode(path: Path, *, first: _Header) -> np.ndarray:
    with _open(path) as image:
        header = _header_of(image, path)
        if (header.height, header.width) != (first.height, first.width):
            raise ValueError(
                f"mixed image sizes (height x width): {path} is {header.height}x{header.width} but "
                f"{first.path} is {first.height}x{first.width}; keep one size per folder"
            )
        if header.kind != first.kind:
            raise ValueError(
                f"mixed images: {path} is {header.kind} but {first.path} is {first.kind}; "
                "convert all files to one kind"
            )
        with _undamaged(path):
            return np.asarray(image.convert(_MODES[image.mode][0]))


def _header_of(image, path: Path) -> _Header:
    size = path.stat().st_size
    if image.height * image.width > _MOST_PIXELS_PER_BIT * 8 * size:
        raise ValueError(
            f"{path}: damaged or truncated PNG ({image.height}x{image.width} pixels in {size} "
            "bytes); copy it again or remove it"
        )
    if image.mode not in _MODES:
        raise ValueError(
            f"{path}: PNG mode {image.mode} (transparency?) is not grey or colour; "
            "save it without the alpha channel"
        )
    return _Header(path, image.height, image.width, _MODES[image.mode][1])


def _open(path: Path) -> Any:
    """Open one file, without reading its pixels.

    Pillow bounds the size that a header may claim (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    from PIL import Image

    if not path.is_file():
        raise ValueError(f"{path}: not a file, in spite of its name; remove it")
    with _undamaged(path):
        # From a file, Pillow would reserve as much as a damaged length says, up to two gigabytes.
        return Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"])


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Name the file that Pillow cannot read."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a PNG image, in spite of its name; remove it") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: the image is unreasonably large: {error}") from error
    except (OSError, SyntaxError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise ValueError(
            f"{path}: damaged or truncated PNG ({error}); copy it again or remove it"
        ) from error
