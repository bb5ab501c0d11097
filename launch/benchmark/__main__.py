"""Measure what training, sampling, simulating and starting cost on this machine.

    python -m launch.benchmark                       # every line
    python -m launch.benchmark --only=tiny_training,import
    python -m launch.benchmark --only=w1,sinkhorn    # metrics, beside other libraries
    python -m launch.benchmark --only=sampler_heun   # cost beyond its network evaluations

The work is that of users: the train step, the sampler and the command line themselves. Seconds are
processor time of all threads, which other programs on the machine disturb less than wall time.
"""

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
from absl import flags

from launch.benchmark import evaluator, networks
from launch.benchmark.measurement import Comparison, Line, comparisons_table, lines_table
from sgm_jax.run.command import run_app

SIMULATED_IMAGES = 1000


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_list("only", [], "Names of the lines to measure. Default: all.")
    flags.DEFINE_integer("repeats", 5, "Runs of each line, after one that is not counted.")
    flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")


def time_import(repeats: int) -> Line:
    """Measure ``import sgm_jax`` in a fresh interpreter, start of Python included."""
    code = "import sgm_jax, time; print(time.process_time())"
    times = []
    for _ in range(repeats):
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(float(process.stdout))
    return Line("import sgm_jax", statistics.median(times))


def time_simulation(repeats: int) -> Line:
    """Measure the simulation of 1000 images: processor seconds of all its processes, once."""
    del repeats
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [
                *(sys.executable, "-m", "sgm_jax.main", "--mode=simulate"),
                *("--config=configs/larcv_png64.py", f"--workdir={folder}/images"),
                f"--config.simulation.num_train={SIMULATED_IMAGES}",
                "--config.simulation.num_test=0",
            ],
            capture_output=True,
            check=True,
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
    subprocess.run(command, capture_output=True, check=True)
    first = (folder / name / "metrics.jsonl").read_text().splitlines()[0]
    return json.loads(first)["time"] - began


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
        raise ValueError(f"--only={','.join(unknown)} is unknown; choose from {', '.join(known)}")
    names = names or list(known)
    lines = [LINES[name](repeats) for name in names if name in LINES]
    if lines:
        print(lines_table(lines))
    comparisons = [COMPARISONS[name](repeats) for name in names if name in COMPARISONS]
    if comparisons:
        print(comparisons_table(comparisons))


if __name__ == "__main__":
    define_flags()
    run_app(lambda: measure(flags.FLAGS.only, flags.FLAGS.repeats))
