"""Score-based generation of liquid-argon detector images.

Modes, with one example each:

  simulate  python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
            Geant4 images and their truth, into the folders that the config trains on.
  train     python -m sgm_jax.main --config=configs/larcv_png64.py
            Train, or go on training, in --workdir (runs/<config name>).
  sample    python -m sgm_jax.main --mode=sample --config=configs/larcv_png64.py --num_samples=1000
            Draw images with the newest checkpoint in --workdir.
  likelihood
            python -m sgm_jax.main --mode=likelihood --config=configs/larcv_png64.py
            Bits per dimension of config.eval.num_images test images with that checkpoint.

Any field of the config can be overridden: --config.training.batch_size=64
"""

from pathlib import Path

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from sgm_jax.command import run, start_jax
from sgm_jax.log import LOGGER

MODES = ("simulate", "train", "sample", "likelihood")

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file in configs/.")
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to. Default: runs/<config name>; simulate: beside the data paths."
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "sample: how many. Default: config.eval.num_samples.", lower_bound=1
)
_CHECKPOINT = flags.DEFINE_integer(
    "checkpoint", None, "sample, likelihood: its step. Default: the newest.", lower_bound=0
)
_SAMPLES_DIR = flags.DEFINE_string(
    "samples_dir", None, "sample: where to. Default: <workdir>/samples/step_<step>."
)
_DEBUG = flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Run one mode; end with one line that says what is wrong, if something is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    run(lambda: _run(_CONFIG.value), debug=_DEBUG.value)


def _run(config: ml_collections.ConfigDict) -> None:
    # These import JAX; --help has answered before.
    from sgm_jax.config import check, simulated_folder

    check(config)
    if _MODE.value == "simulate":
        from sgm_jax.simulation.generate import simulate

        out = Path(_WORKDIR.value) if _WORKDIR.value else simulated_folder(config)
        LOGGER.info("%s", simulate(config.simulation, out, seed=config.seed))
        return

    start_jax()
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("runs") / Path(name).stem)
    if _MODE.value == "train":
        from sgm_jax.train import train

        train(config, workdir)
    elif _MODE.value == "likelihood":
        from sgm_jax.likelihood_run import measure

        measure(config, workdir, checkpoint=_CHECKPOINT.value)
    else:
        from sgm_jax.sample import sample

        out = Path(_SAMPLES_DIR.value) if _SAMPLES_DIR.value else None
        count, step = _NUM_SAMPLES.value, _CHECKPOINT.value
        sample(config, workdir, num_samples=count, checkpoint=step, out=out)


if __name__ == "__main__":
    app.run(main)
