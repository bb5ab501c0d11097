"""Files that appear whole or not at all, and files that somebody else may have damaged.

Simulation workers import this module, so it does not import JAX.
"""

import atexit
import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sgm_jax.run.address import refuse_address
from sgm_jax.run.log import LOGGER

TEMPORARY = ".tmp"  # the suffix of every file that is not complete yet
# Our JSON files have some kilobytes.
LARGEST_BYTES = 2**24
# Everything that numpy and zipfile raise for a damaged file.
_DAMAGED = (ValueError, LookupError, EOFError, OSError, OverflowError, RuntimeError)
_DAMAGED += (zipfile.BadZipFile, zlib.error)


def ensure_home() -> None:
    """Give this process and its children a ``$HOME`` where there is none, as in some containers.

    Libraries end the process without it. A user without a home folder gets a temporary one, which
    is removed when this process ends.
    """
    if os.environ.get("HOME"):
        return
    os.environ.pop("HOME", None)  # an empty one would mean the root folder
    try:
        os.environ["HOME"] = str(Path.home())
    except RuntimeError:
        os.environ["HOME"] = str(_temporary_folder())
        LOGGER.info(
            "this user has no home folder, so nothing is cached for the next run; set HOME or "
            "XDG_CACHE_HOME to do so"
        )


def _temporary_folder() -> Path:
    """Return a new folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="sgm_jax_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def cache_folder() -> Path:
    """Return the folder for what can be made again: ``$XDG_CACHE_HOME/sgm_jax``.

    It is ``~/.cache/sgm_jax`` by default. Without a home folder that can be written to, as in some
    containers, it is a temporary folder that this process removes when it ends.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "sgm_jax"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = f"{folder} cannot be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        reason = str(error)
    LOGGER.info("nothing is cached for the next run (%s); set XDG_CACHE_HOME to do so", reason)
    return _temporary_folder()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Give a binary stream whose content becomes the file ``path`` when the block ends.

    The content is written beside ``path`` and flushed to the disk before it takes that name. If the
    block raises an error, or the disk is full, the old file stays and nothing else is left.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if the path is an address.
    """
    refuse_address(path)
    path = Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        # On a full disk the incomplete file would be in the way of a clean end.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode())


def append_json(path: Path, content: Any) -> None:
    """Add one line to a file of JSON lines."""
    with Path(path).open("a") as stream:
        stream.write(json.dumps(content) + "\n")


def read_object(path: Path, *, fix: str) -> dict[str, Any]:
    """Return the content of a JSON file whose outermost value is an object.

    Args:
        path: of the file.
        fix: what to do if it is damaged, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON, no object, too large, or repeats a name within an object.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise ValueError(f"{path} has {size} bytes, at most {LARGEST_BYTES} are read; {fix}")
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (a {type(content).__name__}, no object); {fix}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what programs would read differently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} is there twice")
    return content


def write_arrays(path: Path, content: np.ndarray | Mapping[str, np.ndarray]) -> None:
    """Write one array to an ``.npy`` file, or named arrays to a compressed ``.npz`` file."""
    with atomic_write(path) as stream:
        if Path(path).suffix == ".npy":
            np.save(stream, content, allow_pickle=False)
        else:
            np.savez_compressed(stream, allow_pickle=False, **content)


def write_blocks(
    path: Path, arrays: Mapping[str, tuple[tuple[int, ...], type, Iterable[np.ndarray]]]
) -> None:
    """Write arrays that are too long for memory into one ``.npz``, a block at a time.

    Args:
        path: of the file.
        arrays: by name, the whole shape, the type, and the blocks ``[n, ...]`` in their order.

    Raises:
        ValueError: if a block has another shape or type, or the blocks have too few or many rows.
    """
    # A fixed date and no compression: equal arrays give equal bytes.
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (shape, kind, blocks) in arrays.items():
            dtype, rows = np.dtype(kind), 0
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            large = math.prod(shape) * dtype.itemsize > 2**31 - 2**16
            with archive.open(entry, "w", force_zip64=large) as stream:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for block in blocks:
                    if block.shape[1:] != shape[1:] or block.dtype != dtype:
                        raise ValueError(
                            f"{name} takes {dtype} {shape[1:]}, not {block.dtype} {block.shape[1:]}"
                        )
                    stream.write(np.ascontiguousarray(block).data)
                    rows += len(block)
            if rows != shape[0]:
                raise ValueError(f"{name} was to have {shape[0]} rows and got {rows}")


def read_arrays(
    path: Path, *, fix: str, names: Iterable[str] | None = None
) -> np.ndarray | dict[str, np.ndarray]:
    """Return what :func:`write_arrays` wrote; of several arrays only ``names``, or all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in (names or content.files)}
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error
