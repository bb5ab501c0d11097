"""Datasets of an HDF5 file, read by rows. Links out of the file are never followed."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data import larcv3
from sgm_jax.data.arrays import choose_array
from sgm_jax.run.lock import open_hdf5

# A chunk is unpacked whole to read one row of it.
_LARGEST_CHUNK_BYTES = 2**30
_DEEPEST_GROUP = 32
# What h5py raises for damaged files, and for types that numpy does not have.
_ERRORS = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


class Dataset:
    """An HDF5 dataset that reads rows in any order, with repeats, as numpy does."""

    def __init__(self, dataset: Any, source: str):
        self._dataset, self._source = dataset, source
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __len__(self) -> int:
        return self.shape[0]

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
        except _ERRORS as error:
            raise ValueError(
                f"{self._source}: rows cannot be read ({error}); the file is damaged or uses an "
                "HDF5 filter that is not installed; rewrite it with gzip or no compression"
            ) from error


def read_hdf5(path: Path, *, member: str | None) -> Dataset | larcv3.Events:
    """Open one dataset of an HDF5 file for reading by rows (see `choose_array`).

    Of a file that larcv3 wrote, its images (see `larcv3.choose_group`).

    Raises:
        ValueError: a damaged file, no clear choice of dataset, or one whose numbers are not all in
            this file.
    """
    datasets = _opened(path)
    member = member and member.strip("/")
    groups = larcv3.find_groups(datasets)
    if groups and member not in datasets:
        return _read_larcv3(datasets, groups, path, member)
    try:
        name = choose_array(datasets, path=path, member=member)
    except ValueError:
        larcv3.refuse_volumes(datasets, path)
        raise
    return _checked(datasets[name], path, name)


def _read_larcv3(
    datasets: dict[str, Any], groups: list[str], path: Path, member: str | None
) -> larcv3.Events:
    group, plane = larcv3.choose_group(groups, path=path, member=member)
    source = f"{path}::{group}"
    tables = {name: _checked(datasets[name], path, name) for name in larcv3.tables_of(group)}
    try:
        return larcv3.Events(tables, group, plane=plane, source=source)
    except (TypeError, LookupError, OverflowError) as error:
        raise ValueError(f"{source}: not the tables that larcv3 writes ({error})") from error


def read_tables(path: Path, names: Sequence[str]) -> dict[str, Dataset]:
    """Open the named datasets, rows of numbers, as far as an HDF5 file has them.

    Raises:
        ValueError: a damaged file, or a dataset that holds no numbers or is not all in this file.
    """
    datasets = {name: data for name, data in _opened(path).items() if name in names}
    for name, data in datasets.items():
        if data.dtype.kind not in "biuf" or not data.shape:
            raise ValueError(f"{path}::{name} is no table of numbers; make the file again")
    return {name: _checked(datasets[name], path, name) for name in names if name in datasets}


def _opened(path: Path) -> dict[str, Any]:
    with _undamaged(path):
        return _datasets(open_hdf5(path))


def _checked(dataset: Any, path: Path, name: str) -> Dataset:
    """Refuse data that would read as zeros, read other files, or not fit into memory."""
    source = f"{path}::{name}"
    chunk_bytes, parts, written = 0, 1, None  # parts: the chunks, or all of it
    with _undamaged(path):
        elsewhere = dataset.external is not None or dataset.is_virtual
        stored_bytes = dataset.id.get_storage_size()
        if dataset.chunks is not None:
            chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
            pairs = zip(dataset.shape, dataset.chunks, strict=True)
            parts = math.prod(-(-size // chunk) for size, chunk in pairs)
            # A chunk has at least one byte, and to count a billion empty ones takes minutes.
            written = dataset.id.get_num_chunks() if parts <= stored_bytes else None
        complete = not dataset.size or (stored_bytes >= parts and written in (None, parts))
    file_bytes = path.stat().st_size
    if elsewhere:
        raise ValueError(
            f"{source}: its numbers are in other files, which are not read; copy them into one "
            "file, as h5py does with file['images'] = array"
        )
    if stored_bytes > file_bytes:
        raise ValueError(
            f"{source}: truncated, the file has {file_bytes} bytes and the array "
            f"{stored_bytes}; copy it again"
        )
    if chunk_bytes > _LARGEST_CHUNK_BYTES:
        raise ValueError(
            f"{source}: chunks of {chunk_bytes} bytes, at most {_LARGEST_CHUNK_BYTES} are "
            "unpacked at once; write it with chunks of one image"
        )
    if not complete:
        raise ValueError(
            f"{source}: of shape {dataset.shape} not all {parts} chunks were ever written, and "
            f"would read as zeros ({stored_bytes} bytes were); write all of it"
        )
    return Dataset(dataset, source)


def _datasets(file: Any) -> dict[str, Any]:
    """Return all datasets that are in the file itself, by the names of their hard links."""
    import h5py

    datasets, seen, groups = {}, set(), [("", file)]
    for prefix, group in groups:
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:  # groups may hold one another
            continue
        seen.add(address)
        if prefix.count("/") > _DEEPEST_GROUP:
            raise ValueError(f"groups deeper than {_DEEPEST_GROUP}")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            node = group[name]
            if isinstance(node, h5py.Group):
                groups.append((f"{prefix}{name}/", node))
            elif _is_array(node):
                datasets[prefix + name] = node
    return datasets


def _is_array(node: Any) -> bool:
    """Tell whether numpy could hold it."""
    import h5py

    with contextlib.suppress(TypeError):  # of a type that numpy does not have
        return isinstance(node, h5py.Dataset) and node.shape is not None and node.dtype is not None
    return False


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Name the file that h5py cannot read."""
    try:
        yield
    except _ERRORS as error:
        raise ValueError(f"{path}: damaged or no HDF5 file ({error})") from error
