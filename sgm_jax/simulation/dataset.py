"""The folder that a simulation leaves: PNG images, labels and the recipe that made them.

```
<out>/recipe.json                                   settings, seed, versions
<out>/labels.h5                                     groups train, test
<out>/{train,test}/larcv_png_64/larcv_64_{i}.png    8-bit grey, i = 0 .. N-1
```
"""

import json
from importlib.metadata import version
from pathlib import Path

import h5py
import ml_collections
import numpy as np

from sgm_jax.simulation.argon_data import GEANT4_VERSION, Geant4Data
from sgm_jax.simulation.chunk import SPLITS, Chunk
from sgm_jax.simulation.geant4 import PHYSICS_LIST

RECIPE, LABELS = "recipe.json", "labels.h5"
_MEANINGS = {
    "event_id": "equal for the projections of one event; no id is in both splits",
    "pdg": "particle code of the Particle Data Group",
    "momentum_mev": "of the primary along x, y, z, in MeV/c",
    "event_energy_mev": "left in the argon by the event, in MeV",
    "crop_energy_mev": "in the lit pixels of the crop, in MeV",
    "counts_per_mev": "8-bit counts for one MeV in this image",
    "crop_origin_px": "row, column of the crop's corner in the view",
    "view_origin_px": "row, column of the view's corner on the pixel grid of the argon cube",
    "pixel_label": "0 background, 1 shower, 2 track",
    "particle": "0 electron, 1 photon, 2 muon, 3 pion, 4 proton",
    "projection": "axis looked along: 0 x (drift), 1 y, 2 z",
}
_IMAGES_PER_H5_CHUNK = 256


def image_folder(split: str, image_size: int) -> Path:
    """Return the folder of a split's images, relative to the data set."""
    return Path(split) / f"larcv_png_{image_size}"


def make_recipe(config: ml_collections.ConfigDict, seed: int, data: Geant4Data) -> dict:
    """Return all that decides the bytes of a data set, as JSON values."""
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
    return json.loads(json.dumps(recipe))


def _flat(recipe: dict, prefix: str = "") -> dict:
    """Return nested settings under dotted names."""
    flat = {}
    for name, value in recipe.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat.update(inner if inner is not None else {f"{prefix}{name}": value})
    return flat


def is_complete(out: Path, recipe: dict) -> bool:
    """Return whether ``out`` already holds the whole data set of ``recipe``.

    Raises:
        ValueError: if ``out`` holds anything else, for nothing is ever overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    advice = "choose another output folder, or delete this one"
    if not (out / RECIPE).is_file():
        raise ValueError(f"{out} is not empty and holds no {RECIPE}: {advice}")
    old, new = _flat(json.loads((out / RECIPE).read_text())), _flat(recipe)
    changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    if changed:
        listed = "; ".join(f"{k}: {old.get(k)} there, {new.get(k)} asked" for k in changed)
        raise ValueError(f"{out} holds images of another recipe ({listed}): {advice}")
    for split in SPLITS:
        wanted = recipe["simulation"][f"num_{split}"]
        folder = out / image_folder(split, recipe["simulation"]["image_size"])
        found = sum(1 for _ in folder.glob("*.png"))
        if found != wanted or not (out / LABELS).is_file():
            raise ValueError(
                f"{folder}: {found} images of {wanted}, {LABELS} there: "
                f"{(out / LABELS).is_file()}; files were removed, so {advice}"
            )
    return True


class SplitWriter:
    """Writes the images and labels of one split, chunk by chunk, up to a wanted number."""

    def __init__(self, out: Path, labels: h5py.File, *, split: str, wanted: int, image_size: int):
        self._folder = out / image_folder(split, image_size)
        self._folder.mkdir(parents=True)
        self._group = labels.create_group(split)
        self._name = f"larcv_{image_size}_{{}}.png"
        self._wanted = wanted
        self.written = 0

    def add(self, chunk: Chunk) -> int:
        """Write a chunk, or its first images if it holds more than are wanted; return how many."""
        start = self.written
        count = min(len(chunk.pngs), self._wanted - start)
        for i, png in enumerate(chunk.pngs[:count], start):
            (self._folder / self._name.format(i)).write_bytes(png)
        for field, values in chunk.labels.items() if count else ():
            if field not in self._group:
                self._create(field, values)
            self._group[field][start : start + count] = values[:count]
        self.written += count
        return count

    def _create(self, field: str, values: np.ndarray) -> None:
        """Create the table of a field; without time stamps, so that equal runs give equal bytes."""
        options = {}
        if values.ndim > 2:
            rows = min(_IMAGES_PER_H5_CHUNK, self._wanted)
            options = {"chunks": (rows, *values.shape[1:]), "compression": "gzip", "shuffle": True}
        table = self._group.create_dataset(
            field,
            shape=(self._wanted, *values.shape[1:]),
            dtype=values.dtype,
            track_times=False,
            **options,
        )
        table.attrs["meaning"] = _MEANINGS[field]
