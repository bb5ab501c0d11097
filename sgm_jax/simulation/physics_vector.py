"""The plain-text table that Geant4 calls a physics vector: energies against values."""

from pathlib import Path

import numpy as np


def write_physics_vector(path: Path, energy_mev: np.ndarray, values: np.ndarray) -> None:
    """Write energies ``[n]`` in MeV and values ``[n]`` in the unit that the Geant4 model expects.

    The layout is ``first last n``, then ``n``, then one ``energy value`` pair a line.

    Raises:
        ValueError: if the lengths differ, the energies do not rise or a value is not finite.
    """
    if energy_mev.shape != values.shape or energy_mev.ndim != 1:
        raise ValueError(
            f"{path}: {energy_mev.shape} energies but {values.shape} values; "
            "pass two one-dimensional arrays of the same length"
        )
    if not np.all(np.diff(energy_mev) > 0.0):
        raise ValueError(f"{path}: energies must rise strictly; sort and deduplicate them")
    if not np.all(np.isfinite(values)):
        raise ValueError(
            f"{path}: {np.sum(~np.isfinite(values))} of {values.size} values not finite"
        )
    count = energy_mev.size
    head = f"{energy_mev[0]:.12g} {energy_mev[-1]:.12g} {count}\n{count}"
    np.savetxt(path, np.stack([energy_mev, values], axis=1), "%.12g", header=head, comments="")


def read_physics_vector(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return energies ``[n]`` in MeV and values ``[n]`` in the unit of the file.

    Raises:
        ValueError: if the counts in the header and the number of rows differ.
    """
    words = path.read_text().split()
    counts, pairs = (int(words[2]), int(words[3])), np.array(words[4:], dtype=float).reshape(-1, 2)
    if counts != (len(pairs), len(pairs)):
        raise ValueError(f"{path}: header says {counts} rows, found {len(pairs)}; write it anew")
    return pairs[:, 0], pairs[:, 1]
