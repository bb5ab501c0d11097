"""What a report of a training run compares: found in its workdir, as far as it is not said."""

import argparse
import re
from pathlib import Path

from sgm_jax.run.experiment import read_experiment

SAMPLES = "samples.npz"
LIKELIHOOD = "likelihood.npz"


def complete(options: argparse.Namespace) -> argparse.Namespace:
    """Return parsed arguments with what ``--workdir`` says of those that were not typed.

    The real and the training images are those of the run's configuration, with its scaling; the
    generated images are those of its newest checkpoint that images were drawn from; the report goes
    beside them, to ``report/`` in the workdir.

    Raises:
        FileNotFoundError: the folder holds no run, or no drawn images.
        ValueError: without ``--workdir``, something that is needed was not typed.
    """
    options = argparse.Namespace(**vars(options))
    if options.workdir is not None:
        run = options.workdir
        if not (run / "config.json").is_file():
            raise FileNotFoundError(
                f"--workdir={run} holds no training run; give that of a run, or --real, "
                "--generated and --out"
            )
        data = read_experiment(str(run)).data
        options.real = options.real or data.test_path
        options.train = options.train or data.train_path
        options.scaling = options.scaling or data.scaling
        if options.generated is None:
            drawn = newest_samples(run)
            options.generated = str(drawn)
            options.out = options.out or run / "report" / drawn.name
            _find_likelihoods(options, run, drawn.name)
    missing = [name for name in ("real", "generated", "out") if getattr(options, name) is None]
    if missing:
        flags = " and ".join(f"--{name}" for name in missing)
        raise ValueError(f"{flags} not given; give them, or --workdir of a run with drawn images")
    options.scaling = options.scaling or "none"
    return options


def _find_likelihoods(options: argparse.Namespace, run: Path, step: str) -> None:
    """Take the likelihoods of ``--mode=likelihood`` of the same step, if both sets have some."""
    real = run / "likelihood" / step / LIKELIHOOD
    drawn = run / "likelihood" / f"{step}_{Path(SAMPLES).stem}" / LIKELIHOOD
    if real.is_file() and drawn.is_file():
        options.likelihood_real = options.likelihood_real or real
        options.likelihood_generated = options.likelihood_generated or drawn


def newest_samples(run: Path) -> Path:
    """Return the folder of images that were drawn, without conditions, at the latest step.

    Raises:
        FileNotFoundError: nothing was drawn.
    """
    steps = {
        int(place.parent.name.removeprefix("step_")): place.parent
        for place in (run / "samples").glob(f"*/{SAMPLES}")
        if re.fullmatch(r"step_\d+", place.parent.name)
    }
    if not steps:
        raise FileNotFoundError(
            f"{run} holds no drawn images; draw some: python -m sgm_jax.main --mode=sample "
            f"--workdir={run} --num_samples=1000, or give --generated"
        )
    return steps[max(steps)]
