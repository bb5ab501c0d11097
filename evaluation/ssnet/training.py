"""Train SSNet on simulated truth, resumable at any step, and export its weights."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import tqdm

from evaluation.ssnet import weights
from evaluation.ssnet.data import (
    LabelledBatches,
    LabelledImages,
    augment,
    open_labelled,
    open_training,
)
from evaluation.ssnet.network import CLASSES, SHOWER, TRACK, Array, SSNet, Variables
from evaluation.ssnet.rules import count_votes
from evaluation.ssnet.scores import blocks, score_function
from sgm_jax.data import from_array, prefetch
from sgm_jax.data.images import evenly_spaced
from sgm_jax.run import checkpoints, parallel, workdir
from sgm_jax.run.interruption import Interrupted, Stop
from sgm_jax.run.log import LOGGER
from sgm_jax.run.metrics import Metrics

# How well pixels and images are labelled.

CALIBRATION_BINS = 20
# Pixels above this count in the loss, as in the original.
_CHARGED = 1e-6


def segmentation_loss(
    logits: Array,
    images: Array,
    labels: Array,
    *,
    empty_pixels: bool,
    axis_name: str | None = None,
) -> Array:
    """Return the paper's loss of each image, ``[B]``.

    Cross-entropy with class weights of one minus the class's share of all pixels of the batch,
    summed over charged pixels and divided by their number. An image without charge has loss 0,
    where the original divides by zero.

    Args:
        logits: ``[B, H, W, classes]``.
        images: ``[B, H, W, 1]``.
        labels: ``[B, H, W]``.
        empty_pixels: also sum over pixels without charge, whose weight is small. The original
            never trains these, though its image label reads them.
        axis_name: devices that share the batch.
    """
    target = jax.nn.one_hot(labels, logits.shape[-1])
    share = target.mean(axis=(0, 1, 2))
    if axis_name is not None:
        share = jax.lax.pmean(share, axis_name)
    weight = (1.0 - share).reshape(1, 1, 1, -1)
    loss = -(target * weight * jax.nn.log_softmax(logits)).sum(axis=-1)
    charged = images[..., 0] > _CHARGED
    summed = loss if empty_pixels else jnp.where(charged, loss, 0.0)
    number = jnp.maximum(charged.sum(axis=(1, 2)), 1).astype(loss.dtype)
    return summed.sum(axis=(1, 2)) / number


class PixelMetrics:
    """Sums over images, from which all numbers of :meth:`summary` follow. Lit pixels only."""

    def __init__(self) -> None:
        """Start empty."""
        self.confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)  # truth, prediction
        self._calibration = np.zeros((3, CALIBRATION_BINS))  # pixels, score, right
        self._agree = {"all_pixels": 0, "lit_pixels": 0}
        self._images = 0

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add images: scores ``[B, H, W, 3]`` and the true class of each pixel ``[B, H, W]``."""
        is_lit = labels > 0
        truth, guess = labels[is_lit], scores.argmax(axis=-1)[is_lit]
        best = scores.max(axis=-1)[is_lit]
        side = len(CLASSES)
        counted = np.bincount(truth.astype(np.int64) * side + guess, minlength=side**2)
        self.confusion += counted.reshape(side, side)
        place = np.minimum((best * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        for row, weight in enumerate((None, best, truth == guess)):
            self._calibration[row] += np.bincount(place, weight, minlength=CALIBRATION_BINS)
        is_track = (labels == TRACK).sum(axis=(1, 2)) > (labels == SHOWER).sum(axis=(1, 2))
        for rule, among in (("all_pixels", None), ("lit_pixels", is_lit)):
            votes = count_votes(scores, among)
            self._agree[rule] += int((votes.is_track == is_track).sum())
        self._images += len(labels)

    def summary(self) -> dict[str, Any]:
        """Return the numbers by name; tables as lists."""
        right, total = np.diag(self.confusion), max(int(self.confusion.sum()), 1)
        found, true = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        numbers: dict[str, Any] = {"images": self._images, "accuracy": float(right.sum() / total)}
        for k in (SHOWER, TRACK):
            numbers |= {
                f"{CLASSES[k]}_efficiency": float(right[k] / max(true[k], 1)),
                f"{CLASSES[k]}_purity": float(right[k] / max(found[k], 1)),
                f"{CLASSES[k]}_iou": float(right[k] / max(true[k] + found[k] - right[k], 1)),
            }
        for rule, agree in self._agree.items():
            numbers[f"image_agreement_{rule}"] = agree / max(self._images, 1)
        pixels, score, hits = self._calibration
        numbers["calibration_error"] = float(np.abs(score - hits).sum() / total)
        numbers["calibration"] = {
            "pixels": pixels.astype(int).tolist(),
            "mean_score": np.round(score / np.maximum(pixels, 1), 4).tolist(),
            "accuracy": np.round(hits / np.maximum(pixels, 1), 4).tolist(),
        }
        numbers["confusion"] = self.confusion.tolist()
        return numbers


# One update of SSNet: state, optimiser, loss and augmentation in a pure function.

Batch = dict[str, Array]


@flax.struct.dataclass
class SSNetState:
    """State of a run after ``step`` updates."""

    step: Array
    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """Parameters and running statistics, as the network takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def network(config: ml_collections.ConfigDict, normalisation: str) -> SSNet:
    """Return the network of a configuration; batch statistics are those of all devices."""
    shared = parallel.AXIS if normalisation == "batch_statistics" else None
    model = config.model
    return SSNet(
        normalisation, filters=model.filters, num_strides=model.num_strides, axis_name=shared
    )


def optimizer(config: ml_collections.ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """Return Adam with the decay in the gradient, on a rate that rises and falls once."""
    warmup = round(config.optim.warmup_fraction * num_steps)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.optim.lr, warmup, max(num_steps, 1))
    return optax.chain(optax.add_decayed_weights(config.optim.weight_decay), optax.adam(rate))


def initial_state(
    config: ml_collections.ConfigDict, transform: optax.GradientTransformation
) -> SSNetState:
    """Return the state before the first update."""
    side = config.data.image_size
    image = jnp.zeros((1, side, side, 1))
    init = jax.jit(network(config, "batch_statistics").init)
    variables = init(jax.random.key(config.seed), image)
    params, batch_stats = variables["params"], variables["batch_stats"]
    return SSNetState(jnp.zeros((), jnp.int32), params, batch_stats, transform.init(params))


def loss_function(
    config: ml_collections.ConfigDict, normalisation: str = "batch_statistics"
) -> Callable:
    """Return ``loss_fn(params, batch_stats, batch) -> (loss, new batch_stats)``.

    With running statistics these are constants, and come back as they are.
    """
    net = network(config, normalisation)

    def loss_fn(params: Variables, batch_stats: Variables, batch: Batch):
        variables = {"params": params, "batch_stats": batch_stats}
        output, kept = net.apply(variables, batch["image"], mutable=["batch_stats"])
        losses = segmentation_loss(
            output.logits,
            batch["image"],
            batch["label"],
            empty_pixels=config.training.empty_pixels,
            axis_name=parallel.AXIS,
        )
        return losses.mean(), kept["batch_stats"]

    return loss_fn


def train_step(
    config: ml_collections.ConfigDict,
    transform: optax.GradientTransformation,
    normalisation: str = "batch_statistics",
) -> Callable[[SSNetState, Array, Batch], tuple[SSNetState, Batch]]:
    """Return ``step(state, key, batch) -> (state, metrics)`` for one device's share."""
    gradient = jax.value_and_grad(loss_function(config, normalisation), has_aux=True)

    def step(state: SSNetState, key: Array, batch: Batch) -> tuple[SSNetState, Batch]:
        key = jax.random.fold_in(key, state.step)

        def augmented(index: Array, image: Array, label: Array) -> tuple[Array, Array]:
            own = jax.random.fold_in(key, index)
            return augment(own, image, label, brightness=config.data.brightness)

        image, label = jax.vmap(augmented)(batch["index"], batch["image"], batch["label"])
        (loss, batch_stats), grads = gradient(
            state.params, state.batch_stats, {"image": image, "label": label}
        )
        loss, grads = parallel.mean((loss, grads))
        if normalisation == "running_statistics":
            batch_stats = state.batch_stats  # the mean of equal numbers may be rounded
        else:
            batch_stats = parallel.mean(batch_stats)
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(grads)}
        return SSNetState(state.step + 1, params, batch_stats, opt_state), metrics

    return step


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

    See :class:`evaluation.ssnet.training.PixelMetrics`.
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
    return weights.save(path, net, state.variables, dtype=dtype)


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
    variables = weights.load(path).variables
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
