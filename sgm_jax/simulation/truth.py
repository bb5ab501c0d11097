"""Which deposits belong to tracks and which to showers.

Hadrons, muons and nuclei make tracks. Electrons and photons make showers, whatever their origin
(primary, pi0, Michel electron, nuclear photon, large knock-on electron), and pass that on to all
electrons and photons that descend from them. A knock-on (delta) electron of small energy is part of
the track that made it.
"""

from enum import IntEnum

import numpy as np


class PixelClass(IntEnum):
    """Code of a pixel in the label file."""

    BACKGROUND = 0
    SHOWER = 1
    TRACK = 2


_KNOCK_ON = b"Ionisation"


def _rows_by_track(tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``first`` and ``row`` with ``row[first[event] + track_id]`` the row of that track."""
    event = tracks["event"].astype(np.int64)
    largest = np.zeros(event.max() + 1, np.int64)
    np.maximum.at(largest, event, tracks["tid"])
    first = np.concatenate([[0], np.cumsum(largest + 1)])
    row = np.full(first[-1], -1)
    row[first[event] + tracks["tid"]] = np.arange(tracks.size)
    return first, row


def _electromagnetic_roots(electromagnetic: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Return for each electron or photon its first ancestor of an unbroken electromagnetic line.

    Tracks of other kinds are their own root. Pointers are doubled: depth d takes log2(d) rounds.
    """
    rows = np.arange(parent.size)
    root = np.where(electromagnetic & (parent >= 0) & electromagnetic[parent], parent, rows)
    while True:
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further


def deposit_classes(
    tracks: np.ndarray, lines: np.ndarray, points: np.ndarray, *, delta_min_mev: float
) -> np.ndarray:
    """Return the ``PixelClass`` of every deposit.

    Args:
        tracks: calzone's record of tracks (event, tid, parent, pid, creator).
        lines: calzone's deposits along steps; ``energy`` is the kinetic energy at the step's start.
        points: calzone's deposits at points.
        delta_min_mev: knock-on electrons from this kinetic energy up count as showers.

    Returns:
        Classes ``[len(lines) + len(points)]``, lines first.
    """
    if tracks.size == 0:
        return np.zeros(0, np.int8)
    first, row = _rows_by_track(tracks)
    parent = row[first[tracks["event"].astype(np.int64)] + tracks["parent"]]
    pdg = np.abs(tracks["pid"])
    electromagnetic = (pdg == 11) | (pdg == 22)
    owner = {
        name: row[first[deposits["event"].astype(np.int64)] + deposits["tid"]]
        for name, deposits in (("lines", lines), ("points", points))
    }
    kinetic_mev = np.zeros(tracks.size)
    np.maximum.at(kinetic_mev, owner["lines"], lines["energy"])
    knock_on = (
        (tracks["pid"] == 11)
        & (tracks["creator"] == _KNOCK_ON)
        & (parent >= 0)
        & ~electromagnetic[parent]
        & (kinetic_mev < delta_min_mev)
    )
    own = np.where(electromagnetic & ~knock_on, PixelClass.SHOWER, PixelClass.TRACK)
    classes = own[_electromagnetic_roots(electromagnetic, parent)].astype(np.int8)
    return np.concatenate([classes[owner["lines"]], classes[owner["points"]]])
