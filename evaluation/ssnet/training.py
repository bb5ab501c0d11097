"""Train SSNet on simulated truth, resumable at any step, and export its weights."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from evaluation.ssnet import weights
from evaluation.ssnet.data import LabelledImages, augment, open_labelled, open_training
from evaluation.ssnet.network import CLASSES, SHOWER, TRACK, Array, SSNet, Variables
from evaluation.ssnet.scores import blocks, count_votes, score_function
from sgm_jax.data import Batches, from_array
from sgm_jax.data.images import evenly_spaced
from sgm_jax.run import parallel, workdir
from sgm_jax.run.checkpoints import steps
from sgm_jax.run.log import LOGGER
from sgm_jax.run.progress import Progress
from sgm_jax.run.restore import load_state
from sgm_jax.step import TrainState
from sgm_jax.step import Variables as TrainedVariables
from sgm_jax.train import Task, fit

Batch = dict[str, Array]

CALIBRATION_BINS = 20
# Pixels above this count in the loss, as in the original.
_CHARGED = 1e-6


def segmentation_loss(
    logits: Array, images: Array, labels: Array, *, empty_pixels: bool, axis_name: str | None = None
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
        called, true = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        numbers: dict[str, Any] = {"images": self._images, "accuracy": float(right.sum() / total)}
        for k in (SHOWER, TRACK):
            numbers |= {
                f"{CLASSES[k]}_efficiency": float(right[k] / max(true[k], 1)),
                f"{CLASSES[k]}_purity": float(right[k] / max(called[k], 1)),
                f"{CLASSES[k]}_iou": float(right[k] / max(true[k] + called[k] - right[k], 1)),
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


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationTraining:
    """SSNet and its update: a :class:`sgm_jax.generator.Trainable`.

    Its running statistics are the ``extra`` of the state; no average of the parameters is kept.

    Attributes:
        config: of ``configs/ssnet.py``.
        num_steps: updates until the learning rate is 0 again.
        normalisation: "batch_statistics", or "running_statistics", which are held fixed.
    """

    config: ml_collections.ConfigDict
    num_steps: int
    normalisation: str = "batch_statistics"

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """What moves the parameters."""
        return optimizer(self.config, self.num_steps)

    def initial_state(self, key: Array) -> TrainState:
        """Return random weights, or those of ``config.training.initial_weights``.

        Raises:
            ValueError: if that file is of another network.
        """
        side = self.config.data.image_size
        net = network(self.config, "batch_statistics")
        variables = net.init(key, jnp.zeros((1, side, side, 1)))
        if self.config.training.initial_weights:
            variables = _exported(self.config, variables)
        params, batch_stats = variables["params"], variables["batch_stats"]
        start = jnp.zeros((), jnp.int32)
        return TrainState(start, params, (), self.optimizer.init(params), batch_stats)

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update from augmented images."""
        key = jax.random.fold_in(key, state.step)

        def augmented(index: Array, image: Array, label: Array) -> tuple[Array, Array]:
            own = jax.random.fold_in(key, index)
            return augment(own, image, label, brightness=self.config.data.brightness)

        image, label = jax.vmap(augmented)(batch["index"], batch["image"], batch["label"])
        gradient = jax.value_and_grad(self.loss, has_aux=True)
        (loss, batch_stats), grads = gradient(
            state.params, state.extra, {"image": image, "label": label}
        )
        loss, grads = parallel.mean((loss, grads))
        if self.normalisation == "running_statistics":
            batch_stats = state.extra  # the mean of equal numbers may be rounded
        else:
            batch_stats = parallel.mean(batch_stats)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(grads)}
        state = state.replace(
            step=state.step + 1, params=params, opt_state=opt_state, extra=batch_stats
        )
        return state, metrics

    def eval_loss(
        self, variables: TrainedVariables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss with running statistics, of images as they are."""
        del key
        running = dataclasses.replace(self, normalisation="running_statistics")
        loss, _ = running.loss(variables.params, variables.extra, batch)
        return loss, {}

    def loss(
        self, params: Variables, batch_stats: Variables, batch: Batch
    ) -> tuple[Array, Variables]:
        """Return the mean loss and the new running statistics.

        With running statistics these are constants, and come back as they are.
        """
        net = network(self.config, self.normalisation)
        variables = {"params": params, "batch_stats": batch_stats}
        output, kept = net.apply(variables, batch["image"], mutable=["batch_stats"])
        losses = segmentation_loss(
            output.logits,
            batch["image"],
            batch["label"],
            empty_pixels=self.config.training.empty_pixels,
            axis_name=parallel.AXIS,
        )
        return losses.mean(), kept["batch_stats"]


def _exported(config: ml_collections.ConfigDict, like: Variables) -> Variables:
    """Return the weights of ``config.training.initial_weights``."""
    path = Path(config.training.initial_weights)
    variables = weights.load(path).variables
    ours, theirs = (jax.tree.map(jnp.shape, tree) for tree in (variables, dict(like)))
    if ours != theirs:
        raise ValueError(
            f"{path} is of another network than --config.model "
            f"(filters {config.model.filters}, num_strides {config.model.num_strides})"
        )
    return variables


_AT_LEAST = {
    "training.batch_size": 1,
    "training.num_epochs": 1,
    "training.log_freq": 1,
    "training.snapshot_freq": 1,
    "eval.batch_size": 1,
    "eval.num_images": 1,
    "model.filters": 1,
    "model.num_strides": 3,
}
_FRACTIONS = ("data.brightness", "optim.warmup_fraction", "training.settling_fraction")


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with a value that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = workdir.flatten(config)
    missing = [name for name in (*_AT_LEAST, *_FRACTIONS) if name not in fields]
    if missing:
        raise ValueError(
            f"the configuration has no --config.{', --config.'.join(missing)}: it is none of "
            "SSNet; start from configs/ssnet.py"
        )
    for name, least in _AT_LEAST.items():
        if fields[name] < least:
            raise ValueError(f"--config.{name} is {fields[name]}; at least {least}")
    multiple, side = 2**config.model.num_strides, config.data.image_size
    if side < multiple or side % multiple:
        raise ValueError(f"--config.data.image_size is {side}; it must be a multiple of {multiple}")
    for name in _FRACTIONS:
        if not 0 <= fields[name] < 1:
            raise ValueError(f"--config.{name} is {fields[name]}; it lies in [0, 1)")
    for section in ("training", "eval"):
        parallel.check_divisible(config[section].batch_size, f"--config.{section}.batch_size")


def train(config: ml_collections.ConfigDict, folder: Path) -> TrainState:
    """Train for ``config.training.num_epochs`` epochs; return the final state.

    Training goes on from the newest checkpoint in ``folder``. Batches, augmentation and rate of a
    step depend on the seed and the step only, so it ends where an uninterrupted run does.

    Raises:
        FileNotFoundError: if there are no images or labels.
        ValueError: if configuration, data, devices or workdir do not fit; nothing is touched.
        FloatingPointError: if the loss is not finite; the checkpoints are still good.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    check(config)
    folder = Path(folder)
    initial = _initial_hash(config)
    same = initial is not None and workdir.began_with(folder, initial)
    workdir.check_workdir(folder, config, free=("training.initial_weights",) if same else ())
    train_set = open_training(config.data)
    test_set = open_labelled(
        config.data.test_path,
        config.data.labels_path,
        split="test",
        image_size=config.data.image_size,
    )
    fingerprint = _fingerprint(train_set)
    workdir.check_data(folder, fingerprint)
    with workdir.claimed(folder, config, fingerprint, initial=initial):
        return _train(config, folder, train_set, test_set)


def _train(
    config: ml_collections.ConfigDict,
    folder: Path,
    train_set: LabelledImages,
    test_set: LabelledImages,
) -> TrainState:
    total, training = len(train_set.images), config.training
    ends = [num_steps(config, total, k + 1) for k in range(training.num_epochs)]
    last = ends[-1]
    batches = Batches(
        train_set.images,
        labels=train_set.labels,
        batch_size=training.batch_size,
        seed=config.seed,
        random_flip=False,
        scale=None,
        process_index=parallel.process_index(),
        process_count=parallel.process_count(),
    )

    def test(step: int, variables: TrainedVariables) -> None:
        if step not in ends:
            return
        count = len(test_set.images) if step == last else config.eval.num_images
        numbers = evaluate(config, variables, test_set, count=count)
        epoch = ends.index(step) + 1
        progress.write(step, {"epoch": epoch, "test": numbers})
        LOGGER.info("epoch %d of %d: %s", epoch, len(ends), _short(numbers))

    # The last updates are made with running statistics, which is another program.
    settling = last - round(training.settling_fraction * last)
    for normalisation, stop in (("batch_statistics", settling), ("running_statistics", last)):
        if max(steps(folder), default=0) >= stop and stop < last:
            continue
        progress = Progress(
            folder,
            last=last,
            log_every=training.log_freq,
            batch_size=training.batch_size,
            epoch_images=total,
        )
        state = fit(
            SegmentationTraining(config, last, normalisation),
            batches,
            folder,
            progress,
            seed=config.seed,
            last=stop,
            save_at=lambda step: step % training.snapshot_freq == 0 or step in ends,
            keep_every=2**31,
            tasks=[Task(lambda step: step in ends, test)],
        )
    return state


def _initial_hash(config: ml_collections.ConfigDict) -> str | None:
    """Return the SHA-256 of the file of weights to begin with; None without one."""
    path = Path(config.training.initial_weights)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _fingerprint(data: LabelledImages) -> str:
    """Return a hash of what is learnt from: as the images' own, and of all labels."""
    digest = hashlib.blake2b(data.images.fingerprint.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()


def num_steps(config: ml_collections.ConfigDict, num_images: int, epochs: int) -> int:
    """Return after how many updates so many epochs are complete."""
    return -(-epochs * num_images // config.training.batch_size)


def evaluate(
    config: ml_collections.ConfigDict,
    variables: TrainedVariables,
    data: LabelledImages,
    *,
    count: int,
) -> dict[str, Any]:
    """Return the numbers of the network on ``count`` evenly spaced images, with running statistics.

    See :class:`evaluation.ssnet.training.PixelMetrics`.
    """
    rows = evenly_spaced(len(data.images), count)
    images = from_array(data.images[rows], num_channels=1, image_size=None, source="test images")
    net = network(config, "running_statistics")
    score = score_function(net, flax_variables(variables))
    sums = PixelMetrics()
    for part, scored in blocks(images, score, batch_size=config.eval.batch_size):
        sums.add(scored.scores, data.labels[rows[part]])
    return sums.summary()


def export(config: ml_collections.ConfigDict, folder: Path, path: Path, *, dtype: str) -> str:
    """Write the newest checkpoint's weights as one file for the package; return its SHA-256.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if it is of another configuration.
    """
    saved = steps(folder)
    if not saved:
        raise FileNotFoundError(f"{folder} holds no checkpoints; train first, without --export")
    workdir.check_workdir(folder, config, free=("training.initial_weights",))
    state = load_state(SegmentationTraining(config, 1), folder, saved[-1])
    net = network(config, "running_statistics")
    return weights.save(path, net, flax_variables(state.averaged), dtype=dtype)


def flax_variables(variables: TrainedVariables) -> Variables:
    """Return parameters and running statistics as the network takes them."""
    return {"params": variables.params, "batch_stats": variables.extra}


def _short(numbers: dict[str, Any]) -> str:
    return json.dumps({k: round(v, 4) for k, v in numbers.items() if isinstance(v, int | float)})
