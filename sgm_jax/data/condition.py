"""Which particle with which momentum each image shows: a condition, read from beside the images.

A condition is a dict of arrays with one row an image: ``particle``, int32 ``[N]``, the place of its
name in ``config.data.particles``; and ``momentum``, float32 ``[N, 3]`` in MeV/c. Momenta are those
of an image that is seen along x: x points along the line of sight, y down the rows and z along the
columns, to the right. Images of the simulation that are seen along another axis are turned there.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data.arrays import read_npz
from sgm_jax.data.hdf5 import read_hdf5, read_tables
from sgm_jax.run.address import refuse_address

Condition = dict[str, np.ndarray]

FIELDS = ("particle", "momentum")
# The components of a momentum, in an image.
SIGHT, DOWN, RIGHT = range(3)
# As a source: the labels that a simulation writes beside its images. Their codes are places here.
LABELS, LABELS_FILE = "labels", "labels.h5"
KINDS = ("electron", "photon", "muon", "pion", "proton")
# In the name of a file: the set that it belongs to, train or test.
SPLIT = "{split}"
_COMPONENTS = ("px", "py", "pz")
# The axes that an image shows if it is seen along x, y or z: its line of sight, rows and columns.
_AXES = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]])
_SIMULATE = (
    "simulate the images again, or name a file of your own: "
    f"--config.data.condition=conditions_{SPLIT}.csv"
)
_LABEL_TABLES = ("particle", "momentum_mev", "projection", "num_particles")


def open_condition(
    source: str,
    images: str,
    *,
    split: str,
    count: int,
    fields: Sequence[str] = FIELDS,
    particles: Sequence[str] = (),
) -> Condition:
    """Read what each of a set of images shows.

    Args:
        source: ``"labels"`` for the ``labels.h5`` that a simulation writes beside its images; or a
            file, see :func:`read_condition`, in whose name ``{split}`` stands for `split`.
        images: path of the images, as ``config.data`` has it.
        split: ``"train"`` or ``"test"``.
        count: number of images.
        fields: which of :data:`FIELDS` to read.
        particles: names of the kinds of particle.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not say, for each image, what is asked.
    """
    if source == LABELS:
        condition, place = _read_labels(images, fields, particles)
    else:
        if SPLIT not in source:
            raise ValueError(
                f"--config.data.condition={source}: the training and the test images each have "
                f"their own; write {SPLIT} where the names of the two files (or groups) have train "
                f"and test, such as conditions_{SPLIT}.csv"
            )
        place = source.replace(SPLIT, split)
        condition = read_condition(place, fields=fields, particles=particles)
    rows = len(next(iter(condition.values()))) if condition else count
    if rows != count:
        raise ValueError(
            f"{place} has conditions of {rows} images, and {images} holds {count}: row i belongs "
            "to image i, so both numbers must be equal"
        )
    return condition


def read_condition(
    path: str, *, fields: Sequence[str] = FIELDS, particles: Sequence[str] = ()
) -> Condition:
    """Read a file of conditions, one row an image.

    Args:
        path: a .csv file with the header ``particle,px,py,pz``; or an .npz or .h5 file with arrays
            ``particle`` ``[N]`` and ``momentum`` ``[N, 3]``, in a group as ``FILE.h5::GROUP``.
            Particles are names, or places in `particles` that count from 0. The labels of a
            simulation are read as well, ``labels.h5::test`` or ``::train``: their momenta are
            turned to the frame of each image. ``FILE::GROUP[0:500]`` takes some of the rows.
        fields: which of :data:`FIELDS` to read; others need not be there.
        particles: names of the kinds of particle.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, or with the row that is none: an unknown particle, or a
            momentum that is no number or zero.
    """
    refuse_address(path, "the file of conditions")
    name, _, group = str(path).partition("::")
    file = Path(name).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no file of conditions {file} (working directory {Path.cwd()})")
    suffix = file.suffix.lower()
    group, rows = _rows_of(group)
    if suffix in (".h5", ".hdf5") and _is_of_simulation(file, group):
        condition = _of_simulation(file, group.strip("/"), fields, particles)
        return _some(condition, rows, source=str(path))
    if suffix == ".csv":
        if group:
            raise ValueError(f"{file} holds one table; remove ::{group} from the path")
        columns = _read_csv(file, fields)
    elif suffix in (".npz", ".h5", ".hdf5"):
        read = read_npz if suffix == ".npz" else read_hdf5
        group = f"{group.strip('/')}/" if group else ""
        columns = {field: _whole(read(file, member=group + field)) for field in fields}
    else:
        raise ValueError(f"{file}: conditions are read from .csv, .npz and .h5 files")
    return _some(checked(columns, particles, source=str(path)), rows, source=str(path))


def momentum_range(condition: Condition, kinds: int) -> tuple[float, ...]:
    """Return the least and largest momentum in MeV/c, of all images and then of each kind.

    Two zeros stand for a kind that no image shows; without momenta there is no range.
    """
    if "momentum" not in condition:
        return ()
    size = np.linalg.norm(condition["momentum"].astype(np.float64), axis=1)
    kind = condition.get("particle", np.full(len(size), -1))
    groups = [size, *(size[kind == k] for k in range(kinds))]
    return tuple(float(f(group)) for group in groups for f in (_least, _largest))


def mirrored(condition: Condition, flips: np.ndarray) -> Condition:
    """Return the condition of images of which those with ``flips [N]`` are mirrored left-right."""
    if "momentum" not in condition:
        return condition
    momentum = condition["momentum"].copy()
    momentum[flips, RIGHT] *= -1
    return condition | {"momentum": momentum}


def turned(momentum: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Turn momenta ``[N, 3]`` of the simulation to what images show along axes ``[N]``.

    The other two axes, in their order, are rows and columns. In half of the views this is a mirror
    image of the event, of which physics in argon takes no notice.
    """
    return np.take_along_axis(momentum, _AXES[projection], axis=1)


