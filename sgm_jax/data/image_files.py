"""Files of PNG, TIFF or JPEG as one array; every image is decoded once, which proves it readable.

Values arrive as they are stored, or the file is refused: Pillow reduces some kinds to 8 bits.
"""

import contextlib
import io
import logging
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
from sgm_jax.data.folder import KINDS

_LOGGER = logging.getLogger(__name__)
_BLOCK_FILES = 4096
_TASK_FILES = 64  # for one thread at a time: handing over a file takes longer than decoding it
_BLOCK_BYTES = 2**24
# The most one-bit pixels that deflation can pack into one bit.
_MOST_PIXELS_PER_BIT = 1040
# Pillow's mode -> (mode to convert to, what it is). Those with an opacity lose it if it is full.
_MODES = {
    "1": ("L", "8-bit grey"),
    "L": ("L", "8-bit grey"),
    "LA": ("LA", "8-bit grey"),
    "I;16": ("I;16", "16-bit grey"),
    "I;16B": ("I;16B", "16-bit grey"),
    "I": ("I", "32-bit grey"),
    "F": ("F", "floating-point grey"),
    "P": ("RGB", "colour"),
    "PA": ("RGBA", "colour"),
    "RGB": ("RGB", "colour"),
    "RGBA": ("RGBA", "colour"),
}
_WITH_OPACITY = {"L": "LA", "RGB": "RGBA"}
# Tags of TIFF, and what some of their values mean.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2
# Where the header of a PNG says how many bits a channel has, and which channels there are.
_PNG_BITS, _PNG_CHANNELS, _PNG_GREY = 24, 25, 0


@dataclass(frozen=True)
class _Header:
    path: Path
    height: int
    width: int
    kind: str
    unsigned: bool


def read_pictures(files: list[Path], *, image_size: int | None, source: str) -> np.ndarray:
    """Decode image files into ``[N, H, W]`` or ``[N, H, W, 3]``, on disk.

    Raises:
        ValueError: a file that is damaged or no image, or files that differ in size or kind. Sizes
            are compared before pixels are decoded.
    """
    first = _read_header(files[0])
    if image_size is not None and (first.height, first.width) != (image_size, image_size):
        raise ValueError(size_message(str(files[0]), first.height, first.width, image_size))
    sample = _decode(files[0], first=first)
    if KINDS[files[0].suffix.lower()] == "JPEG":
        _LOGGER.warning(
            "%s: JPEG changes the pixels around every edge, the background is not exactly 0; use "
            "PNG or TIFF if there is a choice",
            source,
        )
    blocks = _decode_blocks(files, first, sample.nbytes)
    return spool(blocks, (len(files), *sample.shape), sample.dtype, source=source)


def read_tiff(path: Path, *, member: str | None) -> np.ndarray:
    """Decode the pages of a TIFF file into ``[N, H, W]`` or ``[N, H, W, 3]``, on disk.

    Raises:
        ValueError: a damaged file, or pages that differ in size or kind.
    """
    if member:
        raise ValueError(f"{path} holds one set of images; remove ::{member} from the path")
    with _open(path) as image, _undamaged(path):
        first, pages = _header_of(image, path), image.n_frames
        sample = _pixels(image, first)
    blocks = _decode_pages(path, first, pages)
    return spool(blocks, (pages, *sample.shape), sample.dtype, source=str(path))


def _decode_pages(path: Path, first: _Header, pages: int) -> Iterator[np.ndarray]:
    with _open(path) as image:
        for page in range(pages):
            with _undamaged(path):
                image.seek(page)
            header = _header_of(image, path)
            _check_alike(header, first, f"page {page} of {path}", f"page 0 of {path}")
            yield _pixels(image, header)


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
        _check_alike(header, first, path, first.path)
        with _undamaged(path):
            pages = image.n_frames if image.format == "TIFF" else 1
        if pages > 1:
            raise ValueError(
                f"{path}: {pages} pages; give this file itself, or write a file a page"
            )
        return _pixels(image, header)


def _check_alike(header: _Header, first: _Header, name: Any, first_name: Any) -> None:
    if (header.height, header.width) != (first.height, first.width):
        raise ValueError(
            f"mixed image sizes (height x width): {name} is {header.height}x{header.width} but "
            f"{first_name} is {first.height}x{first.width}; keep one size per folder"
        )
    if header.kind != first.kind:
        raise ValueError(
            f"mixed images: {name} is {header.kind} but {first_name} is {first.kind}; "
            "convert all files to one kind"
        )


