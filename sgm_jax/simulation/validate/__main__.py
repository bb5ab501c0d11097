"""Measure the physics of the simulation and compare it with published values.

  python -m sgm_jax.simulation.validate --out=runs/physics_validation

writes report.md, results.json and pictures. --only=muon_range,bragg_peak runs only these studies;
the study "inputs" scales cross sections.
"""

import os
import sys
from pathlib import Path

from absl import app, flags

from sgm_jax.run.address import refuse_addresses
from sgm_jax.simulation.validate.studies import INPUTS, MIN_EVENTS, STUDIES, validate

_OUT = flags.DEFINE_string("out", "runs/physics_validation", "Folder of the report.")
_EVENTS = flags.DEFINE_integer(
    "events", 3000, "Particles at a fast point; slow points take fewer.", lower_bound=MIN_EVENTS
)
_SEED = flags.DEFINE_integer("seed", 1, "Seed of Geant4.", lower_bound=0)
_ONLY = flags.DEFINE_list("only", [*STUDIES, INPUTS], "Studies to run.")


def main(argv: list[str]) -> None:
    """Write the report; the exit status is 1 if anything failed."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    # One thread: the arrays are small, and the machine may be shared.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        refuse_addresses(flags.FLAGS.flag_values_dict())
        summary = validate(Path(_OUT.value), _ONLY.value, events=_EVENTS.value, seed=_SEED.value)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    print(f"{_OUT.value}/report.md: {summary}")
    sys.exit(1 if summary["fail"] else 0)


if __name__ == "__main__":
    app.run(main)
