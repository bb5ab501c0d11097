"""Score-based generation of liquid-argon detector images.

Modes, with one example each:

  simulate  python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
            Geant4 images and their truth, into the folders that the config trains on.
  train     python -m sgm_jax.main --config=configs/larcv_png64.py
            Train, or go on training, in --workdir (runs/<config name>).
  sample    python -m sgm_jax.main --mode=sample --workdir=runs/larcv_png64 --num_samples=1000
            Draw images with the newest checkpoint in --workdir; or, without data or training,
            --mode=sample --pretrained=NAME with weights of the package, or a file of them.
  compose   python -m sgm_jax.main --mode=compose --workdir=runs/larcv_cond64 --events=events.csv
            Whole events: each particle of a list drawn by a network trained with conditions,
            moved to its vertex, continued where it leaves an image, and added.
  likelihood
            python -m sgm_jax.main --mode=likelihood --workdir=runs/larcv_png64
            Bits per dimension of config.eval.num_images test images with that checkpoint.
  reconstruct
            python -m sgm_jax.main --mode=reconstruct --workdir=runs/vqvae64/first_stage
            The same test images as they come back from an autoencoder: the ceiling of its prior.
  convert   python -m sgm_jax.main --mode=convert --config=configs/larcv_png64.py \\
                --torch_checkpoint=checkpoint_6.pth
            A checkpoint of score_sde_pytorch to a --workdir, to sample from and to train on.
            The other way round: --to_torch=checkpoint_6.pth
            Averaged weights alone, for --pretrained and --init: --export=weights.npz

A --workdir that holds a run says which experiment it is; only a new one needs --config. Any field
can be overridden: --config.training.batch_size=64
"""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags

from sgm_jax.run.command import run_configured, start_jax
from sgm_jax.run.experiment import find_config, overridden, read_experiment
from sgm_jax.run.log import LOGGER

MODES = ("simulate", "train", "sample", "compose", "likelihood", "reconstruct", "convert")

_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "The experiment, a file in configs/ or the config.json of a run. Default: that of --workdir.",
)
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where to. Default: runs/<config name>; simulate: beside the data paths."
)
flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")
flags.DEFINE_integer(
    "num_samples", None, "sample: how many. Default: --config.eval.num_samples.", lower_bound=1
)
flags.DEFINE_integer(
    "checkpoint",
    None,
    "Its step. Default: the newest.",
    lower_bound=0,
)
flags.DEFINE_float("ema", None, "Which average of weights. Default: as configured.")
flags.DEFINE_string(
    "samples_dir", None, "sample, compose: where to. Default: a folder in --workdir."
)
flags.DEFINE_string("inpaint", None, "sample: images, some of whose pixels are known.")
flags.DEFINE_string("mask", None, "--inpaint: which, .npy (True) or .png (white).")
flags.DEFINE_integer("resample", None, "--inpaint: repeats of each step. Default: 10.")
flags.DEFINE_string(
    "canvas", None, "sample: larger images, HEIGHTxWIDTH, of overlapping tiles; compose: 256x256."
)
flags.DEFINE_integer("stride", None, "--canvas: pixels between tiles. Default: half a tile.")
flags.DEFINE_string("observable", None, "sample: images of a given value of total_charge.")
flags.DEFINE_float("target", None, "--observable: the value, on the scale 0..255.")
flags.DEFINE_float("spread", None, "--observable: standard deviation. Default: 1 % of --target.")
flags.DEFINE_string("particle", None, "sample: of a network trained with them, such as muon.")
flags.DEFINE_string(
    "momentum", None, "sample: its momentum in MeV/c, X,Y,Z; y is down the image, z to the right."
)
flags.DEFINE_string(
    "momentum_range", None, "sample: LEAST:LARGEST in MeV/c, in any direction of the image's plane."
)
flags.DEFINE_string("direction", None, "--momentum_range: X,Y,Z, of any length.")
flags.DEFINE_string(
    "conditions",
    None,
    "sample: .csv, .npz or .h5 file with a row for each image, or the labels.h5::test of images.",
)
flags.DEFINE_float(
    "guidance",
    None,
    "sample, compose: how strictly conditions are followed. 1: as learnt; 0: not at all.",
)
flags.DEFINE_string(
    "classifier", None, "sample: a --workdir of one, to ask a network trained without conditions."
)
flags.DEFINE_float("classifier_weight", None, "--classifier: how strongly it leads. Default: 1.")
flags.DEFINE_bool("extrapolate", None, "sample, compose: also momenta not in the training.")
flags.DEFINE_string(
    "events",
    None,
    "compose: .csv file of event,particle,px,py,pz[,row,column]; or of a simulation, "
    "labels.h5::test.",
)
flags.DEFINE_bool("incomplete", None, "compose: also showers that mostly leave their images.")
flags.DEFINE_string(
    "pretrained", None, "sample, compose: weights of the package by name, or a file of --export."
)
flags.DEFINE_string("init", None, "train: begin with these weights, a name or a file.")
flags.DEFINE_string("images", None, "likelihood: others than the test images.")
flags.DEFINE_string("export", None, "convert: file of averaged weights to write, .npz.")
flags.DEFINE_string("torch_checkpoint", None, "convert: file of score_sde_pytorch to read.")
flags.DEFINE_string("to_torch", None, "convert: file to write for score_sde_pytorch.")
REQUEST = ("inpaint", "mask", "resample", "canvas", "stride", "observable", "target", "spread")
REQUEST += ("particle", "momentum", "momentum_range", "direction", "conditions", "extrapolate")
REQUEST += ("classifier", "classifier_weight")
# Which modes read which flags; in the others they would say something and do nothing.
DRAWING = ("sample", "compose")
MODES_OF = {
    "num_samples": ("sample",),
    **dict.fromkeys(("checkpoint", "ema"), (*DRAWING, "likelihood", "reconstruct", "convert")),
    "samples_dir": DRAWING,
    **dict.fromkeys(REQUEST, ("sample",)),
    **dict.fromkeys(("canvas", "extrapolate", "guidance"), DRAWING),
    **dict.fromkeys(("events", "incomplete"), ("compose",)),
    "pretrained": DRAWING,
    "init": ("train",),
    "images": ("likelihood",),
    "export": ("convert",),
    "torch_checkpoint": ("convert",),
    "to_torch": ("convert",),
}


