"""Unpacked arrays in an anonymous temporary file, so that the memory need not hold them."""

import math
import shutil
import tempfile
from collections.abc import Iterable

import numpy as np


def spool(
    blocks: Iterable[bytes | np.ndarray], shape: tuple[int, ...], dtype: np.dtype, *, source: str
) -> np.memmap:
    """Write `blocks` one after the other to a temporary file and map it read-only.

    The file has no name: it disappears with the returned array, also after a crash. It lives in
    ``$TMPDIR``; the page cache makes small sets as fast as memory.

    Raises:
        OSError: the temporary directory has less room than the array needs.
    """
    needed = math.prod(shape) * dtype.itemsize
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{source}: unpacking needs {needed / 1e9:.2f} GB but {folder} has {free / 1e9:.2f} GB "
            "free; set TMPDIR to a larger disk, or store the images as .npy, which needs no room"
        )
    with tempfile.TemporaryFile() as file:
        # Plain writes report a full disk as an error; writing through a map would kill the process.
        for block in blocks:
            file.write(block)
        file.flush()
        return np.memmap(file, dtype=dtype, mode="r", shape=shape)
