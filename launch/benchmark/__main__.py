"""Measure what training, sampling, simulating and starting cost on this machine.

    python -m launch.benchmark                       # every line
    python -m launch.benchmark --only=tiny_training,import
    python -m launch.benchmark --only=w1,sinkhorn    # metrics, beside other libraries
    python -m launch.benchmark --only=sampler_heun   # what it adds to its network evaluations

What is measured is what users run: the train step, the sampler and the command line themselves.
Processor seconds count all threads, so neighbours on the machine disturb them less than wall time.
The PyTorch figures are medians of score_sde_pytorch at commit cb1f359 with torch 2.13.0 (CPU, two
threads, two cores of an AMD EPYC), for the same network, batch and step.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import app, flags

from configs import larcv_png64
from launch.benchmark import evaluator, samplers, ssnet
from launch.benchmark.measurement import Line, processor_seconds
from launch.programs import training_call
from sgm_jax import generator as contract
from sgm_jax.drawer import Drawer
from sgm_jax.run import parallel

_ONLY = flags.DEFINE_list("only", [], "lines to measure; every line if empty")
_REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each line, after one that is not counted")

SAMPLER_STEPS = 4
SIMULATED_IMAGES = 1000


# Networks by name: what differs from the paper's configuration, and the batch to measure with.
CASES: dict[str, tuple[dict, int]] = {
    "tiny": (
        {"data.image_size": 32, "data.num_channels": 1, "model.nf": 32}
        | {"model.ch_mult": (1, 2, 2), "model.num_res_blocks": 1},
        16,
    ),
    "small": ({"data.num_channels": 1, "model.nf": 32, "model.num_res_blocks": 2}, 16),
    "paper": ({}, 2),
}
PYTORCH_TRAINING = {"tiny": 1.51, "small": 6.84, "paper": 8.24}
PYTORCH_SAMPLING = {"tiny": 0.27, "small": 1.71, "paper": 2.17}


def case_config(name: str) -> ml_collections.ConfigDict:
    """Return the configuration of the network called ``name``."""
    overrides, batch = CASES[name]
    config = larcv_png64.get_config()
    config.update_from_flattened_dict(overrides)
    config.training.batch_size = config.eval.batch_size = batch
    config.model.num_scales = SAMPLER_STEPS
    config.sampling.method = "pc"
    return config


def time_training(name: str, repeats: int) -> Line:
    """Measure one update of the network called ``name``."""
    config = case_config(name)
    batch = config.training.batch_size
    seconds = processor_seconds(training_call(config, batch), repeats)
    what = f"{name}: training step, {batch} images"
    return Line(what, seconds, PYTORCH_TRAINING.get(name), batch)


def time_sampling(name: str, repeats: int) -> Line:
    """Measure one Euler-Maruyama step of the network called ``name``."""
    config = case_config(name)
    generator, batch = contract.build(config), config.eval.batch_size
    drawer = Drawer(generator, batch_size=batch, seed=0)
    state = jax.jit(generator.initial_state)(jax.random.key(0))
    variables = parallel.replicate(state.averaged)

    def call() -> None:
        drawer.draw(variables, 0, batch, progress=lambda done: None)

    seconds = processor_seconds(call, repeats) / SAMPLER_STEPS
    what = f"{name}: sampler step, {batch} images"
    return Line(what, seconds, PYTORCH_SAMPLING.get(name), batch)


def time_import(repeats: int) -> Line:
    """Measure ``import sgm_jax`` in a fresh interpreter, start of Python included."""
    code = "import sgm_jax, time; print(time.process_time())"
    times = []
    for _ in range(repeats):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(float(run.stdout))
    return Line("import sgm_jax", statistics.median(times))


def time_simulation(repeats: int) -> Line:
    """Measure the simulation of 1000 images: processor seconds of all its processes, one run."""
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
    """Measure wall seconds from the command to the end of the first step, programs cached."""
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for run in range(repeats + 1):
            times.append(_seconds_to_first_step(Path(folder), f"run{run}"))
    return Line("second start of configs/demo.py (wall)", statistics.median(times[1:]))


def _seconds_to_first_step(folder: Path, run: str) -> float:
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (32, 64, 64), "uint8"))
    command = [
        *(sys.executable, "-m", "sgm_jax.main", "--config=configs/demo.py"),
        *(f"--workdir={folder / run}", "--config.training.n_iters=1"),
        *(f"--config.data.{name}_path={folder}/images.npy" for name in ("train", "test")),
    ]
    began = time.time()
    subprocess.run(command, capture_output=True, check=True)
    first = (folder / run / "metrics.jsonl").read_text().splitlines()[0]
    return json.loads(first)["time"] - began


def _lines() -> dict[str, Callable[[int], Line]]:
    lines: dict[str, Callable[[int], Line]] = {
        "import": time_import,
        "second_start": time_second_start,
        "simulation": time_simulation,
        "ssnet_inference": ssnet.time_inference,
        "ssnet_training": ssnet.time_training,
    }
    for name in CASES:
        lines[f"{name}_training"] = lambda repeats, name=name: time_training(name, repeats)
        lines[f"{name}_sampling"] = lambda repeats, name=name: time_sampling(name, repeats)
    return lines


LINES = _lines()


def table(lines: list[Line]) -> str:
    """Lay the measurements out in columns."""
    rows = [f"{'seconds, processor time':<42}{'sgm_jax':>9}{'PyTorch':>9}{'images/s':>10}"]
    for line in lines:
        pytorch = "-" if line.pytorch_seconds is None else f"{line.pytorch_seconds:.2f}"
        rate = "-" if line.images is None else f"{line.images / line.seconds:.1f}"
        rows.append(f"{line.what:<42}{line.seconds:>9.3f}{pytorch:>9}{rate:>10}")
    return "\n".join(rows)


def main(argv: list[str]) -> None:
    """Measure the lines asked for and print them.

    Raises:
        ValueError: if a line is unknown.
    """
    del argv
    known = (*LINES, *samplers.COMPARISONS, *evaluator.COMPARISONS)
    unknown = set(_ONLY.value) - set(known)
    if unknown:
        raise ValueError(f"--only={','.join(sorted(unknown))}: unknown; known: {', '.join(known)}")
    names = _ONLY.value or known
    lines = [LINES[name](_REPEATS.value) for name in names if name in LINES]
    if lines:
        print(table(lines))
    compared = [_compare(name) for name in names if name not in LINES]
    if compared:
        print(evaluator.table(compared))


def _compare(name: str) -> evaluator.Comparison:
    if name in samplers.COMPARISONS:
        return samplers.COMPARISONS[name](_REPEATS.value)
    return evaluator.measure(name)


if __name__ == "__main__":
    app.run(main)
