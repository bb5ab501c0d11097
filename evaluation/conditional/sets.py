"""Images beside what each of them shows: read, checked, and measured on the scale of their charge.

A set is real (simulated, with the truth of every image) or generated (with what was asked for).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from evaluation.images.sets import ImageSet
from evaluation.of_run import SAMPLES
from sgm_jax.data.arrays import open_npz, read_npz
from sgm_jax.data.condition import (
    DOWN,
    KINDS,
    LABELS_FILE,
    RIGHT,
    read_condition,
)
from sgm_jax.data.hdf5 import read_tables
from sgm_jax.data.simulated import RECIPE, simulation_recipe, units
from sgm_jax.run.files import read_object

_FIX = "make it again"
# A momentum is in the range of the training although the last digit of its size is not.
_ROUNDED = 1e-5
_START, _ABSOLUTE = "start", "absolute"


@dataclass(frozen=True, eq=False)
class Shown:
    """Images and what each of them shows, as they are given.

    Attributes:
        images: ``[N, H, W]`` or ``[N, H, W, 1]`` on the scale 0..255, or a path of them. The
            particle starts in the middle, at row ``H // 2`` and column ``W // 2``.
        particle: names ``[N]``.
        momentum: ``[N, 3]`` in MeV/c, along the line of sight, down the rows and to the right; None
            if only particles were asked for.
        event: ``[N]``, equal for images of one event, which are drawn again together; all
            different if it is not given.
        mev_per_level: energy of one grey level, the same in all images; None if it is not known.
        pixel_mm: side of a pixel; None if it is not known.
        trained: for each kind the least and largest momentum of the training, where known.
        guidance: weight that they were drawn with, where known.
    """

    images: str | Path | np.ndarray
    particle: np.ndarray
    momentum: np.ndarray | None
    event: np.ndarray | None = None
    mev_per_level: float | None = None
    pixel_mm: float | None = None
    trained: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    guidance: float | None = None


@dataclass(frozen=True, eq=False)
class ConditionedSet:
    """Images of a set, with what each shows and what was measured of it; ``n`` of them.

    Attributes:
        images: the images with their observables.
        particle: names ``[n]``.
        momentum: ``[n, 3]`` in MeV/c; NaN if it was not asked for.
        event: ``[n]``, equal for images that are not independent.
        beyond: ``[n]``, momenta outside those of the training.
        level: unit of charge, in MeV if the set's scale is known, else one grey level.
        pixel: unit of length, in cm if the size of pixels is known, else one pixel.
        guidance: weight that the images were drawn with, where known.
    """

    images: ImageSet
    particle: np.ndarray
    momentum: np.ndarray
    event: np.ndarray
    beyond: np.ndarray
    level: float
    pixel: float
    guidance: float | None = None

    def __len__(self) -> int:
        return len(self.particle)

    @property
    def name(self) -> str:
        """Return the name of the set."""
        return self.images.name

    @property
    def size(self) -> np.ndarray:
        """Return the sizes ``[n]`` of the momenta."""
        return np.linalg.norm(self.momentum.astype(np.float64), axis=1)

    @property
    def in_plane(self) -> np.ndarray:
        """Return which share ``[n]`` of the momentum lies in the plane of the image."""
        return np.hypot(self.momentum[:, DOWN], self.momentum[:, RIGHT]) / self.size

    def take(self, rows: np.ndarray) -> "ConditionedSet":
        """Return some of the images, by places or marks, with all that is known about them."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        names = ("particle", "momentum", "event", "beyond")
        some = {name: getattr(self, name)[places] for name in names}
        return replace(self, images=self.images.take(places), **some)


def read_real(source: str | Path, *, conditions: str | None = None) -> Shown:
    """Find what simulated images show.

    Args:
        source: path of the images, with ``labels.h5`` and ``recipe.json`` where the simulation
            writes them.
        conditions: a file of conditions instead, see `sgm_jax.data.condition.read_condition`.

    Raises:
        FileNotFoundError: no images, or nothing that says what they show.
        ValueError: damaged, for other images, or not seen from the particle's start on one scale.
    """
    images = Path(source).expanduser()
    file, split = images.parent.parent / LABELS_FILE, images.parent.name
    if conditions is None and not file.is_file():
        raise FileNotFoundError(
            f"no {file}, where the simulation writes what {source} shows; give the folder of "
            "simulated images, or --conditions="
        )
    condition = read_condition(conditions or f"{file}::{split}", particles=KINDS)
    event = None
    if conditions is None:
        name = f"{split}/event_id"
        tables = read_tables(file, [name])
        event = np.array(tables[name][:]) if tables else None
    particle = np.array(KINDS)[condition["particle"]]
    _seen_from_start(str(source))
    return Shown(source, particle, condition["momentum"], event, **units(source))


