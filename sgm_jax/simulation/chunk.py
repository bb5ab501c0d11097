"""One chunk of events, from random seed to encoded images: the unit of work of a process."""

import functools
import io
import os
import signal
import threading
from multiprocessing import connection, parent_process
from typing import NamedTuple

import ml_collections
import numpy as np
from PIL import Image

from sgm_jax.simulation.argon_data import Geant4Data
from sgm_jax.simulation.crops import NUM_PROJECTIONS, Crop, cut
from sgm_jax.simulation.drift import diffuse, gather_pieces
from sgm_jax.simulation.geant4 import Deposits, Geant4
from sgm_jax.simulation.particles import Primaries, draw_primaries

SPLITS = ("train", "test")
SPLIT_EVENTS = 10**12  # event ids of split s are SPLIT_EVENTS * s and up: no id is in two splits

_settings: tuple[ml_collections.ConfigDict, Geant4Data]  # of a worker process


class Chunk(NamedTuple):
    """The images of one chunk; ``labels`` maps a field to an array ``[n, ...]``."""

    pngs: list[bytes]
    labels: dict[str, np.ndarray]


def encode_png(image: np.ndarray) -> bytes:
    """Encode ``[height, width]`` uint8 as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _labels(
    crops: list[Crop],
    rows: np.ndarray,
    primaries: Primaries,
    *,
    event_id: int,
    event_mev: np.ndarray,
) -> dict[str, np.ndarray]:
    """Stack the truth of ``n`` crops; ``rows`` says which primary each came from."""
    return {
        "particle": primaries.kind[rows].astype(np.uint8),
        "pdg": primaries.pdg[rows].astype(np.int32),
        "momentum_mev": primaries.momentum_mev[rows].astype(np.float32).reshape(-1, 3),
        "event_id": event_id + rows.astype(np.int64),
        "projection": np.array([crop.projection for crop in crops], np.uint8),
        "event_energy_mev": event_mev[rows].astype(np.float32),
        "crop_energy_mev": np.array([crop.crop_mev for crop in crops], np.float32),
        "counts_per_mev": np.array([crop.counts_per_mev for crop in crops], np.float32),
        "crop_origin_px": np.array([c.origin_px for c in crops], np.int32).reshape(-1, 2),
        "view_origin_px": np.array([c.view_origin_px for c in crops], np.int32).reshape(-1, 2),
        "pixel_label": np.array([c.label for c in crops], np.uint8),
    }


class ChunkSimulator:
    """Makes chunks. What a chunk holds depends on the settings, the seed, the split and its number.

    It does not depend on the chunks made before it nor on the process that makes it.
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
        primaries = draw_primaries(np.random.default_rng(draws), count, config)
        deposits = self._geant4.run(
            primaries,
            seed=int(transport.generate_state(1, np.uint64)[0]),
            delta_min_mev=config.delta_min_mev,
        )
        crops, rows = self._crops(deposits)
        labels = _labels(
            crops,
            rows,
            primaries,
            event_id=split * SPLIT_EVENTS + number * count,
            event_mev=np.bincount(deposits.event, deposits.energy_mev, minlength=count),
        )
        return Chunk([encode_png(crop.image) for crop in crops], labels)

    def _crops(self, deposits: Deposits) -> tuple[list[Crop], np.ndarray]:
        """Return the accepted crops of all events and the event ``[n]`` each is of."""
        charges = diffuse(gather_pieces(deposits, self._config), self._config)
        crops, rows = [], []
        for row, charge in enumerate(charges.of_events(self._config.events_per_chunk)):
            if charge.energy_mev.sum() == 0.0:  # the particle left the argon without a trace
                continue
            centre = charge.centre_px()
            for projection in range(NUM_PROJECTIONS):
                crop = cut(charge, projection, centre, self._config)
                if crop is not None:
                    crops.append(crop)
                    rows.append(row)
        return crops, np.array(rows, np.int64)


def _leave_with(parent_sentinel: int) -> None:
    """End this process when its parent has ended, however that happened."""
    connection.wait([parent_sentinel])
    os._exit(1)


def start_worker(config: ml_collections.ConfigDict, data: Geant4Data) -> None:
    """Prepare a worker process: deaf to Ctrl-C, gone when its parent is gone."""
    global _settings
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent_process().sentinel,), daemon=True).start()
    _settings = config, data


@functools.cache
def _simulator() -> ChunkSimulator:
    """Return this process's simulator, made on first use so that its errors reach the parent."""
    return ChunkSimulator(*_settings)


def make_chunk(seed: int, split: int, number: int) -> Chunk:
    """Make a chunk in a worker process prepared by ``start_worker``."""
    return _simulator().make(seed, split, number)
