"""From a checkpoint to images, a grid and a recipe that makes them again.

Image i depends on the seed and on i only. Every finished batch is on disk at once, so sampling
that was interrupted goes on where it stopped.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import tqdm

from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions, Request, conditions
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.data.grid import save_grid
from sgm_jax.drawer import Drawer
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.files import read_object, write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.npz import npz_writer
from sgm_jax.run.restore import load_state, matching_config, newest_step
from sgm_jax.run.workdir import flatten, is_free
from sgm_jax.step import averaged_variables, check_ema_rate

GRID_IMAGES = 64


def sample(
    config: ml_collections.ConfigDict,
    run: Path,
    *,
    num_samples: int | None = None,
    checkpoint: int | None = None,
    out: Path | None = None,
    ema_rate: float | None = None,
    request: Request | None = None,
) -> Path:
    """Draw images with the averaged weights of a checkpoint.

    Args:
        config: checked; its ``sampling``, ``eval`` and ``seed`` may differ from the run's.
        run: the workdir of the training run.
        num_samples: how many; ``config.eval.num_samples`` if not given.
        checkpoint: its step; the newest if not given.
        out: where to; ``<run>/samples/step_<step>`` and what is special if not given.
        ema_rate: of the average to draw with; ``config.model.ema_rate`` if not given.
        request: conditions on the images.

    Returns:
        The folder with ``samples.npz`` (``samples``: uint8 ``[N, H, W, 1]`` after the paper's
        post-processing; ``raw``: float32 ``[N, H, W, C]`` on the scale 0..255), ``grid.png`` and
        ``recipe.json``.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the configuration is not the run's, the folder holds other samples, or the
            conditions do not fit.
    """
    count = num_samples or config.eval.num_samples
    distributed.check_shared(run)
    config = matching_config(config, run, free=contract.free_fields(config))
    asked = conditions(request or Request(), config)
    rate = check_ema_rate(config, ema_rate)
    generator = contract.build(config)
    drawer = Drawer(
        generator, batch_size=config.eval.batch_size, seed=config.seed, conditions=asked
    )
    step = newest_step(run) if checkpoint is None else checkpoint
    recipe = _recipe(config, drawer, asked, step=step, ema_rate=rate, count=count)
    recipe["run"] = str(Path(run).absolute())
    folder = Path(out) if out else _default_folder(run, step, ema_rate, asked)
    if distributed.decided(lambda: _is_done(folder, recipe)):
        LOGGER.info("these %d images are already in %s", count, folder)
        return folder
    state = load_state(generator, run, step)
    variables = parallel.replicate(averaged_variables(state, config, rate))
    parts = folder / "parts"
    distributed.decided(lambda: _claim(parts, recipe))
    seconds = _draw_missing(drawer, variables, parts, count)
    if parallel.is_main():
        _assemble(folder, parts, count, PixelScale.from_config(config.data))
        timing = {"seconds_per_image": seconds, **workdir.provenance()}
        write_json(folder / "recipe.json", recipe | timing)
        shutil.rmtree(parts)
        LOGGER.info("%d images in %s", count, folder)
    return folder


def _recipe(
    config: ml_collections.ConfigDict,
    drawer: Drawer,
    asked: Conditions,
    *,
    step: int,
    ema_rate: float,
    count: int,
) -> dict[str, Any]:
    """Return what makes the same images again from the same run."""
    return {
        "checkpoint_step": step,
        "ema_rate": ema_rate,
        "num_samples": count,
        "seed": config.seed,
        "network_evaluations": drawer.drawing.nfe,
        "conditions": asked.recipe,
        "config": {
            name: value
            for name, value in flatten(config).items()
            if name.startswith("sampling.") or not is_free(name)
        },
    }


def _default_folder(run: Path, step: int, ema_rate: float | None, asked: Conditions) -> Path:
    special = [f"ema_{ema_rate}"] if ema_rate is not None else []
    special += [name for name in ("canvas", "inpaint") if name in (asked.recipe or {})]
    special += [asked.observable] if asked.observable else []
    return Path(run) / "samples" / "_".join([f"step_{step:06d}", *special])


def _is_done(folder: Path, recipe: dict[str, Any]) -> bool:
    """Tell whether the folder holds the samples of this recipe.

    Raises:
        ValueError: if it holds those of another recipe.
    """
    if not (folder / "recipe.json").exists():
        return False
    other = _other(recipe, _stored_recipe(folder / "recipe.json"))
    if other:
        raise ValueError(
            f"{folder} holds samples with another {', '.join(other)}; choose --samples_dir"
        )
    return True


def _stored_recipe(path: Path) -> dict[str, Any]:
    fix = "choose another --samples_dir"
    stored = read_object(path, fix=fix)
    if not isinstance(stored.get("config"), dict):
        raise ValueError(f"{path} is no recipe of samples (it has no config); {fix}")
    return stored


def _other(recipe: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Return in what a recipe on disk differs."""
    return sorted(name for name in recipe if recipe[name] != there.get(name))


def _claim(parts: Path, recipe: dict[str, Any]) -> bool:
    """Make the folder for finished batches, which belongs to this recipe alone.

    Raises:
        ValueError: if it holds parts of other samples.
    """
    note = parts / "recipe.json"
    if note.exists() and _other(recipe, _stored_recipe(note)):
        raise ValueError(
            f"{parts.parent} holds parts of other samples; choose another --samples_dir"
        )
    parts.mkdir(parents=True, exist_ok=True)
    write_json(note, recipe)
    return True


def _draw_missing(drawer: Drawer, variables: Any, parts: Path, count: int) -> float | None:
    """Draw the batches that are not on disk; return seconds per image, compilation excluded."""
    firsts = range(0, count, drawer.batch_size)
    there = distributed.existing([_part(parts, first) for first in firsts])
    missing = [first for first, drawn in zip(firsts, there, strict=True) if not drawn]
    if not missing:
        return None
    drawer.compile(variables)
    begin, drawn = time.perf_counter(), 0
    done = count - sum(min(drawer.batch_size, count - i) for i in missing)
    steps = drawer.drawing.num_steps
    with tqdm.tqdm(
        total=count * steps, initial=done * steps, unit="image", unit_scale=1 / steps, desc="sample"
    ) as bar:
        for first in missing:
            size = min(drawer.batch_size, count - first)
            images = drawer.draw(variables, first, size, progress=bar.update)
            drawn += size
            if parallel.is_main():
                draft = _part(parts, first).with_suffix(".part")
                with draft.open("wb") as stream:
                    np.save(stream, images)
                draft.replace(_part(parts, first))
    return (time.perf_counter() - begin) / drawn


def _part(parts: Path, first: int) -> Path:
    return parts / f"{first:09d}.npy"


def _assemble(folder: Path, parts: Path, count: int, scale: PixelScale) -> None:
    """Join the batches, one at a time, into ``samples.npz`` and a grid."""
    files = sorted(parts.glob("*.npy"))
    shape = np.load(files[0], mmap_mode="r").shape[1:]
    with npz_writer(folder / "samples.npz") as writer:
        with writer.array("samples", (count, *shape[:2], 1), np.uint8) as append:
            for file in files:
                append(to_uint8(scale.from_model(np.load(file))))
        with writer.array("raw", (count, *shape), np.float32) as append:
            for file in files:
                append(scale.from_model(np.load(file)))
    with np.load(folder / "samples.npz") as stack:
        save_grid(folder / "grid.png", stack["samples"][:GRID_IMAGES])
