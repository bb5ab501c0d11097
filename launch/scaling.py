"""What sharing a training step costs: the same images per device on more and more devices.

    python -m launch.scaling --config=configs/demo.py --images_per_device=4
    python -m launch.scaling --config=configs/demo.py --layouts=1x1,1x8,2x4

A layout is processes x simulated devices in each. They share the cores of this machine, so wall
time cannot stay the same as on chips of their own; what can be seen is whether an image takes more
processor time than on one device: copies, exchanges of gradients and waiting that burns time are in
it. What a network between hosts costs is not.
"""

import dataclasses
import json
import subprocess
import sys
import time

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from sgm_jax.run.command import run, start_jax

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file in configs/.")
_LAYOUTS = flags.DEFINE_list(
    "layouts", ["1x1", "1x2", "1x4", "1x8", "2x1", "2x4"], "Processes x devices in each."
)
_IMAGES = flags.DEFINE_integer("images_per_device", 4, "In a step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 10, "Steps that are measured.", lower_bound=1)
_WORKER = flags.DEFINE_bool("worker", False, "Be one of the processes that are measured.")
_DEBUG = flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")
flags.mark_flag_as_required("config")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A training step on one layout; ``processor_seconds`` are those of all processes."""

    processes: int
    devices: int
    images: int
    wall_seconds: float
    processor_seconds: float

    @property
    def seconds_per_image(self) -> float:
        """Processor time."""
        return self.processor_seconds / self.images


def layout(text: str) -> tuple[int, int]:
    """Return processes and devices in each, from text like ``2x4``.

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
    """Return wall and processor seconds of a training step in this process, of the last steps."""
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


def measured(text: str, arguments: list[str], images_per_device: int) -> Scaling:
    """Run the worker on a layout and add its processes up.

    Raises:
        RuntimeError: if it failed, with what it said.
    """
    processes, devices = layout(text)
    command = [sys.executable, "-m", "launch.local", f"--processes={processes}"]
    command += [f"--devices={devices}", "--", sys.executable, "-m", "launch.scaling", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"layout {text} failed:\n{done.stdout[-2000:]}")
    lines = [line.split("] ", 1)[1] for line in done.stdout.splitlines() if "] {" in line]
    found = [json.loads(line) for line in lines]
    return Scaling(
        processes,
        devices,
        images_per_device * processes * devices,
        wall_seconds=max(one["wall_seconds"] for one in found),
        processor_seconds=sum(one["processor_seconds"] for one in found),
    )


def table(found: list[Scaling]) -> str:
    """Lay the measurements out; the efficiency is relative to the first."""
    head = ["processes x devices", "images a step", "wall seconds", "CPU-s an image", "efficiency"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in found:
        share = found[0].seconds_per_image / one.seconds_per_image
        row = [f"{one.processes} x {one.devices}", str(one.images), f"{one.wall_seconds:.2f}"]
        row += [f"{one.seconds_per_image:.3f}", f"{share:.2f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Measure the layouts; end with one line that says what is wrong, if something is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    run(_work if _WORKER.value else _compare, debug=_DEBUG.value)


def _work() -> None:
    from sgm_jax.config import check

    start_jax()
    check(_CONFIG.value)
    numbers = measure(_CONFIG.value, images_per_device=_IMAGES.value, steps=_STEPS.value)
    print(json.dumps(numbers), flush=True)


def _compare() -> None:
    for text in _LAYOUTS.value:
        layout(text)
    # What was said of the configuration is said to the workers again.
    arguments = ["--worker", *sys.argv[1:]]
    print(table([measured(text, arguments, _IMAGES.value) for text in _LAYOUTS.value]))


if __name__ == "__main__":
    app.run(main)
