"""How many network evaluations does an image need? Quality against cost for every solver.

    python -m studies.solvers --config=configs/larcv_png64_cpu.py --workdir=runs/larcv_png64_cpu \\
        --real=data/lar64/test/larcv_png_64 --train=data/lar64/train/larcv_png_64 \\
        --out=docs/samplers

draws images of a trained network with each solver and number of evaluations and compares each set
with real ones. OUT gets solvers.md, solvers.png and solvers.json. A run that was killed continues,
when it is repeated, with the images and metrics that are missing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from sgm_jax.run.command import run as run_command
from sgm_jax.run.command import start_jax
from studies.judging import Judge, open_judge
from studies.solver_cases import EVALUATIONS, SOLVERS, Case, cases
from studies.written import write_study


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m studies.solvers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", required=True, help="the configuration of the run")
    parser.add_argument("--workdir", required=True, type=Path, help="the run")
    parser.add_argument("--checkpoint", type=int, help="its step (default: the newest)")
    parser.add_argument("--real", required=True, help="held-out real images")
    parser.add_argument("--train", required=True, help="other real images, for the floor")
    parser.add_argument("--out", required=True, type=Path, help="folder of table and figure")
    parser.add_argument("--work", type=Path, default=Path("runs/solvers"), help="what is done")
    parser.add_argument("--solvers", default=",".join(SOLVERS), help="default: all")
    parser.add_argument("--evaluations", default=",".join(map(str, EVALUATIONS)))
    parser.add_argument("--images", type=int, default=2000, help="of each case")
    parser.add_argument("--images_above_100", type=int, default=500, help="evaluations, that is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def study(given: argparse.Namespace) -> dict[str, Any]:
    """Draw and compare every case; return what solvers.json holds.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: for unknown solvers, a configuration that is not the run's, few real images.
    """
    # Imported here because it imports jax, which reads the environment that run sets.
    from sgm_jax.run.workdir import provenance

    chosen = cases(
        given.solvers.split(","),
        [int(count) for count in given.evaluations.split(",")],
        images=given.images,
        images_above_100=given.images_above_100,
    )
    count = max(case.images for case in chosen)
    judge = open_judge(given.real, given.train, count=count, work=given.work, seed=given.seed)
    found = [_judged(given, case, judge) for case in chosen]
    settings = {"seed": given.seed, "config": given.config}
    settings["real"] = judge.real.facts["hash_of_used"]
    return {"settings": settings, "cases": found, "provenance": provenance()}


def _judged(given: argparse.Namespace, case: Case, judge: Judge) -> dict[str, Any]:
    folder = _draw(given, case)
    recipe = json.loads((folder / "recipe.json").read_text())
    return {
        "name": case.name,
        "solver": case.solver,
        "evaluations": recipe["network_evaluations"],
        "images": case.images,
        "checkpoint_step": recipe["checkpoint_step"],
        "seconds_per_image": recipe["seconds_per_image"],
        "quality": judge(case.name, folder),
    }


def _draw(given: argparse.Namespace, case: Case) -> Path:
    """Return the folder of a case's images, drawn if they are not there."""
    from sgm_jax.sample import sample

    return sample(
        configured(given.config, case.overrides, seed=given.seed),
        given.workdir,
        num_samples=case.images,
        checkpoint=given.checkpoint,
        out=given.work / "samples" / case.name,
    )


def configured(path: str, fields: dict[str, Any], *, seed: int) -> Any:
    """Return the configuration of a file with other ``fields``, checked."""
    from sgm_jax.config import check

    config = read_config(path)
    config.update_from_flattened_dict(fields)
    config.seed = seed
    check(config)
    return config


def read_config(path: str) -> Any:
    """Return the configuration of a file, as ``--config`` does."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "The experiment.", flag_values=values)
    values(["studies.solvers", f"--config={path}"])
    return values.config


def main(arguments: list[str] | None = None) -> None:
    """Make table and figure; ``arguments`` are those of the command line by default."""
    given = parse(arguments)
    run_command(lambda: _run(given), debug=given.debug)


def _run(given: argparse.Namespace) -> None:
    # Imported here because it imports matplotlib.
    from studies.solver_report import draw, render

    start_jax()
    content = study(given)
    write_study(given.out, "solvers", content, render(content))
    draw(content).savefig(given.out / "solvers.png", dpi=110)


if __name__ == "__main__":
    main()
