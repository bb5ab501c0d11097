"""Measure what sharing a training step costs, with equally many images on each device.

    python -m launch.scaling --config=configs/demo.py --images_per_device=4
    python -m launch.scaling --config=configs/demo.py --layouts=1x1,1x8,2x4

A layout is processes x simulated devices in each. All devices share the cores of this machine, so
wall time grows with their number. Processor time per image shows what sharing costs: copies, the
exchange of gradients, and busy waiting. The cost of a network between hosts is not in it.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence

import ml_collections
from absl import flags

from sgm_jax.run.command import run_configured, start_jax
from sgm_jax.run.experiment import configured

flags.DEFINE_string("config", None, "The experiment, a file in configs/.")
_LAYOUTS = flags.DEFINE_list(
    "layouts", ["1x1", "1x2", "1x4", "1x8", "2x1", "2x4"], "Layouts: processes x devices in each."
)
_IMAGES = flags.DEFINE_integer(
    "images_per_device", 4, "Images of each device in a step.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 10, "Number of steps that are measured.", lower_bound=1)
_WORKER = flags.DEFINE_bool("worker", False, "Used by the command itself: be a measured process.")
flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A training step on one layout; ``processor_seconds`` is the sum over all processes."""

    processes: int
    devices: int
    images: int
    wall_seconds: float
    processor_seconds: float

    @property
    def seconds_per_image(self) -> float:
        """Processor time of an image."""
        return self.processor_seconds / self.images


def layout(text: str) -> tuple[int, int]:
    """Return the processes, and the devices in each, of a text like ``2x4``.

    Raises:
        ValueError: if it is not of that form.
    """
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--layouts: {text!r} is not of the form 2x4, processes x devices")
    return int(parts[0]), int(parts[1])


def measure(
    config: ml_collections.ConfigDict, *, images_per_device: int, steps: int
) -> dict[str, float]:
    """Return the mean wall and processor seconds of a training step in this process."""
    # Imported here because they import jax, which reads the environment that run sets.
    import jax

    from launch.programs import training_call
    from sgm_jax.run import parallel

    call = training_call(config, images_per_device * jax.local_device_count())
    parallel.meet()
    call()  # compiles
    parallel.wait_for_all()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        call()
    return {
        "wall_seconds": (time.perf_counter() - wall) / steps,
        "processor_seconds": (time.process_time() - processor) / steps,
    }


def measure_layout(text: str, arguments: list[str], images_per_device: int) -> Scaling:
    """Run the workers of a layout and add up their processor time.

    Raises:
        RuntimeError: if a worker failed, with its output.
    """
    processes, devices = layout(text)
    command = [sys.executable, "-m", "launch.local", f"--processes={processes}"]
    command += [f"--devices={devices}", "--", sys.executable, "-m", "launch.scaling", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"layout {text} failed:\n{done.stdout[-2000:]}")
    lines = [line.split("] ", 1)[1] for line in done.stdout.splitlines() if "] {" in line]
    results = [json.loads(line) for line in lines]
    return Scaling(
        processes,
        devices,
        images_per_device * processes * devices,
        wall_seconds=max(result["wall_seconds"] for result in results),
        processor_seconds=sum(result["processor_seconds"] for result in results),
    )


def table(results: list[Scaling]) -> str:
    """Return a Markdown table; the efficiency is relative to the first layout."""
    head = ["processes x devices", "images a step", "wall seconds", "CPU-s an image", "efficiency"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for result in results:
        seconds = result.seconds_per_image
        row = [f"{result.processes} x {result.devices}", str(result.images)]
        row += [f"{result.wall_seconds:.2f}", f"{seconds:.3f}"]
        row.append(f"{results[0].seconds_per_image / seconds:.2f}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _work(config: ml_collections.ConfigDict) -> None:
    from sgm_jax.config import check

    start_jax()
    check(config)
    numbers = measure(config, images_per_device=_IMAGES.value, steps=_STEPS.value)
    print(json.dumps(numbers), flush=True)


def _run(overrides: Sequence[str]) -> None:
    config = configured(overrides)
    if _WORKER.value:
        _work(config)
    else:
        _compare()


def _compare() -> None:
    for text in _LAYOUTS.value:
        layout(text)
    # The workers get the flags of this command.
    arguments = ["--worker", *sys.argv[1:]]
    print(table([measure_layout(text, arguments, _IMAGES.value) for text in _LAYOUTS.value]))


if __name__ == "__main__":
    run_configured(_run)
