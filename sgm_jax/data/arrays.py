"""Arrays in .npy, .npz and HDF5 files, opened without reading them into memory or unpickling."""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sgm_jax.data.spool import spool

_STREAM_BYTES = 2**24


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


class _Dataset:
    """An HDF5 dataset that reads rows in any order, with repeats, as numpy does."""

    def __init__(self, dataset: Any, source: str):
        self._dataset, self._source = dataset, source
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._read(slice(start, max(start, stop)))
            rows = np.arange(start, stop, step)
        if len(rows) == 0:
            return self._read(slice(0, 0))
        # HDF5 selects strictly increasing rows only.
        increasing, places = np.unique(rows, return_inverse=True)
        return self._read(increasing)[places]

    def _read(self, rows: np.ndarray | slice) -> np.ndarray:
        try:
            return self._dataset[rows]
        except OSError as error:
            raise ValueError(
                f"{self._source}: rows cannot be read ({error}); the file is damaged or uses an "
                "HDF5 filter that is not installed; rewrite it with gzip or no compression"
            ) from error


def read_npy(path: Path) -> np.ndarray:
    """Map the array of a .npy file.

    Raises:
        ValueError: no .npy file, a truncated one, or one of Python objects.
    """
    with path.open("rb") as file:
        header = _read_header(file, str(path))
        held = path.stat().st_size - file.tell()
    _refuse_objects(header, str(path))
    _check_length(header, held, str(path))
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_npz(path: Path, *, member: str | None) -> np.ndarray:
    """Unpack one array of a .npz file to a temporary file and map it (see `choose_array`).

    Raises:
        ValueError: a damaged file, no clear choice of array, or Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {}
            for entry in archive.namelist():
                if entry.endswith(".npy"):
                    with archive.open(entry) as stream:
                        headers[entry.removesuffix(".npy")] = _read_header(stream, entry)
            name = choose_array(headers, path=path, member=member)
            return _unpack(archive, name, source=f"{path}::{name}")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged or no .npz file ({error}); write it again") from error


def read_hdf5(path: Path, *, member: str | None) -> _Dataset:
    """Open one dataset of an HDF5 file for reading by rows (see `choose_array`).

    Raises:
        ValueError: a damaged file or no clear choice of dataset.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: damaged or no HDF5 file ({error})") from error
    found: dict[str, Any] = {}

    def collect(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            found[name] = node

    file.visititems(collect)
    name = choose_array(found, path=path, member=member and member.strip("/"))
    return _Dataset(found[name], f"{path}::{name}")


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


def _unpack(archive: zipfile.ZipFile, name: str, *, source: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        header = _read_header(stream, source)
        _refuse_objects(header, source)
        _check_length(header, archive.getinfo(f"{name}.npy").file_size - stream.tell(), source)
        if 0 in header.shape:
            return np.empty(header.shape, header.dtype)
        shape = header.shape[::-1] if header.fortran_order else header.shape
        blocks = iter(lambda: stream.read(_STREAM_BYTES), b"")
        array = spool(blocks, shape, header.dtype, source=source)
    return array.T if header.fortran_order else array


def _read_header(stream: IO[bytes], source: str) -> _Header:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(stream)
        return _Header(*readers[version](stream))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{source}: damaged or no .npy array ({error})") from error


def _refuse_objects(header: _Header, source: str) -> None:
    if header.dtype.hasobject:
        raise ValueError(
            f"{source}: holds Python objects, which are never unpickled; "
            "save a plain array of numbers (images of one size stacked to [N, H, W])"
        )


def _check_length(header: _Header, held: int, source: str) -> None:
    needed = math.prod(header.shape) * header.dtype.itemsize
    if held < needed:
        raise ValueError(
            f"{source}: truncated, holds {held} bytes of {needed} for shape {header.shape}; "
            "copy or write it again"
        )
