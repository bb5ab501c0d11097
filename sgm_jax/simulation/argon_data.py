"""The folder of Geant4's data: the official one if it is there, else a small one for argon only.

calzone brings Geant4 without its 2 GB of physics tables. For a detector made of argon alone, the
standard electromagnetic and FTFP_BERT physics read 382 small files, which are written here from
published formulas. The transport is Geant4's, but these are not the official Geant4 data.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sgm_jax.run.files import cache_folder
from sgm_jax.simulation.argon_electromagnetic import (
    write_bremsstrahlung,
    write_photoelectric,
    write_rayleigh,
)
from sgm_jax.simulation.argon_nuclear import write_neutrons, write_photonuclear

GEANT4_VERSION = "11.4.0"
DATA_REVISION = 1  # raise it with any change of the numbers written
DATA_VARIABLE = "GEANT4_DATA_DIR"
APPROXIMATED = f"approximated, argon only, revision {DATA_REVISION}"
OFFICIAL = "official"
_MARKER = "ARGON_ONLY.txt"
_FOLDERS = (
    "G4NDL4.7.1",
    "G4EMLOW8.8",
    "PhotonEvaporation6.1.2",
    "RadioactiveDecay6.1.2",
    "G4PARTICLEXS4.2",
    "G4PII1.3",
    "RealSurface2.2",
    "G4SAIDDATA2.0",
    "G4ABLA3.3",
    "G4INCL1.3",
    "G4ENSDFSTATE3.0",
    "G4CHANNELING2.0",
)


@dataclass(frozen=True)
class Geant4Data:
    """A folder of Geant4 data and what it is (``OFFICIAL`` or ``APPROXIMATED``)."""

    folder: Path
    kind: str


def write_argon_data(folder: Path) -> None:
    """Write the whole argon-only data tree into the empty or new ``folder`` (about 1.5 s).

    Raises:
        ModuleNotFoundError: if xraydb, the source of the photon tables, is not installed.
    """
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
    # The table of nuclear levels: the ground state of 40Ar, stable (lifetime -1), spin 0.
    (folder / "G4ENSDFSTATE3.0/ENSDFSTATE.dat").write_text("18 40 0.0 - -1.0 0 0.0\n")
    write_bremsstrahlung(folder / "G4EMLOW8.8")
    write_photoelectric(folder / "G4EMLOW8.8")
    write_rayleigh(folder / "G4EMLOW8.8")
    write_neutrons(folder / "G4PARTICLEXS4.2")
    write_photonuclear(folder / "G4PARTICLEXS4.2")
    note = f"Written by sgm_jax from published formulas, revision {DATA_REVISION}: argon only.\n"
    (folder / _MARKER).write_text(note)


def find_or_write_data(cache: Path | None = None) -> Geant4Data:
    """Return the Geant4 data to use, writing the argon-only tree on first use.

    ``$GEANT4_DATA_DIR`` wins if set. Otherwise ``cache`` is used, by default a folder in the user's
    cache; it appears by one rename, so an interrupted first use leaves nothing that looks whole.

    Raises:
        FileNotFoundError: if ``$GEANT4_DATA_DIR`` names a folder that is not there.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{DATA_VARIABLE}={named} is not a folder; correct it, or unset it to use the "
                "argon data that sgm_jax writes by itself"
            )
        return Geant4Data(folder, APPROXIMATED if (folder / _MARKER).exists() else OFFICIAL)
    cache = cache or cache_folder() / f"geant4-{GEANT4_VERSION}-argon{DATA_REVISION}"
    if not cache.is_dir():
        _write_atomically(cache)
    return Geant4Data(cache, APPROXIMATED)


def _write_atomically(cache: Path) -> None:
    """Write the tree beside ``cache`` and rename it into place."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{cache.name}.partial-", dir=cache.parent))
    try:
        write_argon_data(draft)
        draft.chmod(0o755)
        try:
            draft.rename(cache)
        except OSError:
            # Another process was first; its folder is the same to the byte.
            if not cache.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
