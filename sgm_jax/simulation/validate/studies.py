"""The studies by name: run them and write their report."""

import resource
from pathlib import Path

from sgm_jax.simulation.argon_data import APPROXIMATED, GEANT4_VERSION, find_or_write_data
from sgm_jax.simulation.geant4 import PHYSICS_LIST
from sgm_jax.simulation.validate.electromagnetic import (
    electron_photon,
    photon_paths,
    radiation_length,
    showers,
)
from sgm_jax.simulation.validate.hadrons import bragg_peak, interaction_lengths, proton_range
from sgm_jax.simulation.validate.inputs import input_shifts
from sgm_jax.simulation.validate.muons import muon_decay, muon_energy_loss, muon_range
from sgm_jax.simulation.validate.report import Study, write_report
from sgm_jax.simulation.validate.transport import PRODUCTION_CUT_CM, Argon, run_apart

STUDIES = {
    "muon_energy_loss": muon_energy_loss,
    "muon_range": muon_range,
    "muon_decay": muon_decay,
    "photon_paths": photon_paths,
    "radiation_length": radiation_length,
    "showers": showers,
    "electron_photon": electron_photon,
    "proton_range": proton_range,
    "bragg_peak": bragg_peak,
    "interaction_lengths": interaction_lengths,
}
INPUTS = "inputs"
MIN_EVENTS = 200


def run_studies(folder: Path, names: list[str], events: int, seed: int) -> dict[str, Study]:
    """Run the named studies one after the other in this process's Geant4."""
    argon = Argon(folder, seed=seed)
    return {name: STUDIES[name](argon, events) for name in names}


def validate(out: Path, names: list[str], *, events: int, seed: int) -> dict[str, int]:
    """Run studies, write the report and return how many measurements passed, failed, ...

    Raises:
        ValueError: if a study is not known.
    """
    unknown = [name for name in names if name not in (*STUDIES, INPUTS)]
    if unknown:
        known = ", ".join((*STUDIES, INPUTS))
        raise ValueError(f"--only: no study {', '.join(unknown)}; there are {known}")
    data = find_or_write_data()
    chosen = [name for name in STUDIES if name in names]
    studies = run_apart(run_studies, data.folder, chosen, events, seed) if chosen else {}
    perturb = INPUTS in names and data.kind == APPROXIMATED
    shifts = input_shifts(data.folder, events, seed) if perturb else []
    only = "" if set(names) == {*STUDIES, INPUTS} else f" --only={','.join(names)}"
    command = f"python -m sgm_jax.simulation.validate --events={events} --seed={seed}{only}"
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    settings = {
        "command": f"`{command}`",
        "Geant4": f"{GEANT4_VERSION} through calzone, {PHYSICS_LIST}",
        "Geant4 data": data.kind,
        "production cut": f"{1e4 * PRODUCTION_CUT_CM:g} um",
        "CPU seconds": round(sum(spent.ru_utime + spent.ru_stime for spent in usage)),
    }
    return write_report(studies, shifts, out, settings=settings)
