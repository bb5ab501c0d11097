"""Arrays too long for memory, written into one ``.npz`` a block at a time."""

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np


class NpzWriter:
    """Write an ``.npz`` that appears under its name when it is complete."""

    def __init__(self, path: Path):
        """Open a draft beside the file."""
        self.path = Path(path)
        self._draft = self.path.with_name(self.path.name + ".part")
        # A fixed date and no compression: equal arrays give equal bytes.
        self._zip = zipfile.ZipFile(self._draft, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> "NpzWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in place, or leave nothing if something went wrong."""
        self._zip.close()
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink()

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
        with self._zip.open(entry, "w", force_zip64=large) as stream:
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
