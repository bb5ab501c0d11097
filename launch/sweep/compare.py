"""Train, draw and judge every row of the table."""

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections

from launch.sweep.cases import BASE, Case, Option, folder_name
from launch.sweep.judge import Judge, mean_of
from sgm_jax.run.files import write_json
from sgm_jax.run.interruption import taken_over
from sgm_jax.run.log import LOGGER


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is to be compared, and where it is kept; None leaves a number to the configuration."""

    trained: dict[str, Option]  # the variants that are trained, by name
    cases: list[Case]  # the rows of the table
    out: Path  # folder of everything
    seeds: list[int]  # each network is trained, and drawn from, once for each
    num_samples: int | None = None  # images of a set, unless the sampler has its own
    workdir: Path | None = None  # a finished run to use for the base; None trains it
    pretrained: str | None = None  # or a name or file of weights to use for it
    steps: int | None = None  # of each training
    cpu_seconds: float | None = None  # after which a training is stopped; None for no limit

    @property
    def largest_set(self) -> int:
        """Images of the largest set."""
        return max(self._count(case) for case in self.cases)

    def check_runs(self) -> None:
        """Refuse runs and weights of other settings: before hours of training, not after.

        Raises:
            FileNotFoundError: if ``workdir`` holds no run, or there are no such weights.
            ValueError: with the fields that differ; or for an average, which weights have not.
        """
        from sgm_jax.config import flatten
        from sgm_jax.run.workdir import differences, read_config
        from sgm_jax.trained import from_weights

        for case in self.cases:
            if self._is_pretrained(case):
                from_weights(self.pretrained, case.sampler.config)
                if case.sampler.ema is not None:
                    raise ValueError(
                        f"--sampler={case.sampler.name!r}: --ema={case.sampler.ema:g} chooses "
                        f"among averages of a run, and --pretrained={self.pretrained} has one only"
                    )
                continue
            for seed in self.seeds:
                run = self._run(case, seed)
                stored = read_config(run)
                if stored is None and run == self.workdir:
                    raise FileNotFoundError(f"--workdir={run} holds no run; give a trained one")
                if stored is None:
                    continue
                wanted = flatten(self._training_config(case, seed))
                if run == self.workdir:  # Another seed draws other images from the same network.
                    wanted["seed"] = stored["seed"]
                other = differences(wanted, stored)
                if other:
                    raise ValueError(
                        f"{run} was trained with other settings ({'; '.join(other)}); choose "
                        f"another {'--workdir' if run == self.workdir else '--out'}"
                    )

    def rows(self, judge: Judge) -> Iterator[dict[str, Any]]:
        """Yield the rows of the table; what exists on disk is not made again."""
        for case in self.cases:
            parts = []
            for seed in self.seeds:
                self._train(case, seed)
                folder = self._draw(case, seed)
                parts.append(self._facts(case, folder, seed) | {"quality": judge(folder)})
            yield {
                "variant": case.variant.name,
                "sampler": case.sampler.name,
                "arguments": [*case.variant.arguments, *case.sampler.arguments],
                "quality": mean_of([part["quality"] for part in parts]),
                "seeds": parts,
            }

    def _is_pretrained(self, case: Case) -> bool:
        return case.network == BASE and self.pretrained is not None

    def _run(self, case: Case, seed: int) -> Path:
        if case.network == BASE and self.workdir is not None:
            return self.workdir
        return self.out / "runs" / f"{folder_name(case.network)}_seed{seed}"

    def _count(self, case: Case) -> int:
        config = case.sampler.config
        return case.sampler.num_samples or self.num_samples or config.eval.num_samples

    def _training_config(self, case: Case, seed: int) -> ml_collections.ConfigDict:
        config = self.trained[case.network].config.copy_and_resolve_references()
        config.seed = seed
        config.training.snapshot_sampling = False
        if self.steps is not None:
            config.training.n_iters = self.steps
        return config

    def _train(self, case: Case, seed: int) -> None:
        """Train a network, or continue, until its steps or its processor time are used up."""
        from sgm_jax.run.checkpoints import steps
        from sgm_jax.run.interruption import Interrupted
        from sgm_jax.train import train

        if self._is_pretrained(case):
            return
        run, config = self._run(case, seed), self._training_config(case, seed)
        budget = CpuBudget(self.cpu_seconds, run / "cpu_seconds.json")
        finished = max(steps(run), default=-1) >= config.training.n_iters
        if run == self.workdir or finished or budget.spent:
            return
        try:
            with budget:
                train(config, run)
        except Interrupted:
            if not budget.spent:
                raise
            LOGGER.info("%s: %.0f CPU seconds are used", run, budget.used)

    def _draw(self, case: Case, seed: int) -> Path:
        """Return the folder of the images drawn from the newest checkpoint, or the weights."""
        from sgm_jax.run.restore import newest_step
        from sgm_jax.sample import sample
        from sgm_jax.trained import read_weights

        run, pretrained = self._run(case, seed), None
        config = case.sampler.config.copy_and_resolve_references()
        config.seed = seed
        if self._is_pretrained(case):
            pretrained = self.pretrained
            step = read_weights(pretrained).step
        else:
            step = newest_step(run)
        names = f"{folder_name(case.variant.name)}_{folder_name(case.sampler.name)}"
        return sample(
            config,
            run,
            num_samples=self._count(case),
            checkpoint=step,
            out=self.out / "samples" / f"{names}_seed{seed}_step{step}",
            ema_rate=case.sampler.ema,
            pretrained=pretrained,
        )

    def _facts(self, case: Case, folder: Path, seed: int) -> dict[str, Any]:
        recipe = json.loads((folder / "recipe.json").read_text())
        note = self._run(case, seed) / "cpu_seconds.json"
        return {
            "seed": seed,
            "samples": str(folder),
            "steps": recipe["checkpoint_step"],
            "cpu_seconds": json.loads(note.read_text())["cpu_seconds"] if note.is_file() else None,
            "network_evaluations": recipe["network_evaluations"],
            "seconds_per_image": recipe["seconds_per_image"],
            "images": recipe["num_samples"],
        }


class CpuBudget:
    """Stops a training after some processor time, added up over all starts.

    It asks as a user would, with SIGTERM: the training saves its state and leaves. Start and
    compilation count, and so does work that was lost because the process was killed.
    """

    def __init__(self, seconds: float | None, note: Path):
        """Go on counting where ``note``, a JSON file, stopped; ``None`` only counts."""
        self._seconds, self._note = seconds, note
        self.used: float = json.loads(note.read_text())["cpu_seconds"] if note.is_file() else 0.0

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._seconds is not None and self.used >= self._seconds

    def __enter__(self) -> "CpuBudget":
        """Start counting."""
        self._zero = time.process_time() - self.used
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._stop_when_spent, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop counting."""
        self._done.set()
        self._watch.join()
        self._update()

    def _stop_when_spent(self) -> None:
        while not self._done.wait(1.0):
            self._update()
            # Before the training has taken over the signal, it would end the whole command.
            if self.spent and taken_over():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _update(self) -> None:
        self.used = time.process_time() - self._zero
        self._note.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._note, {"cpu_seconds": self.used})
