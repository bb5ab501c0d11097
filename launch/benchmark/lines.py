"""The lines and comparisons of the benchmark by name, and how each is measured."""

import difflib
import functools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from launch.benchmark import evaluator, networks
from launch.benchmark.measurement import Comparison, Line, comparisons_table, lines_table

SIMULATED_IMAGES = 1000


def time_import(repeats: int) -> Line:
    """Measure ``import sgm_jax`` in a fresh interpreter, start of Python included."""
    code = "import sgm_jax, time; print(time.process_time())"
    times = []
    for _ in range(repeats):
        times.append(float(_run_command([sys.executable, "-c", code])))
    return Line("import sgm_jax", statistics.median(times))


def time_simulation(repeats: int) -> Line:
    """Measure the simulation of 1000 images: processor seconds of all its processes, once."""
    del repeats
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run_command(
            [
                *(sys.executable, "-m", "sgm_jax.main", "--mode=simulate"),
                *("--config=configs/larcv_png64.py", f"--workdir={folder}/images"),
                f"--config.simulation.num_train={SIMULATED_IMAGES}",
                "--config.simulation.num_test=0",
            ]
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    what = f"simulate {SIMULATED_IMAGES} images, start included"
    return Line(what, seconds, images=SIMULATED_IMAGES)


def time_second_start(repeats: int) -> Line:
    """Measure wall seconds from the command to the end of the first step, with cached programs."""
    with tempfile.TemporaryDirectory() as folder:
        times = [_seconds_to_first_step(Path(folder), f"run{k}") for k in range(repeats + 1)]
    return Line("second start of configs/demo.py (wall)", statistics.median(times[1:]))


def _seconds_to_first_step(folder: Path, name: str) -> float:
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (32, 64, 64), "uint8"))
    command = [
        *(sys.executable, "-m", "sgm_jax.main", "--config=configs/demo.py"),
        *(f"--workdir={folder / name}", "--config.training.n_iters=1"),
        *(f"--config.data.{split}_path={folder}/images.npy" for split in ("train", "test")),
    ]
    began = time.time()
    _run_command(command)
    first = (folder / name / "metrics.jsonl").read_text().splitlines()[0]
    return json.loads(first)["time"] - began


def _run_command(command: list[str]) -> str:
    """Return what a command prints.

    Raises:
        RuntimeError: with its last words, if it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(command[1:])} failed: {' '.join(words)}")
    return done.stdout


# What a number of repeats gives, by the name of the line.
LINES: dict[str, Callable[[int], Line]] = {
    "import": time_import,
    "second_start": time_second_start,
    "simulation": time_simulation,
    "ssnet_inference": networks.time_ssnet_labelling,
    "ssnet_training": networks.time_ssnet_training,
}
for _name in networks.CASES:
    LINES[f"{_name}_training"] = functools.partial(networks.time_training, _name)
    LINES[f"{_name}_sampling"] = functools.partial(networks.time_sampling, _name)
COMPARISONS: dict[str, Callable[[int], Comparison]] = {
    f"sampler_{name}": functools.partial(networks.compare_sampler, name)
    for name in networks.SAMPLERS
} | {name: functools.partial(evaluator.measure, name) for name in evaluator.COMPARISONS}


def measure(names: list[str], repeats: int) -> None:
    """Measure lines and print them; all of them if no names are given.

    Raises:
        ValueError: if a name is unknown, with the known ones.
    """
    known = (*LINES, *COMPARISONS)
    unknown = [name for name in names if name not in known]
    if unknown:
        near = [m for name in unknown for m in difflib.get_close_matches(name, known, n=1)]
        hint = f"did you mean --only={','.join(near)}? " if near else ""
        raise ValueError(
            f"--only={','.join(unknown)} is unknown; {hint}choose from {', '.join(known)}"
        )
    names = names or list(known)
    lines = [LINES[name](repeats) for name in names if name in LINES]
    if lines:
        print(lines_table(lines))
    comparisons = [COMPARISONS[name](repeats) for name in names if name in COMPARISONS]
    if comparisons:
        print(comparisons_table(comparisons))
