"""Lists of final-state particles, event by event: read from a table, or from a simulation.

Momenta are in MeV/c along the line of sight, down the rows and to the right, as in
:mod:`sgm_jax.data.condition`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgm_jax.data.condition import KINDS, checked, read_columns, read_condition, turned
from sgm_jax.data.hdf5 import read_tables
from sgm_jax.run.address import refuse_address

_EXAMPLE = "event,particle,px,py,pz[,row,column]"
_MOST_EVENTS = 2**31  # numbers are int32 where noise is drawn
_PER_IMAGE = ("event_id", "projection", "start_px")
_PER_PARTICLE = ("event_id", "particle", "momentum_mev")


@dataclass(frozen=True)
class Events:
    """The ``n`` particles of ``m`` events; those of one event lie together.

    Attributes:
        source: where they were read from.
        event: number of each particle's event ``[n]``, rising.
        number: of the particle in its event ``[n]``, from 0 on, in the order of the source.
        particle: place of its name ``[n]``, int32.
        momentum: in MeV/c, float32 ``[n, 3]``.
        vertex: row and column of the pixel where the event begins ``[n, 2]``.
    """

    source: str
    event: np.ndarray
    number: np.ndarray
    particle: np.ndarray
    momentum: np.ndarray
    vertex: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """Numbers ``[m]`` of the events, rising."""
        return np.unique(self.event)

    def name(self, row: int) -> str:
        """Return which particle a row is, for a message."""
        return f"{self.source}: particle {self.number[row]} of event {self.event[row]}"

    def take(self, events: np.ndarray) -> np.ndarray:
        """Return the rows of these events."""
        return np.flatnonzero(np.isin(self.event, events))


def read_events(path: str, *, particles: Sequence[str], canvas: tuple[int, int]) -> Events:
    """Read a list of particles.

    Args:
        path: a .csv file with the header ``event,particle,px,py,pz``, one row a particle, and
            perhaps ``row,column`` of the pixel of the vertex, else in the middle; or the
            ``labels.h5`` of a simulation as ``labels.h5::test``: then image i is event i.
        particles: names of the kinds of particle.
        canvas: height and width of the images.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, or with the row that is wrong.
    """
    refuse_address(path, "the list of particles")
    name, _, split = str(path).partition("::")
    file = Path(name).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no list of particles {file} (working directory {Path.cwd()})")
    if file.suffix.lower() == ".csv" and not split:
        event, condition, vertex = _read_csv(file, particles, canvas)
    elif file.suffix.lower() in (".h5", ".hdf5") and split:
        event, condition, vertex = _read_labels(file, split, particles)
    else:
        raise ValueError(
            f"{path}: events are read from a .csv file with {_EXAMPLE}, or from the labels of a "
            "simulation as labels.h5::test"
        )
    order = np.argsort(event, kind="stable")
    event, vertex = event[order], vertex[order]
    _, first, count = np.unique(event, return_index=True, return_counts=True)
    number = np.arange(len(event)) - first.repeat(count)
    rows = {field: values[order] for field, values in condition.items()}
    events = Events(str(path), event, number, **rows, vertex=vertex)
    _check_vertices(events, vertex[first].repeat(count, axis=0), canvas)
    return events


def _read_csv(
    file: Path, particles: Sequence[str], canvas: tuple[int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    columns = read_columns(file, ("event",), optional=("row", "column"), example=_EXAMPLE)
    condition = read_condition(str(file), particles=particles)
    table = {
        name: np.array([_whole_number(text, file, name, i) for i, text in enumerate(texts)])
        for name, texts in columns.items()
    }
    if len(table) == 2:
        raise ValueError(f"{file}: the header has {' and '.join(table)} alone; give row and column")
    middle = np.array([side // 2 for side in canvas])
    vertex = np.broadcast_to(middle, (len(table["event"]), 2))
    if len(table) == 3:
        vertex = np.stack([table["row"], table["column"]], axis=1)
    return table["event"], condition, vertex


def _whole_number(text: str, file: Path, name: str, row: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number < _MOST_EVENTS:
        raise ValueError(
            f"{file}: row {row} has the {name} {text!r}; give a whole number from 0 to "
            f"{_MOST_EVENTS - 1}"
        )
    return number


def _read_labels(
    file: Path, split: str, particles: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return the particles of the events that simulated images show, as each image sees them."""
    source = f"{file}::{split}"
    # Of single particles the table of the images is that of the particles.
    single = f"primaries/{split}/event_id"
    wanted = [f"{split}/{name}" for name in {*_PER_IMAGE, *_PER_PARTICLE}]
    tables = read_tables(file, [*wanted, *(f"primaries/{split}/{n}" for n in _PER_PARTICLE)])
    missing = [name for name in wanted if name not in tables]
    if missing:
        raise ValueError(f"{file} has no {missing[0]}; give the labels.h5 of a simulation")
    image = {name: tables[f"{split}/{name}"][:] for name in _PER_IMAGE}
    if single in tables:
        table = {name: tables[f"primaries/{split}/{name}"][:] for name in _PER_PARTICLE}
        first = np.searchsorted(table["event_id"], image["event_id"], "left")
        count = np.searchsorted(table["event_id"], image["event_id"], "right") - first
        row = np.repeat(np.arange(len(first)), count)
        primary = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    else:
        table = {name: tables[f"{split}/{name}"][:] for name in _PER_PARTICLE}
        row = primary = np.arange(len(image["event_id"]))
    columns = {
        "particle": np.array(KINDS)[table["particle"][primary]],
        "momentum": turned(table["momentum_mev"][primary], image["projection"][row]),
    }
    vertex = np.floor(image["start_px"]).astype(np.int64)
    return row, checked(columns, particles, source=source), vertex[row]


def _check_vertices(events: Events, first: np.ndarray, canvas: tuple[int, int]) -> None:
    """Refuse events with two vertices, or with one that is not on the canvas."""
    outside = ((events.vertex < 0) | (events.vertex >= canvas)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        place = ", ".join(map(str, events.vertex[row]))
        raise ValueError(
            f"{events.name(row)} begins at row, column {place}, outside of the canvas of "
            f"{canvas[0]}x{canvas[1]} pixels; move it, or give a larger --canvas"
        )
    other = (events.vertex != first).any(axis=1)
    if other.any():
        row = int(other.argmax())
        raise ValueError(
            f"{events.name(row)} begins at row, column {events.vertex[row].tolist()} and particle "
            f"0 at {first[row].tolist()}; the particles of an event have one vertex"
        )
