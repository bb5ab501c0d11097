"""From a checkpoint to the bits per dimension of the test images.

Every finished batch is on disk at once, so a run that was interrupted goes on where it stopped, and
a request for more images goes on where an earlier one ended.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm

from sgm_jax.data import Images, open_images
from sgm_jax.generator import Generator, Purpose, run_key
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.files import read_arrays, read_object, write_blocks, write_json
from sgm_jax.run.log import LOGGER, announced
from sgm_jax.run.parts import Parts, finished_count, open_parts
from sgm_jax.run.workdir import flatten, is_free, without_conditions
from sgm_jax.samplers.base import image_keys
from sgm_jax.step import Variables
from sgm_jax.train import open_sets
from sgm_jax.trained import from_run

COLUMNS = ("bits_per_dim", "stderr", "nfe")
FIX = "move the folder away to measure again"

Columns = dict[str, np.ndarray]


def measure(
    config: ml_collections.ConfigDict,
    run: Path,
    *,
    checkpoint: int | None = None,
    ema_rate: float | None = None,
    images: str | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measure the first ``config.eval.num_images`` test images with the averaged weights.

    Args:
        config: checked; its ``eval``, ``sampling`` and ``seed`` may differ from the run's.
        run: the workdir of the training run.
        checkpoint: its step; the newest if not given.
        ema_rate: of the average to measure; ``config.model.ema_rate`` if not given.
        images: a file or folder of others to measure in place of the test images, such as drawn
            ones.
        out: where to; ``<run>/likelihood/step_<step>`` if not given, and with ``images`` the name
            of these at its end.

    Returns:
        What ``summary.json`` there holds: the mean ``bits_per_dim``, its
        ``stderr`` from image to image, the part of it that is the probes' (``probe_stderr``), and
        how it was measured. Each image's own are beside it in ``likelihood.npz``.

    Raises:
        FileNotFoundError: if there are no images, or no such checkpoint.
        ValueError: if the configuration is not the run's, the images do not have 256 levels, or
            the folder holds the likelihood of others.
    """
    distributed.check_shared(run)
    trained = from_run(config, run, checkpoint=checkpoint, ema_rate=ema_rate)
    config, generator = trained.config, trained.generator
    if generator.log_prob is None:
        raise ValueError(f"--config.generator {config.generator!r} has no likelihood")
    measured = open_sets(config)[1] if images is None else _open(images, config)
    if measured.dtype != np.uint8:
        raise ValueError(
            f"{measured.source}: bits per dimension are those of whole levels 0..255, and the "
            f"images are {measured.dtype}; write them as uint8 and set --config.data.scaling='none'"
        )
    count = min(len(measured), config.eval.num_images)
    recipe = {
        "checkpoint_step": trained.step,
        "ema_rate": trained.origin["ema_rate"],
        "num_probes": config.eval.num_probes,
        "probe": config.eval.probe,
        "ode_rtol": config.sampling.get("ode_rtol"),
        "ode_atol": config.sampling.get("ode_atol"),
        "ode_batch": _at_once(config),
        "seed": config.seed,
        "images": measured.fingerprint,
        "config": {
            name: value
            for name, value in without_conditions(flatten(config)).items()
            if not is_free(name)
        },
    }
    special = "" if ema_rate is None else f"_ema_{ema_rate}"
    special += "" if images is None else f"_{Path(images.partition('::')[0]).stem}"
    folder = Path(out or Path(run) / "likelihood" / f"step_{trained.step:06d}{special}")
    note = folder / "summary.json"
    earlier = distributed.counted(lambda: finished_count(note, recipe, name="num_images", fix=FIX))
    if earlier >= count:
        LOGGER.info("these %d images were measured already: %s", count, folder)
        summary = read_object(note, fix=FIX)
        return summary if earlier == count else summary | _summary(_read(folder, count))
    variables = parallel.replicate(trained.load())
    with open_parts(folder / "parts", recipe, fix=FIX) as parts:
        before = _read(folder, earlier) if earlier else {}
        columns = _measure(config, generator, variables, measured, count, parts, before)
        kind = {"kind": _kind(generator, variables)}
        summary = recipe | kind | _summary(columns) | workdir.provenance()
        if parallel.is_main():
            _write(folder, columns, summary)
        parts.remove()
    mean, error = summary["bits_per_dim"], summary["stderr"]
    LOGGER.info("%.4f +- %.4f bits per dimension of %d images", mean, error, count)
    return summary


def _open(images: str, config: ml_collections.ConfigDict) -> Images:
    """Return images of a file or folder, as they are stored."""
    data = config.data
    return open_images(
        images, num_channels=data.num_channels, image_size=data.image_size, planes=data.planes
    )


