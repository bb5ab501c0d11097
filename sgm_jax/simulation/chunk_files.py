"""Finished chunks on disk, from which an interrupted run goes on."""

import contextlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

# What zipfile and numpy say of it, beside their own errors.
_DAMAGED = (ValueError, LookupError, EOFError, OSError, OverflowError, RuntimeError)
_PNG, _PNG_SIZE, _LABEL, _PRIMARY = "png", "png_size", "label.", "primary."


class Chunk(NamedTuple):
    """The images of one chunk and their truth."""

    pngs: list[bytes]
    labels: dict[str, np.ndarray]  # field to array [n, ...], n images
    primaries: dict[str, np.ndarray]  # field to array [k, ...]; empty for single particles


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a chunk; ``path`` appears by one rename when all of it is on the disk."""
    arrays = {
        _PNG: np.frombuffer(b"".join(chunk.pngs), np.uint8),
        _PNG_SIZE: np.array([len(png) for png in chunk.pngs], np.int64),
        **{_LABEL + field: values for field, values in chunk.labels.items()},
        **{_PRIMARY + field: values for field, values in chunk.primaries.items()},
    }
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        # On a full disk the rest of the file would be in the way of a clean end.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def load_chunk(path: Path) -> Chunk:
    """Read a chunk that ``save_chunk`` wrote.

    Raises:
        ValueError: if it was damaged since.
    """
    try:
        return _read(path)
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and give the same command again"
        ) from error


def _read(path: Path) -> Chunk:
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays[_PNG_SIZE])
        joined = arrays[_PNG].tobytes()
        starts = ends - arrays[_PNG_SIZE]
        return Chunk(
            [joined[start:end] for start, end in zip(starts, ends, strict=True)],
            *(
                {name.removeprefix(kind): arrays[name] for name in arrays if name.startswith(kind)}
                for kind in (_LABEL, _PRIMARY)
            ),
        )
