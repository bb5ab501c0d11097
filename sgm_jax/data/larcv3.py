"""Events of larcv3 files, which are HDF5: pixels that were hit, made into images as they are read.

A group ``Data/PRODUCT_PRODUCER_group`` holds tables that point at one another: ``extents`` has the
projections of each event, ``voxel_extents`` (sparse2d), ``image_extents`` (image2d, tensor2d) or
``projection_extents`` and ``cluster_extents`` (cluster2d) the range of values of each projection in
``voxels`` or ``images``, and ``image_meta`` its size. Index ``row * columns + column`` is a pixel.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# The product, and its tables from the projections of an event to the values.
_PRODUCTS = {
    "sparse2d": ("voxel_extents", "voxels"),
    "cluster2d": ("projection_extents", "cluster_extents", "voxels"),
    "image2d": ("image_extents", "images"),
    "tensor2d": ("image_extents", "images"),
}
_SUFFIX = "_group"
_VOLUMES = ("sparse3d", "cluster3d", "tensor3d", "image3d")


def find_groups(datasets: Mapping[str, Any]) -> list[str]:
    """List the groups of images among `datasets`, such as ``Data/sparse2d_wire_group``."""
    groups = [name.removesuffix("/extents") for name in datasets if name.endswith("/extents")]
    return [
        group
        for group in groups
        if (product := _product(group))
        and all(f"{group}/{table}" in datasets for table in ("image_meta", *_PRODUCTS[product]))
    ]


def refuse_volumes(datasets: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of larcv3 whose events are volumes.

    Raises:
        ValueError: with the groups that there are.
    """
    groups = {name.rpartition("/")[0].rpartition("/")[2] for name in datasets}
    volumes = sorted(group for group in groups if group.startswith(_VOLUMES))
    if volumes:
        raise ValueError(
            f"{path}: holds events in three dimensions ({', '.join(volumes)}) and none in two; "
            "project them on a plane and store [N, H, W]"
        )


def choose_group(groups: list[str], *, path: Path, member: str | None) -> tuple[str, int | None]:
    """Return the group and the plane that `member` names, as in ``sparse2d_wire/2``.

    ``Data/`` and ``_group`` may be left out, and the whole name where there is only one group.

    Raises:
        ValueError: there is no such group or no clear choice; the message lists what is there.
    """
    listing = ", ".join(group.rpartition("/")[2].removesuffix(_SUFFIX) for group in groups)
    name, slash, plane = (member or "").rpartition("/")
    if not plane.isdigit():
        name, plane = member or "", None
    elif not slash:
        name = ""
    names = {name, f"{name}{_SUFFIX}"}
    chosen = [g for g in groups if not name or names & {g, g.rpartition("/")[2]}]
    if len(chosen) == 1:
        return chosen[0], plane and int(plane)
    problem = f"no images {name!r}" if name else f"{len(groups)} sets of larcv3 images"
    raise ValueError(f"{path}: {problem}; name one as {path}::NAME; it holds: {listing}")


def tables_of(group: str) -> list[str]:
    """List the tables of a group that are read."""
    names = ("extents", "image_meta", *_PRODUCTS[_product(group)])
    return [f"{group}/{name}" for name in names]