def _read(folder: Path, count: int) -> Columns:
    """Return the finished likelihoods of the first images."""
    columns = read_arrays(folder / "likelihood.npz", fix=FIX, names=COLUMNS)
    return {name: values[:count] for name, values in columns.items()}


def _write(folder: Path, columns: Columns, summary: dict[str, Any]) -> None:
    """Write what was measured; the summary, which says that it is whole, comes last."""
    arrays = {name: (values.shape, values.dtype, [values]) for name, values in columns.items()}
    write_blocks(folder / "likelihood.npz", arrays)
    write_json(folder / "summary.json", summary)


def _measure(
    config: ml_collections.ConfigDict,
    generator: Generator,
    variables: Variables,
    images: Images,
    count: int,
    parts: Parts,
    before: Columns,
) -> Columns:
    """Measure the batches that are not on disk; return all of them, joined.

    The devices always work on batches of one size, whatever is asked for: with another an image
    would get other last digits, and its solver other steps.
    """
    size = _at_once(config) * parallel.device_count()
    earlier = len(before[COLUMNS[0]]) if before else 0
    stops = {first: min(first + size, count) for first in range(earlier, count, size)}
    names = {first: f"{first:09d}_{stop:09d}.npz" for first, stop in stops.items()}
    missing = parts.missing(list(names.values()))
    compiled = _compiled(config, generator)
    batches = [before] if before else []
    done = count - earlier - sum(stops[f] - f for f, name in names.items() if name in missing)
    with tqdm.tqdm(total=count, initial=earlier + done, desc="likelihood", unit="image") as bar:
        for first, name in names.items():
            if name in missing:
                # The last image fills up the batch.
                rows = np.minimum(np.arange(first, first + size), count - 1)
                what = f"compiling, and the likelihoods of {stops[first] - first} images"
                with announced(what, only=name == missing[0]):
                    columns = compiled(variables, images, rows)
                columns = {key: values[: stops[first] - first] for key, values in columns.items()}
                parts.save(name, columns)
                bar.update(stops[first] - first)
            batches.append(columns if name in missing else parts.load(name))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in COLUMNS}


def _at_once(config: ml_collections.ConfigDict) -> int:
    """Return how many images a device measures at once, as many as it would draw."""
    return config.sampling.get("at_once") or config.sampling.ode_batch


def _compiled(
    config: ml_collections.ConfigDict, generator: Generator
) -> Callable[[Any, Images, np.ndarray], Columns]:
    """Return a function of variables, images and their numbers, over all devices."""
    root = run_key(config.seed, Purpose.EVALUATION)

    def batch(variables: Any, levels: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
        result = generator.log_prob(variables, image_keys(root, index), levels, {})
        bits = levels[0].size * np.log(2)
        return {
            "bits_per_dim": -result.nats / bits,
            "stderr": result.stderr / bits,
            "nfe": result.nfe,
        }

    mapped = parallel.batch_function(batch, in_axes=(None, 0, 0))

    def call(variables: Any, images: Images, rows: np.ndarray) -> Columns:
        rows = rows[parallel.local_rows(len(rows))]
        levels = parallel.shard(images[rows])
        return parallel.gather(mapped(variables, levels, parallel.shard(rows.astype(np.int32))))

    return call


def _kind(generator: Generator, variables: Variables) -> str:
    """Return whether the numbers are exact, a bound or an estimate."""
    levels = jax.ShapeDtypeStruct((1, *generator.image_shape), np.uint8)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    log_prob = partial(generator.log_prob, given={})
    return jax.eval_shape(log_prob, variables, keys, levels).kind


def _summary(columns: Columns) -> dict[str, Any]:
    """Return means with their errors.

    Raises:
        ArithmeticError: if the solver did not arrive for some images.
    """
    bits = columns["bits_per_dim"].astype(np.float64)
    lost = np.flatnonzero(~np.isfinite(bits))
    if lost.size:
        raise ArithmeticError(
            f"the likelihood of {lost.size} of {len(bits)} images is not finite, the first is "
            f"image {lost[0]}: the network's flow diverges there; take another checkpoint"
        )
    return {
        "num_images": len(bits),
        "bits_per_dim": float(bits.mean()),
        "stderr": float(bits.std(ddof=1) / len(bits) ** 0.5) if len(bits) > 1 else float("nan"),
        "probe_stderr": float(np.sqrt((columns["stderr"] ** 2).sum()) / len(bits)),
        "network_evaluations": float(columns["nfe"].mean()),
    }
