"""Train SSNet on simulated truth, resumable at any step, and export its weights."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import tqdm

from evaluation import ssnet_weights
from evaluation.ssnet import Variables
from evaluation.ssnet_data import LabelledBatches, LabelledImages, open_labelled, open_training
from evaluation.ssnet_metrics import PixelMetrics
from evaluation.ssnet_scores import blocks, score_function
from evaluation.ssnet_step import SSNetState, initial_state, network, optimizer, train_step
from sgm_jax import checkpoints, parallel, workdir
from sgm_jax.data import from_array, prefetch
from sgm_jax.data.images import evenly_spaced
from sgm_jax.interruption import Interrupted, Stop
from sgm_jax.log import LOGGER
from sgm_jax.metrics import Metrics


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with a value that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    for section, name in (
        ("training", "batch_size"),
        ("training", "num_epochs"),
        ("training", "log_freq"),
        ("training", "snapshot_freq"),
        ("eval", "batch_size"),
        ("eval", "num_images"),
        ("model", "filters"),
    ):
        if config[section][name] < 1:
            raise ValueError(f"config.{section}.{name} is {config[section][name]}; at least 1")
    if config.model.num_strides < 3:
        raise ValueError(f"config.model.num_strides is {config.model.num_strides}; at least 3")
    multiple, side = 2**config.model.num_strides, config.data.image_size
    if side < multiple or side % multiple:
        raise ValueError(f"config.data.image_size is {side}; it must be a multiple of {multiple}")
    if not 0 <= config.data.brightness < 1:
        raise ValueError(f"config.data.brightness is {config.data.brightness}; it lies in [0, 1)")
    for section, name in (("optim", "warmup_fraction"), ("training", "settling_fraction")):
        if not 0 <= config[section][name] < 1:
            raise ValueError(
                f"config.{section}.{name} is {config[section][name]}; it lies in [0, 1)"
            )
    for section in ("training", "eval"):
        parallel.check_divisible(config[section].batch_size, f"config.{section}.batch_size")


def train(config: ml_collections.ConfigDict, run: Path) -> SSNetState:
    """Train for ``config.training.num_epochs`` epochs; return the final state.

    A checkpoint in the workdir ``run`` is where training goes on. Batches, augmentation and rate of
    a step depend on the seed and the step only, so it ends where an uninterrupted run does.

    Raises:
        FileNotFoundError: if there are no images or labels.
        ValueError: if configuration, data, devices or workdir do not fit; nothing is touched.
        FloatingPointError: if the loss is not finite; the checkpoints are still good.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    check(config)
    run = Path(run)
    workdir.check_workdir(run, config)
    train_set = open_training(config.data)
    test_set = open_labelled(
        config.data.test_path,
        config.data.labels_path,
        split="test",
        image_size=config.data.image_size,
    )
    fingerprint = _fingerprint(train_set)
    workdir.check_data(run, fingerprint)
    with workdir.claimed(run, config, fingerprint):
        store = checkpoints.Checkpoints(run, keep_every=2**31)
        metrics = Metrics(run, tensorboard=False)
        try:
            with Stop() as stop:
                return _loop(config, train_set, test_set, store, metrics, stop)
        finally:
            metrics.close()
            store.close()


