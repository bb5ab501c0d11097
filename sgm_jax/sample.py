"""From a checkpoint to images, a grid and a recipe that makes them again.

Image i depends on the seed and on i only. Every finished batch is on disk at once, so sampling
that was interrupted goes on where it stopped.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm

from sgm_jax import checkpoints, objective, parallel, workdir
from sgm_jax.config import differences, flatten, is_free
from sgm_jax.data import from_model, to_uint8
from sgm_jax.grid import save_grid
from sgm_jax.log import LOGGER
from sgm_jax.samplers.base import Sampler, image_keys
from sgm_jax.stacks import NpzWriter

GRID_IMAGES = 64
CHUNKS = 20

Progress = Callable[[int], Any]


class Drawer:
    """Draws images with a compiled sampler, a batch over all devices at a time."""

    def __init__(self, goal: objective.Objective, sampler: Sampler, *, batch_size: int, seed: int):
        """Prepare the functions; they are compiled when first used.

        Raises:
            ValueError: if the devices cannot share the batch.
        """
        parallel.check_divisible(batch_size, "config.eval.batch_size")
        self.batch_size = batch_size
        self.sampler = sampler
        size, channels = goal.net.image_size, goal.net.num_channels
        root = jax.random.fold_in(jax.random.key(seed), objective.SAMPLING)

        def start(index: jax.Array) -> Any:
            return sampler.start(image_keys(root, index), (len(index), size, size, channels))

        def advance(params: Any, state: Any, index: jax.Array, first: int, stop: int) -> Any:
            keys = image_keys(root, index)
            return sampler.advance(state, keys, goal.score(params), first=first, stop=stop)

        self._start = parallel.batch_function(start, in_axes=(0,))
        self._advance = parallel.batch_function(advance, in_axes=(None, 0, 0, None, None))
        self._finish = parallel.batch_function(sampler.finish, in_axes=(0,))

    def compile(self, params: Any) -> None:
        """Compile everything, by a run of no steps."""
        index, state = self._begin(0)
        none = jnp.int32(0)
        jax.block_until_ready(self._finish(self._advance(params, state, index, none, none)))

    def draw(self, params: Any, first: int, count: int, *, progress: Progress) -> np.ndarray:
        """Return images ``first`` to ``first + count``, ``[count, H, W, C]`` in model space.

        Args:
            params: network parameters.
            first: number of the first image.
            count: at most a batch; the devices always work on a whole one.
            progress: told how many steps of how many images were made, multiplied.
        """
        index, state = self._begin(first)
        steps = self.sampler.num_steps
        chunk = -(-steps // CHUNKS)
        for begin in range(0, steps, chunk):
            stop = min(begin + chunk, steps)
            state = self._advance(params, state, index, jnp.int32(begin), jnp.int32(stop))
            jax.block_until_ready(state)
            progress(count * (stop - begin))
        return parallel.gather(self._finish(state))[:count]

    def _begin(self, first: int) -> tuple[jax.Array, Any]:
        index = np.arange(first, first + self.batch_size, dtype=np.int32)
        index = parallel.shard(index[parallel.local_rows(self.batch_size)])
        return index, self._start(index)


def sample(
    config: ml_collections.ConfigDict,
    run: Path,
    *,
    num_samples: int | None = None,
    checkpoint: int | None = None,
    out: Path | None = None,
) -> Path:
    """Draw images with the averaged weights of a checkpoint.

    Args:
        config: checked; its ``sampling``, ``eval`` and ``seed`` may differ from the run's.
        run: the workdir of the training run.
        num_samples: how many; ``config.eval.num_samples`` if not given.
        checkpoint: its step; the newest if not given.
        out: where to; ``<run>/samples/step_<step>`` if not given.

    Returns:
        The folder with ``samples.npz`` (``samples``: uint8 ``[N, H, W, 1]`` after the paper's
        post-processing; ``raw``: float32 ``[N, H, W, C]`` on the scale 0..255), ``grid.png`` and
        ``recipe.json``.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the configuration is not the run's, or the folder holds other samples.
    """
    count = num_samples or config.eval.num_samples
    config = matching_config(config, run)
    goal = objective.build(config)
    sampler = objective.sampler(config, goal.sde)
    drawer = Drawer(goal, sampler, batch_size=config.eval.batch_size, seed=config.seed)
    step = newest_step(run) if checkpoint is None else checkpoint

    folder = Path(out) if out else Path(run) / "samples" / f"step_{step:06d}"
    recipe = {
        "run": str(Path(run).absolute()),
        "checkpoint_step": step,
        "num_samples": count,
        "seed": config.seed,
        "network_evaluations": sampler.nfe,
        "config": {
            name: value
            for name, value in flatten(config).items()
            if name.startswith("sampling.") or not is_free(name)
        },
    }
    if _is_done(folder, recipe):
        LOGGER.info("these %d images are already in %s", count, folder)
        return folder
    params = parallel.replicate(load_ema(config, goal, run, step))
    parts = _claim(folder, recipe)
    seconds = _draw_missing(drawer, params, parts, count)
    if parallel.is_main():
        _assemble(folder, parts, count, config.data.centered)
        timing = {"seconds_per_image": seconds, **workdir.provenance()}
        workdir.write_json(folder / "recipe.json", recipe | timing)
        shutil.rmtree(parts)
        LOGGER.info("%d images in %s", count, folder)
    return folder


def matching_config(config: ml_collections.ConfigDict, run: Path) -> ml_collections.ConfigDict:
    """Return the configuration with what the run measured, if it is the run's.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: with the fields that differ.
    """
    stored = workdir.read_config(run)
    if stored is None:
        raise FileNotFoundError(
            f"{run} holds no training run; train one with --mode=train, or choose --workdir"
        )
    # Another seed draws other images from the same network.
    found = differences(flatten(config) | {"seed": stored["seed"]}, stored)
    if found:
        raise ValueError(f"this is not the configuration that {run} ran: {'; '.join(found)}")
    config = config.copy_and_resolve_references()
    config.data.std = stored["data.std"]
    return config


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run.

    Raises:
        FileNotFoundError: if there is none.
    """
    steps = checkpoints.steps(run)
    if not steps:
        raise FileNotFoundError(f"{run} holds no checkpoint yet; let it train to its first one")
    return steps[-1]