def _least(sizes: np.ndarray) -> float:
    return sizes.min() if sizes.size else 0.0


def _largest(sizes: np.ndarray) -> float:
    return sizes.max() if sizes.size else 0.0


def _read_labels(
    images: str, fields: Sequence[str], particles: Sequence[str]
) -> tuple[Condition, str]:
    """Return the condition of simulated images, and where it was."""
    folder = Path(images).expanduser()
    file, split = folder.parent.parent / LABELS_FILE, folder.parent.name
    if not file.is_file():
        raise FileNotFoundError(
            f"no {file}, where the simulation writes what {images} shows; {_SIMULATE}"
        )
    return _of_simulation(file, split, fields, particles), f"{file}::{split}"


def _is_of_simulation(file: Path, group: str) -> bool:
    """Tell whether a group of an HDF5 file, or the file with no group named, is of a simulation."""
    splits = [group.strip("/")] if group else ("test", "train")
    labelled = [split for split in splits if read_tables(file, [f"{split}/momentum_mev"])]
    if labelled and not group:
        groups = " or ".join(f"{file}::{split}" for split in labelled)
        raise ValueError(f"{file} has the labels of a simulation: write {groups}")
    return bool(labelled)


def _of_simulation(
    file: Path, split: str, fields: Sequence[str], particles: Sequence[str]
) -> Condition:
    """Return the condition of the images of a split by the labels of their simulation."""
    stored = read_tables(file, [f"{split}/{name}" for name in _LABEL_TABLES])
    missing = [name for name in _LABEL_TABLES if f"{split}/{name}" not in stored]
    if missing:
        raise ValueError(f"{file} has no {split}/{missing[0]}; {_SIMULATE}")
    tables = {name: _whole(stored[f"{split}/{name}"]) for name in _LABEL_TABLES}
    source = f"{file}::{split}"
    code, projection = tables["particle"], tables["projection"]
    if len({len(table) for table in tables.values()}) > 1 or not (
        _within(code, len(KINDS)) and _within(projection, len(_AXES))
    ):
        raise ValueError(f"{source} is not what the simulation writes; {_SIMULATE}")
    several = tables["num_particles"] > 1
    if several.any():
        row = int(np.argmax(several))
        raise ValueError(
            f"{source}: image {row} shows {tables['num_particles'][row]} particles, and conditions "
            "are of one; simulate with --config.simulation.particles_per_event='(1, 1)'"
        )
    columns: Condition = {}
    if "particle" in fields:
        columns["particle"] = np.array(KINDS)[code]
    if "momentum" in fields:
        columns["momentum"] = turned(tables["momentum_mev"], projection)
    return checked(columns, particles, source=source)


def _rows_of(group: str) -> tuple[str, slice]:
    """Split ``GROUP[FIRST:STOP]`` into the group and the rows; all rows if none are named."""
    ends = re.fullmatch(r"(.*)\[(\d*):(\d*)\]", group)
    if ends is None:
        return group, slice(None)
    first, stop = (int(text) if text else None for text in ends.groups()[1:])
    return ends[1], slice(first, stop)


def _some(condition: Condition, rows: slice, *, source: str) -> Condition:
    """Return some rows of a condition, all of which must be there."""
    count = len(next(iter(condition.values()))) if condition else 0
    first, stop = rows.start or 0, count if rows.stop is None else rows.stop
    if condition and not first < stop <= count:
        raise ValueError(f"{source}: there are rows 0 to {count - 1}; give [FIRST:STOP] within")
    return {name: values[rows] for name, values in condition.items()}


