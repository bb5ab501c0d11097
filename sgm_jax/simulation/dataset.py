"""The folder that a simulation writes: PNG images, labels and the recipe that made them.

```
<out>/recipe.json                                   settings, seed, versions
<out>/labels.h5                                     groups train, test
<out>/{train,test}/larcv_png_64/larcv_64_{i}.png    8-bit grey, i = 0 .. N-1
```
"""

import io
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import h5py
import ml_collections
import numpy as np

from sgm_jax.run.lock import open_hdf5
from sgm_jax.run.parts import RECIPE, differences
from sgm_jax.simulation.argon_data import GEANT4_VERSION, Geant4Data
from sgm_jax.simulation.chunk import SPLITS, Chunk
from sgm_jax.simulation.config import ABSOLUTE
from sgm_jax.simulation.geant4 import PHYSICS_LIST
from sgm_jax.simulation.labels import MEANINGS

LABELS = "labels.h5"
PRIMARIES = "primaries"  # group of the tables of all primaries, beside those of the splits
_H5_CHUNK_BYTES = 2**20  # of the tables of pixels, before compression
_TABLE_ROWS = 1024  # a chunk of the growing tables


def image_folder(split: str, image_size: int) -> Path:
    """Return the folder of a split's images, relative to the data set."""
    return Path(split) / f"larcv_png_{image_size}"


def make_recipe(config: ml_collections.ConfigDict, seed: int, data: Geant4Data) -> dict:
    """Return everything that decides the bytes of a data set, as JSON values."""
    settings = config.to_dict()
    del settings["num_workers"]  # never changes an image
    recipe = {
        "seed": seed,
        "simulation": settings,
        "geant4": GEANT4_VERSION,
        "geant4_data": data.kind,
        "physics_list": PHYSICS_LIST,
        "versions": {name: version(name) for name in ("calzone", "numpy", "scipy", "pillow")},
    }
    if config.scaling == ABSOLUTE:
        recipe["mev_per_level"] = 1.0 / config.counts_per_mev
    return json.loads(json.dumps(recipe))


def is_complete(out: Path, recipe: dict) -> bool:
    """Return whether ``out`` already holds the whole data set of ``recipe``.

    Raises:
        ValueError: if ``out`` holds anything else: nothing is ever overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another output folder, or delete this one"
    if not (out / RECIPE).is_file():
        raise ValueError(f"{out} is not empty and holds no {RECIPE}: {advice}")
    changes = differences(recipe, out / RECIPE, fix=advice)
    if changes:
        raise ValueError(f"{out} holds images of another recipe ({'; '.join(changes)}): {advice}")
    for split in SPLITS:
        wanted = recipe["simulation"][f"num_{split}"]
        folder = out / image_folder(split, recipe["simulation"]["image_size"])
        count = sum(1 for _ in folder.glob("*.png"))
        if count != wanted:
            raise ValueError(
                f"{folder} has {count} images instead of {wanted}; files were removed, so {advice}"
            )
    if not (out / LABELS).is_file():
        raise ValueError(f"{out} has no {LABELS}; it was removed, so {advice}")
    return True


@dataclass(frozen=True)
class Counts:
    """What is in a data set, by split."""

    images: dict[str, int]
    events: dict[str, int]
    clipped_images: dict[str, int]  # with a pixel that one scale for all images cuts at 255
    clipped_pixels: dict[str, int]


def count_images(out: Path) -> Counts:
    """Count what is in a whole data set.

    Raises:
        ValueError: if its labels are damaged.
    """
    try:
        with open_hdf5(out / LABELS) as labels:
            events = {split: int(labels[split].attrs["events"]) for split in SPLITS}
            images = {split: len(labels[split].get("event_id", ())) for split in SPLITS}
            clipped = {split: labels[split].get("clipped_pixels", np.zeros(0)) for split in SPLITS}
            clipped = {split: np.asarray(pixels) for split, pixels in clipped.items()}
    except (OSError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{out / LABELS} is damaged ({error}); delete {out} to simulate it again"
        ) from error
    return Counts(
        images,
        events,
        clipped_images={split: int(np.count_nonzero(pixels)) for split, pixels in clipped.items()},
        clipped_pixels={split: int(pixels.sum()) for split, pixels in clipped.items()},
    )


class LabelFile(io.FileIO):
    """A file that remembers its first failed write and goes on as if it had worked.

    HDF5 would crash the process when the disk is full. With this file it does not notice, and the
    caller asks ``check`` instead and throws the file away.
    """

    failure: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write all of ``data``, or remember why that failed."""
        rest = memoryview(data)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, or remember why that failed."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        """Raise the error of the first failed write, if there was one."""
        if self.failure is not None:
            raise self.failure


class SplitWriter:
    """Writes the images and labels of one split, chunk by chunk, up to a wanted number."""

    def __init__(self, out: Path, labels: h5py.File, *, split: str, wanted: int, image_size: int):
        self._folder = out / image_folder(split, image_size)
        self._folder.mkdir(parents=True)
        self._labels, self._split = labels, split
        self._group = labels.create_group(split)
        self._name = f"larcv_{image_size}_{{}}.png"
        self.wanted = wanted
        self.written = 0

    def add(self, chunk: Chunk) -> int:
        """Write a chunk, or its first images if it holds more than are wanted; return how many."""
        start = self.written
        count = min(len(chunk.pngs), self.wanted - start)
        for i, png in enumerate(chunk.pngs[:count], start):
            (self._folder / self._name.format(i)).write_bytes(png)
        for field, values in chunk.labels.items() if count else ():
            if field not in self._group:
                options = {}
                if values.ndim > 2:
                    rows = max(1, min(_H5_CHUNK_BYTES // values[0].nbytes, self.wanted))
                    options = {"chunks": (rows, *values.shape[1:]), "shuffle": True}
                    options["compression"] = "gzip"
                _create(self._group, field, values, rows=self.wanted, **options)
            self._group[field][start : start + count] = values[:count]
        if count and chunk.primaries:
            self._add_primaries(chunk, count)
        self.written += count
        return count

    def _add_primaries(self, chunk: Chunk, count: int) -> None:
        """Add the primaries of those events of a chunk that gave one of its first images."""
        group = self._labels.require_group(f"{PRIMARIES}/{self._split}")
        rows = np.isin(chunk.primaries["event_id"], chunk.labels["event_id"][:count])
        for field, values in chunk.primaries.items():
            if field not in group:
                row = values.shape[1:]
                growing = {"maxshape": (None, *row), "chunks": (_TABLE_ROWS, *row)}
                table = _create(group, field, values, rows=0, **growing)
            else:
                table = group[field]
            start = len(table)
            table.resize(start + rows.sum(), axis=0)
            table[start:] = values[rows]


def _create(
    group: h5py.Group, field: str, values: np.ndarray, *, rows: int, **options
) -> h5py.Dataset:
    """Create the table of a field; without time stamps, so that equal runs give equal bytes."""
    shape = (rows, *values.shape[1:])
    table = group.create_dataset(field, shape, values.dtype, track_times=False, **options)
    table.attrs["meaning"] = MEANINGS[field]
    return table
