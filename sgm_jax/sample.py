"""From a checkpoint to images, a grid and a recipe that makes them again.

Image i depends on the seed and on i only. Every finished batch is on disk at once, so sampling
that was interrupted goes on where it stopped, and a request for more images goes on where an
earlier one ended.
"""

import time
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import tqdm

from sgm_jax import generator as contract
from sgm_jax.asked import folder_names
from sgm_jax.autoguidance import read_weaker
from sgm_jax.bayes import read_classifier
from sgm_jax.beside import REJECTION, origin_of
from sgm_jax.conditions import Conditions, Request, read_conditions
from sgm_jax.config import check
from sgm_jax.data import PixelScale
from sgm_jax.data.condition import LABELS
from sgm_jax.data.simulated import units
from sgm_jax.drawer import Drawer
from sgm_jax.drawn import FIX, Drawn
from sgm_jax.generator import Drawing
from sgm_jax.rejection import (
    Rejecting,
    check_origin,
    parameters_of,
    read_rejection,
    recipe_of_rejection,
)
from sgm_jax.rejection_drawer import RejectionDrawer
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts, open_parts
from sgm_jax.run.workdir import flatten, is_free, without_conditions
from sgm_jax.simulation.config import simulated_units
from sgm_jax.step import Variables
from sgm_jax.symmetry import NOT_TURNED, check_turnable, turned
from sgm_jax.trained import Trained, chosen