def _within(codes: np.ndarray, number: int) -> bool:
    """Tell whether there are as many things as these codes need."""
    return (
        codes.ndim == 1
        and codes.dtype.kind in "iu"
        and bool(((codes >= 0) & (codes < number)).all())
    )


def _whole(stored: Any) -> np.ndarray:
    return np.array(stored[:]) if stored.shape else np.array(stored)


def read_columns(
    file: Path, wanted: Sequence[str], *, optional: Sequence[str] = (), example: str
) -> dict[str, list[str]]:
    """Return columns of a .csv file by their names in its header, as texts.

    Args:
        file: that is there.
        wanted: names of columns.
        optional: names of others, which are returned if they are there.
        example: a header as it should be, for the message.

    Raises:
        ValueError: if it is no table, or a column is missing.
    """
    try:
        # A byte order mark is what spreadsheets put before the header.
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream, skipinitialspace=True) if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: no table of comma-separated values ({error})") from error
    header = [name.strip() for name in lines[0]] if lines else []
    wanted = [*wanted, *(name for name in optional if name in header)]
    missing = [name for name in wanted if header.count(name) != 1]
    if missing:
        raise ValueError(
            f"{file}: the header must have {missing[0]!r} once, as in {example} (momenta "
            f"in MeV/c); it is: {','.join(header) or '(empty)'}"
        )
    for row, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise ValueError(
                f"{file}: row {row} has {len(line)} values and the header {len(header)}: "
                f"{','.join(line)}"
            )
    return {name: [line[header.index(name)].strip() for line in lines[1:]] for name in wanted}


def _read_csv(file: Path, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of a table as arrays: texts, and numbers of momenta."""
    wanted = [
        name for field in fields for name in (_COMPONENTS if field == "momentum" else (field,))
    ]
    columns = read_columns(file, wanted, example="particle,px,py,pz")
    table: dict[str, np.ndarray] = {}
    if "particle" in fields:
        table["particle"] = np.array(columns["particle"], np.str_)
    if "momentum" in fields:
        parts = [[_number(text, file, i) for i, text in enumerate(columns[n])] for n in _COMPONENTS]
        table["momentum"] = np.array(parts, np.float64).T.reshape(-1, 3)
    return table


def _number(text: str, file: Path, row: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{file}: row {row} has a momentum of {text!r}; give numbers in MeV/c"
        ) from None


def checked(columns: dict[str, np.ndarray], particles: Sequence[str], *, source: str) -> Condition:
    """Return columns as a condition, or name the first row that is none.

    Raises:
        ValueError: for an unknown particle, or a momentum that is no number or zero.
    """
    condition: Condition = {}
    if "particle" in columns:
        condition["particle"] = _places(columns["particle"], particles, source)
    if "momentum" in columns:
        condition["momentum"] = _momenta(columns["momentum"], source)
    rows = {name: len(values) for name, values in condition.items()}
    if len(set(rows.values())) > 1:
        counts = " and ".join(f"{number} of {name}" for name, number in rows.items())
        raise ValueError(f"{source} has {counts}; each image needs one row of both")
    if 0 in rows.values():
        raise ValueError(f"{source} has no rows")
    return condition


def _places(values: np.ndarray, particles: Sequence[str], source: str) -> np.ndarray:
    """Return the places of names, or of places, in `particles`, int32 ``[N]``."""
    names = ", ".join(particles) if particles else "none"
    known = f"known are {names}, or 0 to {len(particles) - 1} (--config.data.particles)"
    if values.ndim != 1 or values.dtype.kind not in "iuSUO":
        raise ValueError(
            f"{source}: particles are {values.dtype} of shape {values.shape}; give one name or "
            "place an image"
        )
    place = {name: number for number, name in enumerate(particles)}
    places = np.empty(len(values), np.int32)
    for row, value in enumerate(values.tolist()):
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if isinstance(text, str):
            text = text.strip()
            # A name may look like a number, and then it is the name.
            number = place.get(text, int(text) if re.fullmatch(r"\d{1,9}", text) else -1)
        else:
            number = text if isinstance(text, int) else -1
        if not 0 <= number < len(particles):
            raise ValueError(f"{source}: row {row} has the unknown particle {text!r}; {known}")
        places[row] = number
    return places


def _momenta(values: np.ndarray, source: str) -> np.ndarray:
    """Return momenta as float32 ``[N, 3]``, or name the first that is none."""
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{source}: momenta are {values.dtype} of shape {values.shape}; give three numbers an "
            "image: along the line of sight, down the rows and to the right, in MeV/c"
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        momenta = values.astype(np.float32)
    for bad, what in (
        (~np.isfinite(momenta).all(axis=1), "no number"),
        ((momenta == 0).all(axis=1), "zero: nothing moves"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{source}: row {row} has the momentum {values[row].tolist()}, which is {what}; "
                "repair it, or remove it (and its image, if it has one)"
            )
    return momenta