def read_generated(source: str | Path, *, needs_momentum: bool = True) -> Shown:
    """Find what drawn images were to show.

    Args:
        source: a folder of ``--mode=sample``, or its samples.npz.
        needs_momentum: refuse images for which only a particle was asked.

    Raises:
        FileNotFoundError: no such images.
        ValueError: they were drawn without conditions, or damaged.
    """
    path = Path(source).expanduser()
    file = path / SAMPLES if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"no drawn images {file}; give the folder that --mode=sample --conditions= wrote"
        )
    with open_npz(file) as archive:
        names = {Path(name).stem for name in archive.namelist()}
    needed = ("particle", "momentum") if needs_momentum else ("particle",)
    if not set(needed) <= names:
        raise ValueError(
            f"{file} does not say which {' and '.join(needed)} each image was to show; draw them "
            "with --conditions=, such as data/cond64/labels.h5::test"
        )
    particle = np.array(read_npz(file, member="particle"))
    momentum = np.array(read_npz(file, member="momentum")) if "momentum" in names else None
    note = file.parent / RECIPE
    recipe = read_object(note, fix=_FIX) if note.is_file() else {}
    config = recipe.get("config", {})
    kinds = tuple(recipe.get("particles") or config.get("data.particles") or KINDS)
    if particle.ndim != 1 or particle.dtype.kind not in "iu" or particle.max() >= len(kinds):
        raise ValueError(f"{file}::particle has no places in {', '.join(kinds)}; {_FIX}")
    ends = np.array(config.get("data.momentum_range", []), np.float64).reshape(-1, 2)[1:]
    return Shown(
        str(file if path.is_file() else path),
        np.where(particle >= 0, np.array(kinds)[particle], ""),
        momentum,
        trained=dict(zip(kinds, map(tuple, ends.tolist()), strict=False)),
        guidance=config.get("sampling.guidance"),
        mev_per_level=recipe.get("mev_per_level"),
        pixel_mm=recipe.get("pixel_mm"),
    )


def what_is_needed(needs_momentum: bool) -> str:
    """Say what has to be known of an image."""
    return "a particle with a momentum" if needs_momentum else "a particle"


def checked(shown: Shown, name: str, count: int, *, needs_momentum: bool = True) -> Shown:
    """Return what a set shows as arrays, with a row for each of ``count`` images.

    Without ``needs_momentum`` unknown momenta are NaN.

    Raises:
        ValueError: with what is wrong with them, and the row.
    """
    particle, momentum = np.asarray(shown.particle), shown.momentum
    momentum = np.full((count, 3), np.nan) if momentum is None else np.asarray(momentum)
    event = np.arange(count) if shown.event is None else np.asarray(shown.event)
    for what, values, shape in (
        ("particle", particle, (count,)),
        ("momentum", momentum, (count, 3)),
        ("event", event, (count,)),
    ):
        if values.shape != shape:
            raise ValueError(
                f"{name}: {what} has shape {values.shape}, and {count} images need {shape}: row i "
                "belongs to image i"
            )
    if particle.dtype.kind != "U":
        raise ValueError(f"{name}: particles are {particle.dtype}; give their names")
    for unit in ("mev_per_level", "pixel_mm"):
        value = getattr(shown, unit)
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{name}: --{unit} is {value}; it must be above 0")
    known = particle != ""
    fix = "--conditions=, or with --particle="
    if needs_momentum:
        known &= np.isfinite(momentum).all(axis=1) & (momentum != 0).any(axis=1)
        fix += " and --momentum_range="
    if not known.any():
        raise ValueError(
            f"{name}: no image is known to show {what_is_needed(needs_momentum)}; draw images with "
            f"{fix}"
        )
    return replace(shown, particle=np.where(known, particle, ""), momentum=momentum, event=event)


def beyond_training(shown: Shown, ranges: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Mark the images ``[N]`` with momenta outside these ranges, of kinds that have one."""
    size = np.linalg.norm(shown.momentum.astype(np.float64), axis=1)
    beyond = np.zeros(len(size), bool)
    for kind, (low, high) in ranges.items():
        outside = (size < low * (1 - _ROUNDED)) | (size > high * (1 + _ROUNDED))
        beyond |= (shown.particle == kind) & outside
    return beyond


def _seen_from_start(images: str) -> None:
    """Refuse simulated images that cannot be compared with what was asked.

    Raises:
        ValueError: with how they were made, and how to make them.
    """
    settings = simulation_recipe(images).get("simulation", {})
    crop, scaling = (settings.get(name) for name in ("crop", "scaling"))
    if crop not in (None, _START) or scaling not in (None, _ABSOLUTE):
        raise ValueError(
            f"{images}: the images are cut with crop={crop!r} and scaling={scaling!r}, and a "
            "momentum is measured from the particle's start on one scale of charge; simulate with "
            "--config.simulation.crop=start --config.simulation.scaling=absolute"
        )
