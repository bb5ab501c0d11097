"""Train variants of a configuration, draw from each with several samplers, and compare.

    python -m launch.sweep --config=configs/larcv_png64_cpu.py --out=runs/sweep --steps=1000 \\
        --variant="adam: --config.optim.optimizer=Adam --config.optim.lr=2e-3" \\
        --variant="noise: --config.training.objective=noise" \\
        --sampler="ddim20: --config.sampling.method=ddim --config.sampling.num_steps=20"

The configuration itself is the first variant, "base", and its own sampler the first sampler,
"default"; the flags of the command line hold for all. A sampler may also have --num_samples=N and
--ema=RATE. A variant that changes only config.sampling and config.eval draws from the network of
base. --workdir=RUN takes a finished run for base, so that only sampling is compared, and
--pretrained=lar64 takes weights of the package, or a file of them, in place of --config.

Images are compared with config.data.test_path; config.data.train_path gives the floor. OUT gets
sweep.md, sweep.json, sweep.png and all runs. If the command is stopped, the same command continues,
also in the middle of a training.
"""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags

from sgm_jax.run.command import run_configured, start_jax
from sgm_jax.run.experiment import configured, overridden
from sgm_jax.run.log import LOGGER

_CONFIG = flags.DEFINE_string("config", None, "The base, a file in configs/.")
_OUT = flags.DEFINE_string("out", None, "Folder of the table, the picture and the runs.")
_VARIANT = flags.DEFINE_multi_string("variant", [], "NAME: --config.FIELD=VALUE ... (repeatable)")
_SAMPLER = flags.DEFINE_multi_string(
    "sampler", [], "NAME: --config.sampling.FIELD=VALUE ... [--num_samples=N] [--ema=RATE]"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "A finished run of --config, used for base.")
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "Weights of the package by name, or a file of them, used for base."
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Updates of each training. Default: --config.training.n_iters.", lower_bound=1
)
_CPU_SECONDS = flags.DEFINE_float(
    "cpu_seconds",
    None,
    "Stop each training after this processor time, start included.",
    lower_bound=0.0,
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Each variant is trained and drawn once for each.")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "Images of a set. Default: --config.eval.num_samples.", lower_bound=2
)
flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")
flags.mark_flag_as_required("out")


def _run(overrides: Sequence[str]) -> None:
    # These import JAX; --help has answered before.
    from launch.sweep.cases import plan
    from launch.sweep.compare import Sweep
    from launch.sweep.judge import Judge
    from launch.sweep.report import write
    from sgm_jax.run.workdir import provenance

    config, out = _base(overrides), Path(_OUT.value)
    if not all(seed.isdigit() for seed in _SEEDS.value):
        raise ValueError(f"--seeds={','.join(_SEEDS.value)}: write whole numbers, as --seeds=0,1")
    trained, cases = plan(config, _VARIANT.value, _SAMPLER.value)
    sweep = Sweep(
        trained,
        cases,
        out,
        seeds=[int(seed) for seed in _SEEDS.value],
        num_samples=_NUM_SAMPLES.value,
        workdir=Path(_WORKDIR.value) if _WORKDIR.value else None,
        pretrained=_PRETRAINED.value,
        steps=_STEPS.value,
        cpu_seconds=_CPU_SECONDS.value,
    )
    sweep.check_runs()
    start_jax(alone="python -m launch.sweep")
    judge = Judge(
        config.data.test_path,
        config.data.train_path,
        count=sweep.largest_set,
        folder=out / "judge",
        scaling=config.data.scaling,
    )
    content = {
        "config": _CONFIG.value or _PRETRAINED.value,
        "real": judge.real.facts["hash_of_used"],
        "rows": [],
        "provenance": provenance(),
    }
    for row in sweep.rows(judge):
        content["rows"].append(row)
        write(content, judge.real.images, out)
    LOGGER.info("look at %s", out / "sweep.md")


def _base(overrides: Sequence[str]) -> ml_collections.ConfigDict:
    """Return the configuration that all others differ from.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if two flags name it, or none, or it has no such fields.
    """
    if _PRETRAINED.value is None:
        return configured(overrides)
    for name, value in (("config", _CONFIG.value), ("workdir", _WORKDIR.value)):
        if value is not None:
            raise ValueError(
                f"--pretrained={_PRETRAINED.value} has a network and a configuration of its own; "
                f"leave out --{name}={value}"
            )
    from sgm_jax.trained import read_weights

    return overridden(read_weights(_PRETRAINED.value).config, overrides)


if __name__ == "__main__":
    run_configured(_run)
