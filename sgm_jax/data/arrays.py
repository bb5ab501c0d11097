"""Arrays in .npy and .npz files, opened without reading them into memory or unpickling."""

import contextlib
import io
import lzma
import math
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

_STREAM_BYTES = 2**24
# Magic, version and length, and the longest header that numpy accepts.
_HEADER_BYTES = 12 + 10_000
_LARGEST_BYTES = 2**62
_MOST_AXES = 32
_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# numpy writes no others, and others can shrink zeros a million times (these, a thousand times).
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Header(NamedTuple):
    """The header of a .npy array; `offset` is where its numbers begin."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: Path) -> np.ndarray:
    """Map the array of a .npy file.

    Raises:
        ValueError: no .npy file, a truncated one, or one of Python objects.
    """
    with path.open("rb") as file:
        header = _read_header(file, str(path))
    _refuse_objects(header, str(path))
    _check_length(header, path.stat().st_size - header.offset, str(path))
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)


def read_npz(path: Path, *, member: str | None) -> np.ndarray:
    """Unpack one array of a .npz file to a temporary file and map it (see `choose_array`).

    Raises:
        ValueError: a damaged file, no clear choice of array, or Python objects.
        OSError: too little room for the temporary file.
    """
    with open_npz(path) as archive:
        headers = npz_headers(archive, path)
        name = choose_array(headers, path=path, member=member)
        return _unpack(archive, name, headers[name], source=f"{path}::{name}")


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .npz file for `npz_headers`.

    Raises:
        ValueError: no zip file.
    """
    with _undamaged(path):
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


def npz_headers(archive: zipfile.ZipFile, path: Path) -> dict[str, Header]:
    """Return the headers of all arrays of a .npz file, whose numbers are not read.

    Raises:
        ValueError: a damaged file, or an array whose numbers are not all in it.
    """
    headers = {}
    for entry in archive.infolist():
        name, suffix = entry.filename.removesuffix(".npy"), entry.filename[-4:]
        if suffix != ".npy":
            continue
        source = f"{path}::{name}"
        if entry.compress_type not in _COMPRESSIONS:
            raise ValueError(
                f"{source}: damaged or no .npz file (compression {entry.compress_type}); write it "
                "with numpy.savez_compressed"
            )
        with _undamaged(path), archive.open(entry) as stream:
            start = stream.read(_HEADER_BYTES)
        headers[name] = _read_header(io.BytesIO(start), source)
    return headers


def choose_array(arrays: dict[str, Any], *, path: Path, member: str | None) -> str:
    """Choose the array that holds the images among `arrays` (name -> something with a shape).

    `member` if given, else ``images``, else ``samples``, else the only one of rank 3 or 4.

    Raises:
        ValueError: there is no such array or no clear choice; the message lists what is there.
    """
    listing = ", ".join(f"{name} {tuple(a.shape)} {a.dtype}" for name, a in arrays.items())
    for name in (member,) if member else ("images", "samples"):
        if name in arrays:
            return name
    if member:
        raise ValueError(f"{path}: no array {member!r}; it holds: {listing or 'nothing'}")
    candidates = [name for name, array in arrays.items() if len(array.shape) in (3, 4)]
    if len(candidates) == 1:
        return candidates[0]
    raise ValueError(
        f"{path}: no array named images or samples and {len(candidates)} arrays of rank 3 or 4; "
        f"name one as {path}::NAME; it holds: {listing or 'nothing'}"
    )


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


def _unpack(archive: zipfile.ZipFile, name: str, header: Header, *, source: str) -> np.ndarray:
    _refuse_objects(header, source)
    held = archive.getinfo(f"{name}.npy").file_size - header.offset
    _check_length(header, held, source)
    if held > header.nbytes:
        raise ValueError(
            f"{source}: damaged, holds {held} bytes where shape {header.shape} has {header.nbytes};"
            " write it again"
        )
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    shape = header.shape[::-1] if header.fortran_order else header.shape
    blocks = _blocks(archive, name, header.offset, source)
    array = spool(blocks, shape, header.dtype, source=source)
    return array.T if header.fortran_order else array


def _blocks(archive: zipfile.ZipFile, name: str, offset: int, source: str) -> Iterator[bytes]:
    with _undamaged(source), archive.open(f"{name}.npy") as stream:
        stream.read(offset)
        while block := stream.read(_STREAM_BYTES):
            yield block


@contextlib.contextmanager
def _undamaged(source: Path | str) -> Iterator[None]:
    """Name the file that zipfile cannot read."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        LookupError,
        OSError,
        OverflowError,
        RuntimeError,  # encrypted, or of a kind that zipfile does not know
        ValueError,
    ) as error:
        raise ValueError(f"{source}: damaged or no .npz file ({error}); write it again") from error


def _read_header(stream: IO[bytes], source: str) -> Header:
    # A header may claim to be gigabytes long; numpy would read all of it and then refuse it.
    start = io.BytesIO(stream.read(_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(start)
        header = Header(*_VERSIONS[version](start), start.tell())
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        SyntaxError,
        RecursionError,
        MemoryError,
        OverflowError,
        tokenize.TokenError,
    ) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"{source}: damaged or no .npy array ({reason})") from error
    sizes = [max(size, 1) for size in header.shape]
    possible = (
        not any(isinstance(size, bool) for size in header.shape)
        and min(header.shape, default=0) >= 0
        and len(sizes) <= _MOST_AXES
        and header.dtype.subdtype is None
        and 0 < math.prod(sizes) * header.dtype.itemsize < _LARGEST_BYTES
    )
    if not possible:
        what = f"shape {str(header.shape)[:200]} of {header.dtype}"
        raise ValueError(f"{source}: damaged or no .npy array ({what})")
    return header


def _refuse_objects(header: Header, source: str) -> None:
    if header.dtype.hasobject:
        raise ValueError(
            f"{source}: holds Python objects, which are never unpickled; "
            "save a plain array of numbers (images of one size stacked to [N, H, W])"
        )


def _check_length(header: Header, held: int, source: str) -> None:
    if held < header.nbytes:
        raise ValueError(
            f"{source}: truncated, holds {held} bytes of {header.nbytes} for shape {header.shape}; "
            "copy or write it again"
        )
