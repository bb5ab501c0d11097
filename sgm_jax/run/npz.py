"""Arrays too long for memory, written into one ``.npz`` a block at a time."""

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sgm_jax.run.files import atomic_write


class NpzWriter:
    """Writes the arrays of an ``.npz`` one after the other; see :func:`npz_writer`."""

    def __init__(self, archive: zipfile.ZipFile):
        """Take an open archive."""
        self._archive = archive

    @contextlib.contextmanager
    def array(
        self, name: str, shape: tuple[int, ...], dtype: type
    ) -> Iterator[Callable[[np.ndarray], None]]:
        """Give a function that appends blocks ``[n, ...]`` to an array of this whole shape.

        Raises:
            ValueError: if a block has another shape or type, or rows are missing at the end.
        """
        written = 0
        entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
        large = math.prod(shape) * np.dtype(dtype).itemsize > 2**31 - 2**16
        with self._archive.open(entry, "w", force_zip64=large) as stream:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)

            def append(block: np.ndarray) -> None:
                nonlocal written
                if block.shape[1:] != shape[1:] or block.dtype != dtype:
                    raise ValueError(
                        f"{name} takes {np.dtype(dtype)} {shape[1:]}, "
                        f"not {block.dtype} {block.shape[1:]}"
                    )
                stream.write(np.ascontiguousarray(block).data)
                written += len(block)

            yield append
        if written != shape[0]:
            raise ValueError(f"{name} was to have {shape[0]} rows and got {written}")


@contextlib.contextmanager
def npz_writer(path: Path) -> Iterator[NpzWriter]:
    """Write an ``.npz`` that appears under its name when it is complete."""
    # A fixed date and no compression: equal arrays give equal bytes.
    with atomic_write(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        yield NpzWriter(archive)