def _pixels(image: Any, header: _Header) -> np.ndarray:
    """Return the values of an open file, in the byte order of this machine."""
    mode = _MODES[image.mode][0]
    transparent = "transparency" in image.info
    with _undamaged(header.path):
        if transparent and mode in _WITH_OPACITY:
            mode = _WITH_OPACITY[mode]
        array = np.asarray(image.convert(mode) if image.mode != mode else image)
    if mode in _WITH_OPACITY.values():
        transparent = (array[..., -1] < 255).any()
        array = array[..., 0] if mode == "LA" else array[..., :3]
    if transparent:
        raise ValueError(
            f"{header.path}: some pixels are transparent, which means nothing for charge; save it "
            "without the alpha channel"
        )
    if header.unsigned:
        array = array.view(np.uint32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _header_of(image: Any, path: Path) -> _Header:
    size = path.stat().st_size
    if image.format == "PNG" and image.height * image.width > _MOST_PIXELS_PER_BIT * 8 * size:
        raise ValueError(
            f"{path}: damaged or truncated PNG ({image.height}x{image.width} pixels in {size} "
            "bytes); copy it again or remove it"
        )
    if image.mode not in _MODES:
        raise ValueError(
            f"{path}: {image.format} mode {image.mode} is not grey or colour; save it as grey"
        )
    unsigned = False
    if image.format == "TIFF":
        unsigned = _check_tiff(image, path)
    kind = ("unsigned " if unsigned else "") + _MODES[image.mode][1]
    return _Header(path, image.height, image.width, kind, unsigned)


def _check_tiff(image: Any, path: Path) -> bool:
    """Refuse what Pillow would change, and return whether 32-bit values have no sign."""
    with _undamaged(path):
        bits = tuple(image.tag_v2.get(_BITS, (1,)))
        form, *_ = image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        white_is_zero = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if len(bits) > 1 and max(bits) > 8:
        raise ValueError(_too_wide(path, max(bits)))
    if form == _SIGNED and max(bits) <= 8:
        raise ValueError(f"{path}: 8-bit values with a sign; write 16 bits a pixel, or .npy")
    if white_is_zero and max(bits) > 1:
        raise ValueError(
            f"{path}: a TIFF with white as 0 (PhotometricInterpretation), in which it is not clear "
            "whether 0 is no charge; write it with black as 0, or as .npy"
        )
    return image.mode == "I" and form == _UNSIGNED


def _too_wide(path: Path, bits: int) -> str:
    return (
        f"{path}: {bits} bits a channel in several channels, of which Pillow keeps 8; write one "
        "16-bit grey file for each channel, or all images as one .npy array [N, H, W, C], for "
        "example with numpy.stack([cv2.imread(f, cv2.IMREAD_UNCHANGED)[..., ::-1] for f in files])"
    )


def _open(path: Path) -> Any:
    """Open one file, without reading its pixels.

    Pillow bounds the size that a header may claim (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    from PIL import Image

    if not path.is_file():
        raise ValueError(f"{path}: not a file, in spite of its name; remove it")
    kind = KINDS[path.suffix.lower()]
    with _undamaged(path):
        # From a file, Pillow would reserve as much as a damaged length says, up to two gigabytes.
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content), formats=[kind])
    if kind == "PNG" and content[_PNG_BITS] > 8 and content[_PNG_CHANNELS] != _PNG_GREY:
        raise ValueError(_too_wide(path, content[_PNG_BITS]))
    return image


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Name the file that Pillow cannot read."""
    from PIL import Image, UnidentifiedImageError

    kind = KINDS[path.suffix.lower()]
    try:
        yield
    except UnidentifiedImageError as error:
        fix = "remove it"
        if kind == "TIFF":
            fix = "if it has 64 bits or another layout that Pillow does not read, write it as .npy"
        raise ValueError(f"{path}: not a {kind} image, in spite of its name; {fix}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: the image is unreasonably large: {error}") from error
    except (
        OSError,
        SyntaxError,
        EOFError,
        ValueError,
        zlib.error,
        struct.error,
        # Damaged tags of TIFF:
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
    ) as error:
        raise ValueError(
            f"{path}: damaged or truncated {kind} ({error}); copy it again or remove it"
        ) from error