# Of networks that lead or choose, the recipe says by their hash which they were.
_NAMED_BY_HASH = ("sampling.weaker", "sampling.autoguidance")
_NAMED_BY_HASH += ("sampling.rejection", "sampling.rejection_bound")


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
        num_samples: how many; ``config.eval.num_samples`` if not given, or one for each row of a
            file of conditions. Where an earlier call has
            drawn fewer, the others are added; where it has drawn more, all of them stay.
        checkpoint: its step; the newest if not given.
        out: where to; ``<run>/samples/step_<step>`` and what is special if not given.
        ema_rate: of the average to draw with; ``config.model.ema_rate`` if not given.
        request: conditions on the images.
        pretrained: a name or file of weights, see :func:`sgm_jax.trained.from_weights`.

    Returns:
        The folder with ``samples.npz`` (``samples``: uint8 ``[N, H, W, 1]``, or ``[N, H, W, 3]``
        with ``config.data.planes``, after the paper's post-processing; ``raw``: float32
        ``[N, H, W, C]`` on the scale 0..255; ``particle`` ``[N]`` and ``momentum`` ``[N, 3]``, if
        they were asked for), ``grid.png`` and ``recipe.json``.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or no such weights.
        ValueError: if the configuration is not the run's, the folder holds other samples, or the
            conditions do not fit.
    """
    distributed.check_shared(run)
    trained = chosen(config, run, pretrained=pretrained, checkpoint=checkpoint, ema_rate=ema_rate)
    config = trained.config
    conditions = _conditions(request, config)
    drawing = trained.generator.drawing(conditions)
    rejecting = read_rejection(config, conditions)
    check_turnable(config, conditions)
    count = conditions.number(num_samples, config.eval.num_samples)
    folder = Path(out) if out else _default_folder(run, trained, ema_rate, conditions, rejecting)
    recipe = recipe_of(trained, drawing, conditions)
    # Also where there is none: images that were chosen are others.
    recipe[REJECTION] = recipe_of_rejection(rejecting)
    drawn = Drawn(folder, recipe)
    if drawn.finished >= count:
        more = "" if drawn.finished == count else f", the first of the {drawn.finished} there"
        LOGGER.info("these %d images are already in %s%s", count, folder, more)
        return folder
    for doubt in contract.doubts(config):
        LOGGER.warning("%s", doubt)
    parameters, variables = _read(trained, conditions, rejecting)
    with open_parts(folder / "parts", recipe, fix=FIX) as parts:
        spent = _draw_missing(trained, conditions, rejecting, variables, drawn, parts, count)
        if parallel.is_main():
            total = drawn.assemble(
                parts,
                conditions=conditions,
                channels=trained.generator.image_shape[-1],
                scale=PixelScale.from_config(config.data),
                about={
                    **spent,
                    "parameters": parameters,
                    **workdir.provenance(),
                    **_shown(config, conditions),
                },
            )
            LOGGER.info("%d images in %s", total, folder)
        parts.remove()
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
    conditions = _conditions(request, config)
    conditions.number(num_samples, num_samples)
    trained = trained._replace(config=config, generator=contract.build(config))
    rejecting = read_rejection(config, conditions)
    check_turnable(config, conditions)
    _, variables = _read(trained, conditions, rejecting)
    drawer = _drawer(trained, conditions, rejecting, num_samples)
    steps = drawer.drawing.num_steps
    with progress_bar(num_samples, steps) as bar:
        images = drawer.draw(variables, 0, num_samples, progress=bar.update)
    images = turned(images, config.sampling.symmetry, seed=config.seed, first=0)
    raw = PixelScale.from_config(config.data).from_model(images)
    samples = conditions.to_samples(raw, np.arange(num_samples))
    return samples if config.data.planes else samples[..., 0]


def _conditions(request: Request | None, config: ml_collections.ConfigDict) -> Conditions:
    """Return the conditions of a request, and the networks that lead to them, if some do."""
    request = request or Request()
    return read_conditions(request, config, read_classifier(request, config), read_weaker(config))


def _read(
    trained: Trained, conditions: Conditions, rejecting: tuple[Rejecting, ...]
) -> tuple[str, Variables]:
    """Return the hash of the weights, and them on the devices, see :func:`loaded`.

    Raises:
        ValueError: if the discriminator is one of other weights, or of images drawn otherwise.
    """
    variables = trained.load()
    parameters = parameters_of(variables)
    origin = origin_of(parameters, conditions.recipe, flatten(trained.config))
    check_origin(rejecting, origin)
    return parameters, loaded(variables, conditions)


def loaded(variables: Variables, conditions: Conditions) -> Variables:
    """Return weights on the devices, those of a classifier and a weaker network beside them."""
    networks = {"classifier": conditions.leading, "weaker": conditions.weaker}
    leading = {name: network.load() for name, network in networks.items() if network is not None}
    if leading:
        variables = variables._replace(extra=leading)
    return parallel.replicate(variables)


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
    for doubt in contract.doubts(config):
        LOGGER.warning("%s", doubt)
    return config


def progress_bar(count: int, steps: int, *, name: str = "sample") -> tqdm.tqdm:
    """Return a bar of images that counts their steps."""
    return tqdm.tqdm(total=count * steps, unit="image", unit_scale=1 / steps, desc=name)


def recipe_of(trained: Trained, drawing: Drawing, conditions: Conditions) -> dict[str, Any]:
    """Return what makes the same images again from the same weights."""
    method = trained.config.sampling.get("method")
    return trained.origin | {
        "seed": trained.config.seed,
        "network_evaluations": drawing.nfe,
        "conditions": conditions.recipe,
        "config": {
            name: value
            for name, value in without_conditions(flatten(trained.config)).items()
            if _decides(name, method) and (name, value) != NOT_TURNED
        },
    }


def _shown(config: ml_collections.ConfigDict, conditions: Conditions) -> dict[str, Any]:
    """Return what tells of images that show what was asked: the kinds of particle, and units.

    Units are those of the simulated training images; where these are not, as with weights from
    elsewhere, those that the configuration simulates.
    """
    if conditions.condition is None:
        return {}
    known = units(config.data.train_path)
    simulation = config.get("simulation")
    if not known and config.data.get("condition") == LABELS and simulation is not None:
        known = simulated_units(simulation)
    return {"particles": list(conditions.particles), **known}


def _decides(name: str, method: str | None) -> bool:
    """Tell whether a field of the configuration makes other images."""
    if name == "sampling.ode_batch":
        return method == "ode"
    if name in _NAMED_BY_HASH:
        return False
    return name.startswith("sampling.") or not is_free(name)


def _default_folder(
    run: Path,
    trained: Trained,
    ema_rate: float | None,
    conditions: Conditions,
    rejecting: tuple[Rejecting, ...],
) -> Path:
    special = [f"ema_{ema_rate}"] if ema_rate is not None else []
    special += [name for name in ("canvas", "inpaint") if name in (conditions.recipe or {})]
    special += [conditions.observable] if conditions.observable else []
    if conditions.condition is not None:
        special += folder_names(conditions.condition, conditions.particles)
    special += guidance_names(trained.config, conditions)
    if conditions.leading is not None:
        special += [f"classifier_{conditions.leading.weight:g}"]
    if rejecting:
        special += ["_".join(["rejection", *(f"{each.bound:g}" for each in rejecting)])]
    return Path(run) / "samples" / "_".join([f"step_{trained.step:06d}", *special])


def guidance_names(config: ml_collections.ConfigDict, conditions: Conditions) -> list[str]:
    """Return what the name of a folder says of how strongly its images were led."""
    weight = config.sampling.get("guidance", 1.0) if conditions.condition is not None else 1
    names = [f"guidance_{weight:g}"] if weight != 1 else []
    weaker = conditions.weaker
    return names + ([f"autoguidance_{weaker.weight:g}"] if weaker is not None else [])


def _drawer(
    trained: Trained, conditions: Conditions, rejecting: tuple[Rejecting, ...], count: int
) -> Drawer | RejectionDrawer:
    """Return what draws so many images."""
    config = trained.config
    drawer = Drawer(
        trained.generator,
        batch_size=parallel.fitting_batch(count, most=config.eval.batch_size),
        seed=config.seed,
        conditions=conditions,
    )
    if not rejecting:
        return drawer
    scale = PixelScale.from_config(config.data)

    def samples(images: np.ndarray) -> np.ndarray:
        return conditions.to_samples(scale.from_model(images), np.arange(len(images)))

    return RejectionDrawer(drawer, rejecting, seed=config.seed, samples=samples)


def _draw_missing(
    trained: Trained,
    conditions: Conditions,
    rejecting: tuple[Rejecting, ...],
    variables: Variables,
    drawn: Drawn,
    parts: Parts,
    count: int,
) -> dict[str, Any]:
    """Draw the images that are not on disk.

    Returns:
        For the recipe, seconds per image, compilation excluded, and how many a discriminator kept;
        None if no image was missing.
    """
    gaps = drawn.gaps(parts, count)
    missing = sum(stop - first for first, stop in gaps)
    if not missing:
        return {"seconds_per_image": None}
    # Batches are the same however often it was interrupted: others have other last digits.
    drawer = _drawer(trained, conditions, rejecting, count - drawn.finished)
    if missing < count:
        LOGGER.info("%d of %d images are there", count - missing, count)
    drawer.compile(variables)
    begin = time.perf_counter()
    steps, size = drawer.drawing.num_steps, drawer.batch_size
    symmetry, seed = trained.config.sampling.symmetry, trained.config.seed
    with progress_bar(missing, steps) as bar:
        for gap, stop in gaps:
            for first in range(gap, stop, size):
                number = min(size, stop - first)
                images = drawer.draw(variables, first, number, progress=bar.update)
                drawn.save(parts, first, turned(images, symmetry, seed=seed, first=first))
    seconds = (time.perf_counter() - begin) / missing
    kept = drawer.report() if isinstance(drawer, RejectionDrawer) else {}
    return {"seconds_per_image": seconds, **kept}