def _fingerprint(data: LabelledImages) -> str:
    """Return a hash of what is learnt from: as the images' own, and of all labels."""
    digest = hashlib.blake2b(data.images.fingerprint.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()


def num_steps(config: ml_collections.ConfigDict, num_images: int, epochs: int) -> int:
    """Return after how many updates so many epochs are complete."""
    return -(-epochs * num_images // config.training.batch_size)


def _loop(
    config: ml_collections.ConfigDict,
    train_set: LabelledImages,
    test_set: LabelledImages,
    store: checkpoints.Checkpoints,
    metrics: Metrics,
    stop: Stop,
) -> SSNetState:
    total = len(train_set.images)
    ends = [num_steps(config, total, k + 1) for k in range(config.training.num_epochs)]
    last = ends[-1]
    transform = optimizer(config, last)
    state = parallel.replicate(_first_state(config, transform, store))
    step = int(state.step)
    learn, settle = (
        parallel.train_function(train_step(config, transform, normalisation))
        for normalisation in ("batch_statistics", "running_statistics")
    )
    settling = last - round(config.training.settling_fraction * last)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    batches = LabelledBatches(
        train_set,
        batch_size=config.training.batch_size,
        seed=config.seed,
        process_index=parallel.process_index(),
        process_count=parallel.process_count(),
    )
    bar = tqdm.tqdm(total=last, initial=step, unit="step", desc="train")
    began, first = time.perf_counter(), step
    for batch in prefetch(batches, step, last):
        update = learn if step < settling else settle
        state, numbers = update(state, key, {name: part[None] for name, part in batch.items()})
        step += 1
        bar.update()
        numbers = {name: float(value[0]) for name, value in jax.device_get(numbers).items()}
        if not np.isfinite(numbers["loss"]):
            raise FloatingPointError(f"the loss of step {step} is {numbers['loss']}")
        if step % config.training.log_freq == 0 or step == last:
            rate = (step - first) / (time.perf_counter() - began)
            epochs = step * config.training.batch_size / total
            metrics.write(step, {**numbers, "epochs": epochs, "steps_per_second": rate})
            bar.set_postfix(loss=f"{numbers['loss']:.4g}")
        stopping = parallel.stop_requested(stop.requested, step)
        if step % config.training.snapshot_freq == 0 or step in ends or stopping:
            store.save(step, state)
        if stopping:
            store.wait()
            raise Interrupted(f"stopped by {stop.name}; the state of step {step} is saved")
        if step in ends:
            count = len(test_set.images) if step == last else config.eval.num_images
            found = evaluate(config, state.variables, test_set, count=count)
            metrics.write(step, {"epoch": ends.index(step) + 1, "test": found})
            LOGGER.info("epoch %d of %d: %s", ends.index(step) + 1, len(ends), _short(found))
    bar.close()
    return state


def evaluate(
    config: ml_collections.ConfigDict, variables: Variables, data: LabelledImages, *, count: int
) -> dict[str, Any]:
    """Return the numbers of the network on ``count`` evenly spaced images, with running statistics.

    See :class:`evaluation.ssnet_metrics.PixelMetrics`.
    """
    rows = evenly_spaced(len(data.images), count)
    images = from_array(data.images[rows], num_channels=1, image_size=None, source="test images")
    score = score_function(network(config, "running_statistics"), variables)
    sums = PixelMetrics()
    for part, found in blocks(images, score, batch_size=config.eval.batch_size):
        sums.add(found.scores, data.labels[rows[part]])
    return sums.summary()


def export(config: ml_collections.ConfigDict, run: Path, path: Path, *, dtype: str) -> str:
    """Write the newest checkpoint's weights as one file for the package; return its SHA-256.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if it is of another configuration.
    """
    steps = checkpoints.steps(run)
    if not steps:
        raise FileNotFoundError(f"{run} holds no checkpoints; train first, without --export")
    workdir.check_workdir(run, config)
    like = jax.eval_shape(lambda: initial_state(config, optimizer(config, 1)))
    state = checkpoints.load(run, steps[-1], like)
    net = network(config, "running_statistics")
    return ssnet_weights.save(path, net, state.variables, dtype=dtype)


def _first_state(
    config: ml_collections.ConfigDict,
    transform: optax.GradientTransformation,
    store: checkpoints.Checkpoints,
) -> SSNetState:
    state = store.restore_newest(jax.eval_shape(lambda: initial_state(config, transform)))
    if state is None:
        return _new_state(config, transform)
    LOGGER.info("going on from the checkpoint of step %d", int(state.step))
    return state


def _new_state(
    config: ml_collections.ConfigDict, transform: optax.GradientTransformation
) -> SSNetState:
    state = initial_state(config, transform)
    if not config.training.initial_weights:
        LOGGER.info("a new network")
        return state
    path = Path(config.training.initial_weights)
    variables = ssnet_weights.load(path).variables
    shapes = [jax.tree.map(jnp.shape, one) for one in (variables, state.variables)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{path} is of another network than config.model "
            f"(filters {config.model.filters}, num_strides {config.model.num_strides})"
        )
    LOGGER.info("beginning with the weights of %s", path)
    return state.replace(params=variables["params"], batch_stats=variables["batch_stats"])


def _short(numbers: dict[str, Any]) -> str:
    return json.dumps({k: round(v, 4) for k, v in numbers.items() if isinstance(v, int | float)})
