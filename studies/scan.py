"""Simulate one detector setting with wide momentum ranges and tabulate its images.

Momenta are drawn uniformly, so the events whose momentum lies in a narrower range are exactly a
simulation of that range. One wide table therefore answers for every choice of momenta; only what
changes the images themselves (diffusion, threshold, volume, ...) has to be simulated anew.
"""

import hashlib
import io
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image

from evaluation.metrics.physics import total_charge, track_shapes
from sgm_jax.simulation.argon_data import find_or_write_data
from sgm_jax.simulation.chunk import ChunkSimulator
from sgm_jax.simulation.config import KIND_NAMES, check, default_simulation_config
from sgm_jax.simulation.truth import PixelClass
from studies.published import ImageTable

Ranges = Mapping[str, tuple[float, float]]  # momentum bounds in MeV/c of each kind

WIDE_MEV: Ranges = {
    "electron": (35.0, 1600.0),
    "photon": (35.0, 1600.0),
    "muon": (90.0, 1600.0),
    "pion": (100.0, 1600.0),
    "proton": (300.0, 1800.0),
}


def configure(overrides: Mapping[str, object], ranges: Ranges) -> ml_collections.ConfigDict:
    """Return the default simulation with some settings changed and the given momentum ranges.

    Raises:
        ValueError: if a setting does not exist or cannot work.
    """
    config = default_simulation_config()
    for name, value in overrides.items():
        if name not in config:
            raise ValueError(f"the simulation has no setting {name!r}; it has {sorted(config)}")
        config[name] = value
    for name, bounds in ranges.items():
        config.momentum_mev[name] = tuple(bounds)
    check(config)
    return config


def make_sample(
    config: ml_collections.ConfigDict, *, events: int, seed: int
) -> tuple[np.ndarray, ImageTable]:
    """Simulate at least ``events`` events, whole chunks of them.

    Returns:
        The images ``[n, H, W]`` and what was measured on them.
    """
    # A process of its own: Geant4 can be set up only once in each.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        images, rows = pool.submit(_simulate, config, events, seed).result()
    return images, ImageTable(**rows)


def cached_table(
    config: ml_collections.ConfigDict, *, events: int, seed: int, folder: Path
) -> ImageTable:
    """Return the table of a sample, kept in ``folder`` under a name made from its settings."""
    settings = json.dumps([config.to_dict(), events, seed], sort_keys=True)
    path = folder / f"{hashlib.sha256(settings.encode()).hexdigest()[:16]}.npz"
    if path.is_file():
        return ImageTable.load(path)
    _, table = make_sample(config, events=events, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    table.save(path)
    return table


def range_weights(table: ImageTable, simulated: Ranges, wanted: Ranges) -> np.ndarray:
    """Return the weights ``[n]`` that make a table stand for narrower momentum ranges.

    An image outside the wanted range of its kind weighs nothing. The others weigh as much more as
    their kind lost events, so that the kinds stay equally frequent among the events.

    Raises:
        ValueError: if a wanted range is not inside the simulated one.
    """
    weight = np.zeros(len(table.kind))
    for code, name in enumerate(KIND_NAMES):
        (low, high), (wide_low, wide_high) = wanted[name], simulated[name]
        if not wide_low <= low < high <= wide_high:
            raise ValueError(
                f"{name}: momenta {low} to {high} MeV/c do not lie in the simulated "
                f"{wide_low} to {wide_high}; simulate a wider range"
            )
        inside = (table.kind == code) & (table.momentum_mev >= low) & (table.momentum_mev <= high)
        weight[inside] = (wide_high - wide_low) / (high - low)
    return weight


def _simulate(
    config: ml_collections.ConfigDict, events: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Simulate, decode and measure in this process."""
    simulator = ChunkSimulator(config, find_or_write_data())
    count = -(-events // config.events_per_chunk)
    images, rows = [], []
    for number in range(count):
        chunk = simulator.make(seed, 0, number)
        images.append(_decode(chunk.pngs, chunk.labels["pixel_label"].shape))
        rows.append(_tabulate(images[-1], chunk.labels))
    joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return np.concatenate(images), joined


def _decode(pngs: Sequence[bytes], shape: tuple[int, int, int]) -> np.ndarray:
    """Return PNG files as images of shape ``[n, H, W]``."""
    images = np.zeros(shape, np.uint8)
    for image, png in zip(images, pngs, strict=True):
        image[:] = Image.open(io.BytesIO(png))
    return images


def _tabulate(images: np.ndarray, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Measure the images of a chunk."""
    shapes = track_shapes(images)
    of_label = [labels["pixel_label"] == code for code in PixelClass]
    lit = [np.count_nonzero(mask & (images > 0), axis=(1, 2)) for mask in of_label]
    return {
        "event": labels["event_id"],
        "kind": labels["particle"],
        "momentum_mev": np.linalg.norm(labels["momentum_mev"], axis=1),
        "lit": np.sum(lit, axis=0),
        "charge": total_charge(images),
        "length_px": shapes.length_px,
        "width_px": shapes.width_px,
        "label_pixels": np.stack(lit, axis=1),
        "label_charge": np.stack([total_charge(images * mask) for mask in of_label], axis=1),
    }
