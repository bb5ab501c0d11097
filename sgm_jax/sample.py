"""From a checkpoint to images, a grid and a recipe that makes them again.

Image i depends on the seed and on i only. Every finished batch is on disk at once, so sampling
that was interrupted goes on where it stopped.
"""

import time
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import tqdm

from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions, Request, read_conditions
from sgm_jax.config import check
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.data.grid import save_grid
from sgm_jax.drawer import Drawer
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.files import write_blocks, write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts, is_finished, open_parts
from sgm_jax.run.workdir import flatten, is_free
from sgm_jax.step import Variables
from sgm_jax.trained import Trained, from_run, from_weights

GRID_IMAGES = 64
FIX = "choose another --samples_dir"


def sample(
    config: ml_collections.ConfigDict | None,
    run: Path,
    *,
    num_samples: int | None = None,
    checkpoint: int | None = None,
    out: Path | None = None,
    ema_rate: float | None = None,
    request: Request | None = None,
    pretrained: str | None = None,
) -> Path:
    """Draw images with the averaged weights of a checkpoint, or with weights of the package.

    Args:
        config: checked; its ``sampling``, ``eval`` and ``seed`` may differ from the run's. None
            takes that of the weights.
        run: the workdir of the training run; with ``pretrained``, only where images go by default.
        num_samples: how many; ``config.eval.num_samples`` if not given.
        checkpoint: its step; the newest if not given.
        out: where to; ``<run>/samples/step_<step>`` and what is special if not given.
        ema_rate: of the average to draw with; ``config.model.ema_rate`` if not given.
        request: conditions on the images.
        pretrained: a name or file of weights, see :func:`sgm_jax.trained.from_weights`.

    Returns:
        The folder with ``samples.npz`` (``samples``: uint8 ``[N, H, W, 1]``, or ``[N, H, W, 3]``
        with ``config.data.planes``, after the paper's post-processing; ``raw``: float32
        ``[N, H, W, C]`` on the scale 0..255), ``grid.png`` and ``recipe.json``.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or no such weights.
        ValueError: if the configuration is not the run's, the folder holds other samples, or the
            conditions do not fit.
    """
    distributed.check_shared(run)
    if pretrained is not None:
        trained = from_weights(pretrained, config)
    else:
        trained = from_run(config, run, checkpoint=checkpoint, ema_rate=ema_rate)
    config = trained.config
    count = num_samples or config.eval.num_samples
    conditions = read_conditions(request or Request(), config)
    drawer = Drawer(
        trained.generator,
        batch_size=config.eval.batch_size,
        seed=config.seed,
        conditions=conditions,
    )
    recipe = _recipe(trained, drawer, conditions, count)
    folder = Path(out) if out else _default_folder(run, trained.step, ema_rate, conditions)
    if distributed.decided(lambda: is_finished(folder / "recipe.json", recipe, fix=FIX)):
        LOGGER.info("these %d images are already in %s", count, folder)
        return folder
    variables = parallel.replicate(trained.load())
    with open_parts(folder / "parts", recipe, fix=FIX) as parts:
        seconds = _draw_missing(drawer, variables, parts, count)
        if parallel.is_main():
            _assemble(folder, parts, drawer, count, config.data)
            timing = {"seconds_per_image": seconds, **workdir.provenance()}
            write_json(folder / "recipe.json", recipe | timing)
        parts.remove()
    LOGGER.info("%d images in %s", count, folder)
    return folder


