"""Fields of the label file: the truth about images and primaries, and what each field means."""

import ml_collections
import numpy as np

from sgm_jax.simulation.config import ABSOLUTE
from sgm_jax.simulation.crops import Crop, place_px
from sgm_jax.simulation.particles import Events

MEANINGS = {
    "event_id": "equal for the projections of one event; no id is in both splits",
    "particle": "0 electron, 1 photon, 2 muon, 3 pion, 4 proton",
    "pdg": "particle code of the Particle Data Group",
    "momentum_mev": "of the primary along x, y, z, in MeV/c",
    "kinetic_mev": "kinetic energy of the primary, in MeV",
    "num_particles": "primaries of the event; the fields above are of the one of most energy",
    "event_energy_mev": "left in the argon by the event, in MeV",
    "crop_energy_mev": "left in the argon behind the lit pixels of the crop, in MeV",
    "counts_per_mev": "8-bit counts for one MeV in this image",
    "clipped_pixels": "pixels of the crop that read more than 255 counts, and are 255",
    "start_px": "row, column of the primary vertex in the crop; it may lie outside",
    "crop_origin_px": "row, column of the crop's corner in the view",
    "view_origin_px": "row, column of the view's corner on the pixel grid of the argon cube",
    "projection": "axis looked along: 0 x (drift), 1 y, 2 z",
    "pixel_label": "0 background, 1 shower, 2 track, 3 Michel electron, 4 delta ray",
    "image_mev": "what the pixels above threshold read, in MeV",
}


def image_labels(
    crops: list[Crop],
    rows: np.ndarray,
    events: Events,
    *,
    first_id: int,
    event_mev: np.ndarray,
    config: ml_collections.ConfigDict,
) -> dict[str, np.ndarray]:
    """Stack the truth of ``n`` crops.

    Args:
        crops: accepted crops.
        rows: which of the ``m`` events each is of.
        events: the events.
        first_id: number of event 0 in the data set.
        event_mev: energy ``[m]`` that each event left in the argon.
        config: settings of the simulation.
    """
    leading = events.leading()[rows]
    labels = primary_labels(events, first_id=first_id, rows=leading) | {
        "num_particles": events.num_particles[rows].astype(np.uint16),
        "projection": np.array([crop.projection for crop in crops], np.uint8),
        "event_energy_mev": event_mev[rows].astype(np.float32),
        "crop_energy_mev": np.array([crop.crop_mev for crop in crops], np.float32),
        "counts_per_mev": np.array([crop.counts_per_mev for crop in crops], np.float32),
        "start_px": _starts(crops, events.primaries.position_cm[leading], config),
        "crop_origin_px": np.array([c.origin_px for c in crops], np.int32).reshape(-1, 2),
        "view_origin_px": np.array([c.view_origin_px for c in crops], np.int32).reshape(-1, 2),
        "pixel_label": np.array([c.label for c in crops], np.uint8),
    }
    if config.scaling == ABSOLUTE:
        labels["clipped_pixels"] = np.array([crop.clipped for crop in crops], np.uint32)
    if config.write_mev:
        labels["image_mev"] = np.array([crop.image_mev for crop in crops], np.float32)
    return labels


def primary_labels(
    events: Events, *, first_id: int, rows: np.ndarray | slice = slice(None)
) -> dict[str, np.ndarray]:
    """Return the truth of primaries, event by event; of all, if no rows are given."""
    primaries = events.primaries
    return {
        "event_id": first_id + events.event[rows].astype(np.int64),
        "particle": primaries.kind[rows].astype(np.uint8),
        "pdg": primaries.pdg[rows].astype(np.int32),
        "momentum_mev": primaries.momentum_mev[rows].astype(np.float32).reshape(-1, 3),
        "kinetic_mev": primaries.kinetic_mev[rows].astype(np.float32),
    }


def _starts(
    crops: list[Crop], vertex_cm: np.ndarray, config: ml_collections.ConfigDict
) -> np.ndarray:
    """Return row and column ``[n, 2]`` of vertices in their crops; pixel k reaches k to k + 1."""
    starts = np.zeros((len(crops), 2), np.float32)
    for start, crop, vertex in zip(starts, crops, vertex_cm, strict=True):
        corner = np.add(crop.view_origin_px, crop.origin_px)
        start[:] = np.delete(place_px(vertex, config), crop.projection) - corner
    return starts