def _run(overrides: Sequence[str]) -> None:
    _check_flags(_MODE.value)
    config, workdir = _experiment(overrides)
    # These import JAX; --help has answered before.
    from sgm_jax.config import check, simulated_folder

    if _value("init"):
        config.training.initial_weights = _value("init")
    if _value("guidance") is not None:
        config.sampling.guidance = _value("guidance")
    check(config)
    if _MODE.value == "simulate":
        from sgm_jax.run.distributed import refuse_several
        from sgm_jax.simulation.generate import simulate

        refuse_several(
            "--mode=simulate", "start it once; --config.simulation.num_workers are its own"
        )
        out = Path(_WORKDIR.value) if _WORKDIR.value else simulated_folder(config)
        made, wanted = config.simulation.image_size, config.data.image_size
        if made != wanted:
            LOGGER.warning(
                "these images are %d pixels wide, and training with this configuration wants %d: "
                "set --config.simulation.image_size and --config.data.image_size alike",
                made,
                wanted,
            )
        LOGGER.info("%s", simulate(config.simulation, out, seed=config.seed))
        return

    start_jax()
    if _MODE.value == "train":
        _say_if_half(config, overrides)
        from sgm_jax.train import train

        train(config, workdir)
    elif _MODE.value == "likelihood":
        from sgm_jax.likelihood import measure

        measure(
            config,
            workdir,
            checkpoint=_value("checkpoint"),
            ema_rate=_value("ema"),
            images=_value("images"),
        )
    elif _MODE.value == "reconstruct":
        from sgm_jax.reconstruct import reconstruct

        reconstruct(config, workdir, checkpoint=_value("checkpoint"), ema_rate=_value("ema"))
    elif _MODE.value == "convert":
        _convert(config, workdir)
    elif _MODE.value == "compose":
        _compose(config, workdir)
    else:
        _sample(config, workdir)