def draw(
    trained: Trained,
    num_samples: int,
    *,
    seed: int | None = None,
    request: Request | None = None,
    **sampling: Any,
) -> np.ndarray:
    """Draw images into memory: those that :func:`sample` writes to ``samples``, for Python.

    Args:
        trained: from :func:`sgm_jax.trained.from_weights` or :func:`sgm_jax.trained.from_run`.
        num_samples: how many.
        seed: of the images; ``trained.config.seed`` if not given.
        request: conditions on the images.
        **sampling: fields of ``config.sampling`` that are to differ, such as ``method="ddim"``.

    Returns:
        Grey images, uint8 ``[N, H, W]`` after the paper's post-processing; ``[N, H, W, 3]`` with
        ``config.data.planes``.

    Raises:
        FileNotFoundError: if files of the request are not there.
        ValueError: if the fields, the number or the conditions do not fit.
    """
    config = _redrawn(trained.config, seed, sampling)
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    devices = parallel.device_count()
    # Images depend on their number only, so a few need no whole batch.
    batch_size = min(config.eval.batch_size, -(-num_samples // devices) * devices)
    drawer = Drawer(
        contract.build(config),
        batch_size=batch_size,
        seed=config.seed,
        conditions=read_conditions(request or Request(), config),
    )
    variables = parallel.replicate(trained.load())
    scale, images = PixelScale.from_config(config.data), []
    steps = num_samples * drawer.drawing.num_steps
    with _progress(steps, drawer.drawing.num_steps) as bar:
        for first in range(0, num_samples, batch_size):
            count = min(batch_size, num_samples - first)
            batch = drawer.draw(variables, first, count, progress=bar.update)
            images.append(to_uint8(scale.from_model(batch), planes=config.data.planes))
    drawn = np.concatenate(images)
    return drawn if config.data.planes else drawn[..., 0]


def _redrawn(
    config: ml_collections.ConfigDict, seed: int | None, sampling: dict[str, Any]
) -> ml_collections.ConfigDict:
    """Return a configuration that draws with another seed and other fields, checked."""
    unknown = sampling.keys() - config.sampling.keys()
    if unknown:
        raise ValueError(
            f"config.sampling has no {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(config.sampling.keys()))}"
        )
    config = config.copy_and_resolve_references()
    config.seed = config.seed if seed is None else seed
    config.sampling.update(sampling)
    check(config)
    return config


def _progress(total: int, steps: int, done: int = 0) -> tqdm.tqdm:
    """Return a bar of images that counts their steps."""
    return tqdm.tqdm(total=total, initial=done, unit="image", unit_scale=1 / steps, desc="sample")


def _recipe(trained: Trained, drawer: Drawer, conditions: Conditions, count: int) -> dict[str, Any]:
    """Return what makes the same images again from the same weights."""
    return trained.origin | {
        "num_samples": count,
        "seed": trained.config.seed,
        "network_evaluations": drawer.drawing.nfe,
        "conditions": conditions.recipe,
        "config": {
            name: value
            for name, value in flatten(trained.config).items()
            if name.startswith("sampling.") or not is_free(name)
        },
    }


def _default_folder(run: Path, step: int, ema_rate: float | None, conditions: Conditions) -> Path:
    special = [f"ema_{ema_rate}"] if ema_rate is not None else []
    special += [name for name in ("canvas", "inpaint") if name in (conditions.recipe or {})]
    special += [conditions.observable] if conditions.observable else []
    return Path(run) / "samples" / "_".join([f"step_{step:06d}", *special])


def _part(first: int) -> str:
    return f"{first:09d}.npy"


def _draw_missing(drawer: Drawer, variables: Variables, parts: Parts, count: int) -> float | None:
    """Draw the batches that are not on disk; return seconds per image, compilation excluded."""
    size, steps = drawer.batch_size, drawer.drawing.num_steps
    counts = {_part(first): min(size, count - first) for first in range(0, count, size)}
    missing = parts.missing(list(counts))
    if not missing:
        return None
    drawer.compile(variables)
    begin = time.perf_counter()
    to_draw = sum(counts[name] for name in missing)
    with _progress(count * steps, steps, done=(count - to_draw) * steps) as bar:
        for first in range(0, count, size):
            name = _part(first)
            if name in missing:
                images = drawer.draw(variables, first, counts[name], progress=bar.update)
                parts.save(name, images)
    return (time.perf_counter() - begin) / to_draw


def _assemble(folder: Path, parts: Parts, drawer: Drawer, count: int, data: Any) -> None:
    """Join the batches, one at a time, into ``samples.npz`` and a grid."""
    names = [_part(first) for first in range(0, count, drawer.batch_size)]
    shape, scale = drawer.image_shape, PixelScale.from_config(data)
    counts = (to_uint8(scale.from_model(parts.load(name)), planes=data.planes) for name in names)
    raw = (scale.from_model(parts.load(name)) for name in names)
    arrays = {
        "samples": ((count, *shape[:2], shape[2] if data.planes else 1), np.uint8, counts),
        "raw": ((count, *shape), np.float32, raw),
    }
    write_blocks(folder / "samples.npz", arrays)
    with np.load(folder / "samples.npz") as stack:
        save_grid(folder / "grid.png", stack["samples"][:GRID_IMAGES])