class Events:
    """The images of a group, ``[N, H, W]`` or ``[N, planes, H, W]``, read by rows as numpy does.

    Charges of clusters that share a pixel are added. Projections of no size are left out.

    Args:
        tables: what `tables_of` lists, by these names, each read by slices.
        group: the name of the group.
        plane: which projection of each event, from 0; None for all of them.
        source: name of the set in messages.

    Raises:
        ValueError: damaged tables, or events that are no images of one size.
    """

    def __init__(self, tables: Mapping[str, Any], group: str, *, plane: int | None, source: str):
        self._source = source
        self._name = group.rpartition("/")[2].removesuffix(_SUFFIX)
        *inner, values = (tables[f"{group}/{name}"] for name in _PRODUCTS[_product(group)])
        self._values = values
        self._sparse = values.dtype.names is not None
        per_event = self._ranges(tables[f"{group}/extents"][:])
        projections = self._ranges(inner[0][:])
        for table in inner[1:]:
            projections = self._joined(projections, self._ranges(table[:]))
        sizes = np.asarray(tables[f"{group}/image_meta"][:]["number_of_voxels"], np.int64)
        which = self._planes(per_event, sizes, plane)
        height, width = sizes[which[0, 0]]
        self._first = projections[0][which]
        self._count = projections[1][which]
        self._check_values(height * width)
        planes = which.shape[1:] if which.shape[1] > 1 else ()
        self.shape = (len(which), *planes, int(height), int(width))
        self.dtype = values.dtype["value"] if self._sparse else values.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        first, count = self._first[rows].ravel(), self._count[rows].ravel()
        images = np.zeros((len(first), self.shape[-2] * self.shape[-1]), self.dtype)
        # Neighbouring events lie one after the other in the file: one read for all of them.
        if len(first) and np.array_equal(first[1:], (first + count)[:-1]):
            values = self._values[int(first[0]) : int(first[-1] + count[-1])]
            parts = np.split(values, np.cumsum(count)[:-1])
        else:
            pairs = zip(first, count, strict=True)
            parts = [self._values[int(start) : int(start + size)] for start, size in pairs]
        for image, part in zip(images, parts, strict=True):
            self._fill(image, part)
        return images.reshape(len(rows), *self.shape[1:])

    def _fill(self, image: np.ndarray, values: np.ndarray) -> None:
        if not self._sparse:
            image[:] = values
            return
        pixels = values["id"]
        if len(pixels) and pixels.max() >= len(image):
            raise ValueError(
                f"{self._source}: voxel {pixels.max()} lies outside an image of "
                f"{self.shape[-2]}x{self.shape[-1]} pixels; write the file again"
            )
        np.add.at(image, pixels, values["value"])

    def _ranges(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each range of a table begins and how long it is."""
        return table["first"].astype(np.int64), table["N"].astype(np.int64)

    def _joined(self, outer: tuple, inner: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges of values of each projection, from the ranges of its clusters."""
        (first, count), (begin, length) = outer, inner
        self._check_ends(first, count, len(begin))
        # The clusters of a projection lie one after the other, and so do their values.
        if np.any(begin[1:] != (begin + length)[:-1]):
            raise ValueError(f"{self._source}: clusters are not in the order of their voxels")
        edges = np.concatenate([[0], np.cumsum(length)]) + (begin[0] if len(begin) else 0)
        return edges[first], edges[first + count] - edges[first]

    def _planes(self, per_event: tuple, sizes: np.ndarray, plane: int | None) -> np.ndarray:
        """Return which projections are the images, ``[N, planes]``."""
        first, count = per_event
        if not len(first):
            raise ValueError(f"{self._source}: holds no events; was it written completely?")
        self._check_ends(first, count, len(sizes))
        if np.any(count != count[0]) or not count[0]:
            odd = int(np.argmax(count != count[0]))
            raise ValueError(
                f"{self._source}: event {odd} has {count[odd]} projections and event 0 has "
                f"{count[0]}; all need the same number of at least one"
            )
        which = first[:, None] + np.arange(count[0])
        if plane is not None and plane >= count[0]:
            raise ValueError(f"{self._source}: there are planes 0..{count[0] - 1} only")
        if plane is None:
            which = which[:, sizes[which[0]].all(axis=-1)]
        else:
            which = which[:, [plane]]
        shapes = np.unique(sizes[which].reshape(-1, 2), axis=0)
        if len(shapes) != 1 or not shapes.all():
            text = ", ".join(f"{height}x{width}" for height, width in shapes[:5])
            raise ValueError(
                f"{self._source}: not images of one size but {text or 'none'}; name one plane, as "
                f"in ::{self._name}/0, or crop them to one size"
            )
        if which.shape[1] not in (1, 3):
            raise ValueError(
                f"{self._source}: {which.shape[1]} planes an event; name one, as in "
                f"::{self._name}/0"
            )
        return which

    def _check_values(self, pixels: int) -> None:
        self._check_ends(self._first, self._count, len(self._values))
        if not self._sparse and np.any(self._count != pixels):
            raise ValueError(f"{self._source}: images of other lengths than their sizes say")

    def _check_ends(self, first: np.ndarray, count: np.ndarray, total: int) -> None:
        if first.size and (min(first.min(), count.min()) < 0 or (first + count).max() > total):
            raise ValueError(f"{self._source}: damaged, a table ends too early; write it again")


def _product(group: str) -> str | None:
    name = group.rpartition("/")[2]
    product = name.partition("_")[0]
    return product if product in _PRODUCTS and name.endswith(_SUFFIX) else None
