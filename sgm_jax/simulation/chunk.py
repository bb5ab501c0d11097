"""One chunk of events, from random seed to encoded images: the unit of work of a process.

Each chunk has its own random streams: 0 draws the primaries, 1 is Geant4's, and (2, event,
projection) makes the noise and the random crop of one image.
"""

import functools
import io
import os
import signal
import threading
from dataclasses import replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from PIL import Image

from sgm_jax.run.files import read_arrays, write_arrays
from sgm_jax.simulation.argon_data import Geant4Data
from sgm_jax.simulation.config import START
from sgm_jax.simulation.crops import NUM_PROJECTIONS, Crop, cut, place_px
from sgm_jax.simulation.drift import diffuse, gather_pieces
from sgm_jax.simulation.geant4 import Deposits, Geant4
from sgm_jax.simulation.labels import image_labels, primary_labels
from sgm_jax.simulation.particles import Events, draw_events

SPLITS = ("train", "test")
SPLIT_EVENTS = 10**12  # event ids of split s are SPLIT_EVENTS * s and up: no id is in two splits
_READOUT_STREAM = 2  # the first two of a chunk are of the primaries and of Geant4
_PNG, _PNG_SIZE, _LABEL, _PRIMARY = "png", "png_size", "label.", "primary."  # arrays of its file
_settings: tuple[ml_collections.ConfigDict, Geant4Data]  # of a worker process


class Chunk(NamedTuple):
    """The images of one chunk and their truth."""

    pngs: list[bytes]
    labels: dict[str, np.ndarray]  # field to array [n, ...], n images
    primaries: dict[str, np.ndarray]  # field to array [k, ...]; empty for single particles


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a chunk, whole or not at all."""
    arrays = {
        _PNG: np.frombuffer(b"".join(chunk.pngs), np.uint8),
        _PNG_SIZE: np.array([len(png) for png in chunk.pngs], np.int64),
        **{_LABEL + field: values for field, values in chunk.labels.items()},
        **{_PRIMARY + field: values for field, values in chunk.primaries.items()},
    }
    write_arrays(path, arrays)


def load_chunk(path: Path) -> Chunk:
    """Read a chunk that :func:`save_chunk` wrote.

    Raises:
        ValueError: if it was damaged since.
    """
    fix = "delete it and repeat the command"
    arrays = read_arrays(path, fix=fix)
    try:
        ends = np.cumsum(arrays[_PNG_SIZE])
        starts = ends - arrays[_PNG_SIZE]
        joined = arrays[_PNG].tobytes()
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error

    def table(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(kind): arrays[name] for name in arrays if name.startswith(kind)}

    pngs = [joined[start:end] for start, end in zip(starts, ends, strict=True)]
    return Chunk(pngs, table(_LABEL), table(_PRIMARY))


def encode_png(image: np.ndarray) -> bytes:
    """Encode ``[height, width]`` uint8 as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


class ChunkSimulator:
    """Makes chunks, whose content depends on the settings, the seed, the split and the number only.

    It depends neither on the chunks made before nor on the process.
    """

    def __init__(self, config: ml_collections.ConfigDict, data: Geant4Data):
        self._config = config
        self._geant4 = Geant4(
            data,
            side_cm=0.1 * config.volume_pixels * config.pixel_mm,
            production_cut_cm=0.1 * config.production_cut_mm,
        )

    def make(self, seed: int, split: int, number: int) -> Chunk:
        """Simulate chunk ``number`` of split ``split`` (index into ``SPLITS``)."""
        config = self._config
        draws, transport = np.random.SeedSequence(seed, spawn_key=(split, number)).spawn(2)
        count = config.events_per_chunk
        events = draw_events(np.random.default_rng(draws), count, config)
        deposits = self._geant4.run(
            events.primaries,
            seed=int(transport.generate_state(1, np.uint64)[0]),
            delta_min_mev=config.delta_min_mev,
        )
        deposits = replace(deposits, event=events.event[deposits.event])
        crops, rows = self._crops(deposits, events, (seed, split, number))
        first_id = split * SPLIT_EVENTS + number * count
        labels = image_labels(
            crops,
            rows,
            events,
            first_id=first_id,
            event_mev=np.bincount(deposits.event, deposits.energy_mev, minlength=count),
            config=config,
        )
        several = config.particles_per_event[1] > 1
        primaries = primary_labels(events, first_id=first_id) if several else {}
        return Chunk([encode_png(crop.image) for crop in crops], labels, primaries)

    def _crops(
        self, deposits: Deposits, events: Events, chunk: tuple[int, int, int]
    ) -> tuple[list[Crop], np.ndarray]:
        """Return the accepted crops of all events and the event ``[n]`` each is of."""
        charges = diffuse(gather_pieces(deposits, self._config), self._config)
        first = np.searchsorted(events.event, np.arange(self._config.events_per_chunk))
        vertex = np.floor(place_px(events.primaries.position_cm[first], self._config))
        seed, *stream = chunk
        crops, rows = [], []
        for row, charge in enumerate(charges.of_events(self._config.events_per_chunk)):
            if charge.charge_mev.sum() == 0.0:  # the event left the argon without a trace
                continue
            at_start = self._config.crop == START
            centre = vertex[row].astype(np.int64) if at_start else charge.centre_px()
            for projection in range(NUM_PROJECTIONS):
                key = (*stream, _READOUT_STREAM, row, projection)
                rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
                crop = cut(charge, projection, centre, self._config, rng=rng)
                if crop is not None:
                    crops.append(crop)
                    rows.append(row)
        return crops, np.array(rows, np.int64)


def _leave_with(parent_sentinel: int) -> None:
    """End this process when its parent has ended, however that happened."""
    connection.wait([parent_sentinel])
    os._exit(1)


def start_worker(config: ml_collections.ConfigDict, data: Geant4Data) -> None:
    """Prepare a worker process: it ignores Ctrl-C and ends when its parent ends."""
    global _settings
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent_process().sentinel,), daemon=True).start()
    _settings = config, data


@functools.cache
def _simulator() -> ChunkSimulator:
    """Return this process's simulator, made on first use so that its errors reach the parent."""
    return ChunkSimulator(*_settings)


def make_chunk_file(seed: int, split: int, number: int, path: Path) -> None:
    """Make a chunk in a worker process prepared by ``start_worker``, and write it to ``path``."""
    save_chunk(path, _simulator().make(seed, split, number))