def load_ema(
    config: ml_collections.ConfigDict, goal: objective.Objective, run: Path, step: int
) -> Any:
    """Return the averaged parameters of a checkpoint."""
    like = jax.eval_shape(lambda: objective.initial_state(config, goal))
    return checkpoints.load(run, step, like).ema_params


def _is_done(folder: Path, recipe: dict[str, Any]) -> bool:
    """Tell whether the folder holds the samples of this recipe.

    Raises:
        ValueError: if it holds those of another recipe.
    """
    if not (folder / "recipe.json").exists():
        return False
    there = json.loads((folder / "recipe.json").read_text())
    other = sorted(name for name in recipe if recipe[name] != there.get(name))
    if other:
        raise ValueError(
            f"{folder} holds samples with another {', '.join(other)}; choose --samples_dir"
        )
    return True


def _claim(folder: Path, recipe: dict[str, Any]) -> Path:
    """Return the folder for finished batches, which belongs to this recipe alone.

    Raises:
        ValueError: if the folder holds parts of other samples.
    """
    parts = folder / "parts"
    note = parts / "recipe.json"
    if note.exists() and json.loads(note.read_text()) != recipe:
        raise ValueError(f"{folder} holds parts of other samples; choose another --samples_dir")
    if parallel.is_main():
        parts.mkdir(parents=True, exist_ok=True)
        workdir.write_json(note, recipe)
    return parts


def _draw_missing(drawer: Drawer, params: Any, parts: Path, count: int) -> float | None:
    """Draw the batches that are not on disk; return seconds per image, compilation excluded."""
    missing = [i for i in range(0, count, drawer.batch_size) if not _part(parts, i).exists()]
    if not missing:
        return None
    drawer.compile(params)
    begin, drawn = time.perf_counter(), 0
    done = count - sum(min(drawer.batch_size, count - i) for i in missing)
    steps = drawer.sampler.num_steps
    with tqdm.tqdm(
        total=count * steps, initial=done * steps, unit="image", unit_scale=1 / steps, desc="sample"
    ) as bar:
        for first in missing:
            size = min(drawer.batch_size, count - first)
            images = drawer.draw(params, first, size, progress=bar.update)
            drawn += size
            if parallel.is_main():
                draft = _part(parts, first).with_suffix(".part")
                with draft.open("wb") as stream:
                    np.save(stream, images)
                draft.replace(_part(parts, first))
    return (time.perf_counter() - begin) / drawn


def _part(parts: Path, first: int) -> Path:
    return parts / f"{first:09d}.npy"


def _assemble(folder: Path, parts: Path, count: int, centered: bool) -> None:
    """Join the batches, one at a time, into ``samples.npz`` and a grid."""
    files = sorted(parts.glob("*.npy"))
    shape = np.load(files[0], mmap_mode="r").shape[1:]
    with NpzWriter(folder / "samples.npz") as writer:
        with writer.array("samples", (count, *shape[:2], 1), np.uint8) as append:
            for file in files:
                append(to_uint8(from_model(np.load(file), centered=centered)))
        with writer.array("raw", (count, *shape), np.float32) as append:
            for file in files:
                append(from_model(np.load(file), centered=centered))
    with np.load(folder / "samples.npz") as stack:
        save_grid(folder / "grid.png", stack["samples"][:GRID_IMAGES])
