"""What a page is to be made of: which checkpoints, how many images. Everything is checked here."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.budget import BUDGETS

MOST_CHECKPOINTS = 8


@dataclass(frozen=True)
class Sizes:
    """Numbers of images."""

    checkpoint: int  # drawn from each checkpoint
    study: int  # drawn with each number of network evaluations
    likelihood: int  # whose bits per dimension are measured, of each real set


SIZES = {"small": Sizes(2_000, 500, 32), "paper": Sizes(10_000, 2_000, 1_000)}


@dataclass(frozen=True)
class Plan:
    """The settings of a page.

    Attributes:
        run: the workdir.
        out: the folder of the page.
        checkpoints: steps, rising.
        report: step of the checkpoint that all metrics are computed of.
        evaluations: numbers of network evaluations to draw with, rising.
        sizes: numbers of images.
        budget: the name of what the metrics use of them.
        seed: of everything random but the images that are drawn, whose seed is the run's.
        threshold: pixels at most this become 0 in all sets.
        plane: of images with three planes, 0 to 2.
    """

    run: Path
    out: Path
    checkpoints: list[int]
    report: int
    evaluations: list[int]
    sizes: Sizes
    budget: str
    seed: int
    threshold: int
    plane: int | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """Return what the page depends on, beside the images."""
        from sgm_jax.run.checkpoints import expected

        # A run is its checkpoints, wherever its folder lies.
        known = expected(self.run / "checkpoints")
        run = {str(step): known.get(step) for step in self.checkpoints}
        return asdict(self) | {"run": run, "out": None}


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan of a command line.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: for checkpoints that are not there, or numbers that do not fit.
    """
    from sgm_jax.run.checkpoints import steps

    kept = sorted(steps(options.workdir))
    if not kept:
        raise FileNotFoundError(f"{options.workdir} holds no checkpoint: give a trained --workdir")
    wanted = _numbers("checkpoints", options.checkpoints)
    checkpoints = wanted or spread(kept)
    report = checkpoints[-1] if options.report is None else options.report
    for flag, chosen, known in (
        ("checkpoints", checkpoints, kept),
        ("report", [report], checkpoints),
    ):
        missing = [str(step) for step in chosen if step not in known]
        if missing:
            raise ValueError(
                f"--{flag}: {options.workdir} has no checkpoint {', '.join(missing)} to show; "
                f"choose from {', '.join(map(str, known))}"
            )
    sizes, count = SIZES[options.budget], options.num_samples
    if count is not None:
        most = BUDGETS[options.budget].generated
        if not 2 <= count <= most:
            raise ValueError(
                f"--num_samples={count} must be from 2 to {most} with --budget={options.budget}"
            )
        sizes = Sizes(count, min(count, sizes.study), min(count, sizes.likelihood))
    return Plan(
        options.workdir,
        options.out,
        checkpoints,
        report,
        _numbers("evaluations", options.evaluations),
        sizes,
        options.budget,
        options.seed,
        options.threshold,
        options.plane,
    )


def spread(steps: list[int], most: int = MOST_CHECKPOINTS) -> list[int]:
    """Return at most so many of rising steps, evenly in their logarithm, the ends always."""
    if len(steps) <= most:
        return steps
    logs = np.log(np.maximum(steps, 1))
    wanted = np.linspace(logs[0], logs[-1], most)
    places = {int(np.abs(logs - log).argmin()) for log in wanted}
    return [steps[place] for place in sorted(places | {0, len(steps) - 1})]


def _numbers(flag: str, text: str) -> list[int]:
    """Return the whole numbers of a flag, rising."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--{flag}={text}: write whole numbers above 0, as --{flag}=1000,5000")
    return sorted({int(part) for part in parts})
