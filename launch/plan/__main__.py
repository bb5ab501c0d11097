"""What a run would take on TPUs, from the real step, compiled for chips that are not here.

  python -m launch.plan --config=configs/larcv_png64.py --topology=v5e:2x2
  python -m launch.plan --config=configs/larcv_png64.py --topology=v5e:2x4,v5e:4x8,v6e:2x4 \\
      --dtype=float32,bfloat16 --mode=sample --images_per_chip=16

Prints and saves work, memory traffic and memory of a step on one chip, the best time that these
allow (see launch/plan/roofline.py), and hours for the run. It needs libtpu (the extra tpu), and
patience: the paper's network compiles in minutes. What was compiled once is kept in
~/.cache/sgm_jax/plan.
A chip's program depends on its share of the batch only: with --compiled_for=v5e:2x2 two programs
are compiled for that slice, and all others derived from them.
"""

import dataclasses
import json
from pathlib import Path

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from launch.plan import chips
from sgm_jax.run.command import run
from sgm_jax.run.files import cache_folder
from sgm_jax.run.log import LOGGER

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file in configs/.")
_TOPOLOGY = flags.DEFINE_list("topology", ["v5e:2x2"], "Slices: a chip and a grid of them, each.")
_MODE = flags.DEFINE_enum("mode", "train", ("train", "sample"), "Which step.")
_DTYPE = flags.DEFINE_list("dtype", [], "Of the network: float32, bfloat16. Default: the config's.")
_PRECISION = flags.DEFINE_enum(
    "precision", "default", tuple(chips.PASSES), "Of float32 products: 1, 3 or 6 bf16 ones."
)
_IMAGES_PER_CHIP = flags.DEFINE_integer(
    "images_per_chip", None, "Default: the config's batch shared by the chips.", lower_bound=1
)
_STEPS = flags.DEFINE_list(
    "steps", [], "Hours for so many of the config's batch, or of each image. Default: the config's."
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "sample: hours for so many images. Default: config.eval.num_samples."
)
_COMPILED_FOR = flags.DEFINE_string(
    "compiled_for", None, "Compile for this slice only and derive the cost on others from it."
)
_COMPILED_IMAGES = flags.DEFINE_list(
    "compiled_images", ["16", "32"], "Images per chip compiled with --compiled_for."
)
_EFFORT = flags.DEFINE_float(
    "effort",
    -1.0,
    "Of the compiler: at 0, as for a run, convolutions take minutes each.",
    -1.0,
    1.0,
)
_LARGEST = flags.DEFINE_bool("largest", True, "Find the largest batch: compiles a second one.")
_OUT = flags.DEFINE_string("out", None, "Two files, .md and .json. Default: runs/plan/<config>.")
_DEBUG = flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")
flags.mark_flag_as_required("config")

CACHE = cache_folder() / "plan"


def main(argv: list[str]) -> None:
    """Plan a run; end with one line that says what is wrong, if something is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    run(lambda: _run(_CONFIG.value), debug=_DEBUG.value)


def _run(config: ml_collections.ConfigDict) -> None:
    slices = [chips.topology(name) for name in _TOPOLOGY.value]
    chips.prepare()
    # These import JAX, which reads the environment then.
    from launch.plan import planning, roofline
    from sgm_jax.config import check

    check(config)
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    plan = planning.Plan(
        config,
        _MODE.value,
        _PRECISION.value,
        images_per_chip=_IMAGES_PER_CHIP.value,
        cache=CACHE,
        effort=_EFFORT.value,
        compiled_for=_COMPILED_FOR.value and chips.topology(_COMPILED_FOR.value),
        compiled_images=tuple(map(int, _COMPILED_IMAGES.value)),
    )
    runs = plan.runs([int(number) for number in _STEPS.value], _NUM_SAMPLES.value)
    found = []
    for dtype in _DTYPE.value or [config.training.dtype]:
        for where in slices:
            found.append(plan.estimate(where, dtype, find_largest=_LARGEST.value))
            LOGGER.info("%s", planning.sentence(found[-1]))
    text = roofline.table(found, runs)
    print(text)
    out = Path(_OUT.value or f"runs/plan/{name}_{_MODE.value}")
    save(out, f"# {name}: {_MODE.value}\n\n{planning.heading(plan)}\n\n{text}\n", found)
    LOGGER.info("%s.md and %s.json", out, out)


def save(out: Path, text: str, estimates: list) -> None:
    """Write the table and the numbers behind it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".md").write_text(text)
    content = [
        dataclasses.asdict(one)
        | {"fits": one.fits, "step_seconds": one.step_seconds, "share_of_peak": one.share_of_peak}
        for one in estimates
    ]
    out.with_name(out.name + ".json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
