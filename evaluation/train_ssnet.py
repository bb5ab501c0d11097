"""Train SSNet on simulated truth, resumable at any step, and export its weights.

python -m evaluation.train_ssnet --config=configs/ssnet.py
python -m evaluation.train_ssnet --config=configs/ssnet.py --export=ssnet.npz
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from sgm_jax.run.command import run_configured, start_jax
from sgm_jax.run.experiment import configured
from sgm_jax.run.log import LOGGER


def define_flags() -> None:
    """Define the flags of the command."""
    flags.DEFINE_string("config", None, "The experiment, configs/ssnet.py.")
    flags.DEFINE_string("workdir", "runs/ssnet", "Where to.")
    flags.DEFINE_string(
        "export", None, "Do not train: write the newest checkpoint's weights to this .npz."
    )
    flags.DEFINE_enum("dtype", "float16", ("float16", "float32"), "export: of the parameters.")
    flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")


def _run(overrides: Sequence[str]) -> None:
    # This imports JAX; --help has answered before.
    from evaluation.ssnet.training import export, train

    options = flags.FLAGS
    config, workdir = configured(overrides), Path(options.workdir)
    start_jax()
    if options.export is None:
        train(config, workdir)
        return
    path = Path(options.export)
    digest = export(config, workdir, path, dtype=options.dtype)
    LOGGER.info("%s: %.2f MB, SHA-256 %s", path, path.stat().st_size / 1e6, digest)


if __name__ == "__main__":
    define_flags()
    run_configured(_run)