def _experiment(overrides: Sequence[str]) -> tuple[ml_collections.ConfigDict, Path]:
    """Return the configuration that the flags mean, and the workdir.

    Raises:
        FileNotFoundError: if --config or --pretrained is no file.
        ValueError: if no flag names one, or it has no such fields.
    """
    source, run, weights = _CONFIG.value, _WORKDIR.value, _value("pretrained")
    if source is not None:
        source = find_config(source)
        config, workdir = read_experiment(source), Path("runs") / Path(source).stem
        beside = Path(source) if Path(source).is_dir() else Path(source).parent
        if (beside / "config.json").is_file() and Path(source).suffix != ".py":
            workdir = beside
    elif weights is not None:
        from sgm_jax.trained import read_weights

        config, workdir = read_weights(weights).config, Path("runs") / Path(weights).stem
    elif run is not None and _MODE.value != "simulate" and (Path(run) / "config.json").is_file():
        from sgm_jax.trained import stored_config

        config, workdir = stored_config(Path(run)), Path(run)
    else:
        empty = "" if run is None else f", and --workdir={run} holds no run"
        raise ValueError(
            f"no --config{empty}: name the experiment, such as "
            "--config=configs/larcv_png64_cpu.py, or the --workdir of a run"
        )
    return overridden(config, overrides), Path(run or workdir)


def _say_if_half(config: ml_collections.ConfigDict, overrides: Sequence[str]) -> None:
    """Warn if only one of the two sets was named, for the other one may be of other images."""
    names = ("train_path", "test_path")
    typed = {override.partition("=")[0].lstrip("-") for override in overrides}
    changed = [name for name in names if f"config.data.{name}" in typed]
    if len(changed) == 1:
        (other,) = set(names) - set(changed)
        LOGGER.warning(
            "--config.data.%s is given and --config.data.%s is not: it is %s, as configured; "
            "both should hold images of one kind",
            changed[0],
            other,
            config.data[other],
        )


def _sample(config: ml_collections.ConfigDict, workdir: Path) -> None:
    from sgm_jax.conditions import Request
    from sgm_jax.sample import sample

    out = Path(_value("samples_dir")) if _value("samples_dir") else None
    sample(
        config,
        workdir,
        num_samples=_value("num_samples"),
        checkpoint=_value("checkpoint"),
        out=out,
        ema_rate=_value("ema"),
        pretrained=_value("pretrained"),
        request=Request(**{name: _value(name) for name in REQUEST}),
    )


def _compose(config: ml_collections.ConfigDict, workdir: Path) -> None:
    from sgm_jax.compose import compose

    if _value("events") is None:
        raise ValueError("--mode=compose needs --events, such as --events=events.csv")
    names = ("events", "canvas", "checkpoint", "pretrained", "extrapolate", "incomplete")
    compose(
        config,
        workdir,
        out=Path(_value("samples_dir")) if _value("samples_dir") else None,
        ema_rate=_value("ema"),
        **{name: _value(name) for name in names},
    )


def _convert(config: ml_collections.ConfigDict, workdir: Path) -> None:
    from sgm_jax.torch.convert import export_checkpoint, import_checkpoint
    from sgm_jax.trained import export_weights, from_run

    source, target, weights = (_value(n) for n in ("torch_checkpoint", "to_torch", "export"))
    if sum(path is not None for path in (source, target, weights)) != 1:
        raise ValueError(
            "--mode=convert takes one of --torch_checkpoint=FILE, --to_torch=FILE and --export=FILE"
        )
    if weights is not None:
        trained = from_run(config, workdir, checkpoint=_value("checkpoint"), ema_rate=_value("ema"))
        export_weights(trained, Path(weights))
    elif source is not None:
        import_checkpoint(config, Path(source), workdir)
    else:
        export_checkpoint(config, workdir, Path(target), checkpoint=_value("checkpoint"))


def _check_flags(mode: str) -> None:
    """Refuse a flag that the mode does not read.

    Raises:
        ValueError: with the flag, and the modes that do.
    """
    if _value("pretrained") is not None:
        for name in ("checkpoint", "ema"):
            if _value(name) is not None:
                raise ValueError(f"--{name} chooses among those of a run, not with --pretrained")
    for name, modes in MODES_OF.items():
        if _value(name) is not None and mode not in modes:
            raise ValueError(f"--{name} is for --mode={' or '.join(modes)}, not for --mode={mode}")


def _value(name: str) -> object:
    return flags.FLAGS[name].value


if __name__ == "__main__":
    run_configured(_run)
