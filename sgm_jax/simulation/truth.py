"""Which deposits belong to tracks, showers, Michel electrons and delta rays.

Hadrons, muons and nuclei make tracks. Electrons and photons make showers, whatever their origin
(primary, pi0, nuclear photon), unless they come from the decay of a muon (Michel) or are a large
knock-on electron of a track (delta). Each passes its class on to all electrons and photons that
descend from it. A knock-on electron of small energy is part of the track that made it.
"""

from enum import IntEnum

import numpy as np


class PixelClass(IntEnum):
    """Code of a pixel in the label file."""

    BACKGROUND = 0
    SHOWER = 1
    TRACK = 2
    MICHEL = 3
    DELTA = 4


_KNOCK_ON, _DECAY = b"Ionisation", b"Decay"
_CAPTURE = b"Capture"  # of a muon that has stopped; its decay in the argon atom is part of it
_MUON, _ANTI_ELECTRON_NEUTRINO = 13, -12


def fold_to_ssnet(labels: np.ndarray) -> np.ndarray:
    """Fold pixel classes to the three that SSNet knows: background, shower and track.

    Michel electrons and delta rays become showers, as in the labels that SSNet learns from.

    Args:
        labels: codes of ``PixelClass``, of any shape and integer type.
    """
    return np.where(labels > PixelClass.TRACK, PixelClass.SHOWER, labels).astype(labels.dtype)


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


def _michel_rows(tracks: np.ndarray, parent: np.ndarray, kinetic_mev: np.ndarray) -> np.ndarray:
    """Return the rows of the electrons and positrons that decays of muons made.

    In Geant4 one process covers what happens to a stopped negative muon: it emits Auger electrons,
    and is then captured or decays in its orbit. An electron antineutrino marks a decay, and of the
    electrons beside it the one of most energy is taken.
    """
    child = np.flatnonzero((parent >= 0) & (np.abs(tracks["pid"][parent]) == _MUON))
    pdg = tracks["pid"][child]
    child = child[(np.abs(pdg) == 11) | (pdg == _ANTI_ELECTRON_NEUTRINO)]
    child = child[tracks["creator"][child] != _KNOCK_ON]
    pdg, creator = tracks["pid"][child], tracks["creator"][child]
    in_flight = child[(np.abs(pdg) == 11) & (creator == _DECAY)]
    decayed = parent[child[(pdg == _ANTI_ELECTRON_NEUTRINO) & (creator == _CAPTURE)]]
    bound = child[(pdg == 11) & (creator == _CAPTURE)]
    bound = bound[np.isin(parent[bound], decayed)]
    bound = bound[np.lexsort((kinetic_mev[bound], parent[bound]))]
    is_last = np.diff(parent[bound], append=-1) != 0
    return np.concatenate([in_flight, bound[is_last]])


def label_deposits(
    tracks: np.ndarray, lines: np.ndarray, points: np.ndarray, *, delta_min_mev: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``PixelClass`` of every deposit and the row of the track that left it.

    Args:
        tracks: calzone's record of tracks (event, tid, parent, pid, creator).
        lines: calzone's deposits along steps; ``energy`` is the kinetic energy at the step's start.
        points: calzone's deposits at points.
        delta_min_mev: knock-on electrons from this kinetic energy up count as delta rays.

    Returns:
        Two arrays ``[len(lines) + len(points)]``, lines first.
    """
    if tracks.size == 0:
        return np.zeros(0, np.int8), np.zeros(0, np.int64)
    first, row = _rows_by_track(tracks)
    parent = row[first[tracks["event"].astype(np.int64)] + tracks["parent"]]
    owners = [row[first[d["event"].astype(np.int64)] + d["tid"]] for d in (lines, points)]
    kinetic_mev = np.zeros(tracks.size)
    np.maximum.at(kinetic_mev, owners[0], lines["energy"])
    classes = _track_classes(tracks, parent, kinetic_mev, delta_min_mev=delta_min_mev)
    rows = np.concatenate(owners)
    return classes[rows], rows


def _track_classes(
    tracks: np.ndarray, parent: np.ndarray, kinetic_mev: np.ndarray, *, delta_min_mev: float
) -> np.ndarray:
    """Return the ``PixelClass`` of what each track leaves, int8."""
    pdg = np.abs(tracks["pid"])
    electromagnetic = (pdg == 11) | (pdg == 22)
    knock_on = (
        (tracks["pid"] == 11)
        & (tracks["creator"] == _KNOCK_ON)
        & (parent >= 0)
        & ~electromagnetic[parent]
    )
    own = np.where(electromagnetic, PixelClass.SHOWER, PixelClass.TRACK).astype(np.int8)
    own[knock_on] = np.where(
        kinetic_mev[knock_on] < delta_min_mev, PixelClass.TRACK, PixelClass.DELTA
    )
    own[_michel_rows(tracks, parent, kinetic_mev)] = PixelClass.MICHEL
    return own[_electromagnetic_roots(electromagnetic, parent)]
