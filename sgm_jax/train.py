"""The training story: images in, checkpoints out, resumable at any step.

A run is its workdir. Started again it goes on from its newest checkpoint and ends where it would
have ended uninterrupted, bit for bit: the data order, the noise and the dropout of a step depend
on the seed and the step only.

:func:`train` trains the generator of a configuration. :func:`fit` is the loop within, for whatever
has the methods of :class:`sgm_jax.generator.Trainable`.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from sgm_jax import beside, first_stage
from sgm_jax import generator as contract
from sgm_jax.chosen import as_chosen
from sgm_jax.cost import warn_if_long
from sgm_jax.data import Batches, Images, PixelScale, data_std, open_images, prefetch
from sgm_jax.data.condition import Condition, momentum_range, open_condition
from sgm_jax.data.overlap import shared
from sgm_jax.data.survey import log_doubts
from sgm_jax.generator import Purpose, Trainable, run_key
from sgm_jax.rejection import FIELD
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.checkpoints import Checkpoints, steps
from sgm_jax.run.interruption import Interrupted, Stop
from sgm_jax.run.log import LOGGER, announced
from sgm_jax.run.progress import Progress
from sgm_jax.step import TrainState, Variables, with_variables
from sgm_jax.trained import Weights, read_weights
from sgm_jax.watch import Watch


def train(config: ml_collections.ConfigDict, run: Path) -> TrainState:
    """Train until ``config.training.n_iters`` updates are made; return the final state.

    Args:
        config: checked by :func:`sgm_jax.config.check`.
        run: the workdir; a checkpoint in it is where training goes on.

    Raises:
        FileNotFoundError: if there are no images, with the ways to get some.
        ValueError: if images, devices or workdir do not fit the configuration; nothing is touched.
        FloatingPointError: if a loss or a norm is not finite; the checkpoints are still good.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    # 1. Everything that can be refused is refused before anything is written.
    training = config.training
    parallel.check_divisible(training.batch_size, "--config.training.batch_size")
    parallel.check_divisible(config.eval.batch_size, "--config.eval.batch_size")
    distributed.check_shared(run)
    weights = read_weights(training.initial_weights) if training.initial_weights else None
    free = contract.free_fields(config)
    if weights:
        weights.check_begins(config)
        if workdir.began_with(run, weights.sha256):
            free = (*free, "training.initial_weights")
    workdir.check_workdir(run, config, free=free)
    if not steps(run):
        contract.check_new(config)
    images, test_images = open_sets(config)
    check_pair(config, images, test_images, begins=not steps(run))
    drawn = as_chosen(beside.open_beside(config), config)
    condition, test_condition = open_conditions(config, images, test_images)
    config = with_measured_std(config, run, images, weights)
    config = with_measured_range(config, run, condition)
    config = with_measured_fields(config, run, images, weights)
    config = beside.with_origin(config, drawn)
    fingerprint = beside.fingerprint(fingerprint_of(images, condition), drawn)
    sources = "--config.data.train_path" + (f" (or {beside.PATH}, or {FIELD})" if drawn else "")
    workdir.check_data(run, fingerprint, source=sources)
    config, before = with_first_stage(config, run, weights)

    # 2. The workdir, which is ours alone, and the record of what runs in it.
    with workdir.claimed(run, config, fingerprint, initial=weights.sha256 if weights else None):
        if parallel.is_main():
            log_doubts(images)
            log_doubts(test_images)
        # 3. What is trained, on what, and what is watched.
        generator = contract.build(config)
        initial = weights.variables(generator, begins=True) if weights else before
        batches = training_batches(config, images, condition)
        if drawn is not None:
            batches = beside.Paired(batches, training_batches(config, drawn.train))
        progress = Progress(
            run,
            last=training.n_iters,
            log_every=training.log_freq,
            batch_size=training.batch_size,
            epoch_images=len(images),
            tensorboard=training.tensorboard,
        )
        seen = {"condition": test_condition, "drawn": drawn and drawn.test}
        watch = Watch(config, generator, run, test_images, progress, **seen)
        tasks = [Task(every(training.eval_freq), watch.evaluate)]
        if training.snapshot_sampling:
            tasks.append(Task(every(training.snapshot_freq), watch.draw))

        # 4. The loop, and what it has come to.
        state = fit(
            generator,
            batches,
            run,
            progress,
            seed=config.seed,
            last=training.n_iters,
            save_at=every(training.snapshot_freq_for_preemption, training.snapshot_freq),
            keep_every=training.snapshot_freq,
            steps_per_call=training.n_jitted_steps,
            tasks=tasks,
            initial=initial,
            begins=lambda state, left: warn_if_long(config, generator, state.averaged, left),
        )
        watch.look_back(int(state.step), state.averaged)
        return state


# ---------------------------------------------------------------------------- what goes in


def open_sets(config: ml_collections.ConfigDict) -> tuple[Images, Images]:
    """Return the training and the test images.

    Raises:
        FileNotFoundError: if there are none, with the ways to get some.
    """
    data = config.data
    options = {
        "num_channels": data.num_channels,
        "image_size": data.image_size,
        "scaling": data.scaling,
        "planes": data.planes,
    }
    try:
        return open_images(data.train_path, **options), open_images(data.test_path, **options)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}\nTwo ways to get images: simulate them, 'python -m sgm_jax.main "
            "--mode=simulate --config=...' with this config; or take the paper's, Zenodo record "
            "8300355, unpacked to the same folders. Your own: set --config.data.train_path and "
            "--config.data.test_path."
        ) from error


def open_conditions(
    config: ml_collections.ConfigDict, images: Images, test_images: Images
) -> tuple[Condition | None, Condition | None]:
    """Return what the training and the test images show, if the network sees it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not say of each image what it shows.
    """
    data, fields = config.data, tuple(config.model.condition)
    if not fields:
        return None, None

    def read(path: str, split: str, count: int) -> Condition:
        options = {"fields": fields, "particles": tuple(data.particles)}
        return open_condition(data.condition, path, split=split, count=count, **options)

    return (
        read(data.train_path, "train", len(images)),
        read(data.test_path, "test", len(test_images)),
    )


def fingerprint_of(images: Images, condition: Condition | None) -> str:
    """Return the fingerprint of images, and of what they show."""
    if condition is None:
        return images.fingerprint
    digest = hashlib.blake2b(images.fingerprint.encode(), digest_size=16)
    for name, values in sorted(condition.items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def check_pair(
    config: ml_collections.ConfigDict, images: Images, test_images: Images, *, begins: bool
) -> None:
    """Refuse a batch larger than the training set, and warn of test images from it.

    Raises:
        ValueError: with a batch that fits; only for a run that begins.
    """
    batch, count, devices = config.training.batch_size, len(images), parallel.device_count()
    if begins and batch > count:
        fits = count // devices * devices
        fix = f"set --config.training.batch_size={fits} or less" if fits else "add images"
        raise ValueError(
            f"--config.training.batch_size={batch} is larger than the training set, {count} images "
            f"in --config.data.train_path={config.data.train_path}; {fix}"
        )
    same, looked_at = shared(images, test_images)
    if same:
        LOGGER.warning(
            "%d of %d test images are also training images (--config.data.train_path=%s, "
            "--config.data.test_path=%s): the test loss will not show when the network learns "
            "images by heart; keep some images apart for the test",
            same,
            looked_at,
            config.data.train_path,
            config.data.test_path,
        )


def with_measured_std(
    config: ml_collections.ConfigDict, run: Path, images: Images, weights: Weights | None
) -> ml_collections.ConfigDict:
    """Return the configuration with the pixels' standard deviation, kept from the first start.

    That of weights to begin with is kept, too: their network was told this number.
    """
    config = config.copy_and_resolve_references()
    if config.data.std < 0:
        begun = workdir.read_config(run) if steps(run) else None
        if begun:
            config.data.std = workdir.stored_std(run, begun)
        elif weights:
            config.data.std = weights.config.data.std
        else:
            config.data.std = data_std(images, PixelScale.from_config(config.data))
    return config


def with_measured_range(
    config: ml_collections.ConfigDict, run: Path, condition: Condition | None
) -> ml_collections.ConfigDict:
    """Return the configuration with the range of the momenta, kept from the first start."""
    config = config.copy_and_resolve_references()
    if not config.data.momentum_range:
        begun = workdir.read_config(run) if steps(run) else None
        if begun:
            config.data.momentum_range = workdir.stored_range(run, begun)
        else:
            config.data.momentum_range = momentum_range(condition or {}, len(config.data.particles))
    return config


def with_measured_fields(
    config: ml_collections.ConfigDict, run: Path, images: Images, weights: Weights | None
) -> ml_collections.ConfigDict:
    """Return the configuration with what its family measures, kept from the first start.

    What was measured for weights to begin with is kept, too: it is what they were trained with.
    """
    config = config.copy_and_resolve_references()
    begun = workdir.read_config(run) if steps(run) else None
    fields = workdir.stored_by_family(begun) if begun else contract.measure(config, images)
    if weights and not begun:
        theirs = workdir.stored_by_family(workdir.flatten(weights.config))
        fields = {name: theirs[name] for name in fields}
    config.update_from_flattened_dict(fields)
    return config


def with_first_stage(
    config: ml_collections.ConfigDict, run: Path, weights: Weights | None
) -> tuple[ml_collections.ConfigDict, Variables | None]:
    """Return the configuration with the hash of the first stage, and what a new run begins with.

    A generator of one stage has none. A run that goes on has its first stage within, as weights to
    begin with have; for a new one it is trained now, if no finished one is named.

    Raises:
        FileNotFoundError: if ``model.first_stage`` is not there.
        ValueError: if it is unfinished, does not fit, or is another than that of the run.
        Interrupted: after SIGTERM or SIGINT, once the state of its training is saved.
    """
    stage = contract.first_stage(config)
    if stage is None:
        return config, None
    place, known, owner = first_stage.place_of(config, run), config.model.first_stage_hash, run
    if not known and weights:
        known, owner = weights.config.model.first_stage_hash, weights.path
    if known and not distributed.decided(place.exists):
        return _with_hash(config, known), None
    ours = not known and not config.model.first_stage
    if ours and not distributed.decided(lambda: first_stage.is_finished(stage, place)):
        LOGGER.info("first the first stage: %s", place)
        train(stage, place)
    frozen = first_stage.read(stage, place)
    if known:
        first_stage.check_hash(frozen, known, place=place, owner=owner)
    return _with_hash(config, frozen.hash), Variables({}, frozen.variables)


def _with_hash(config: ml_collections.ConfigDict, digest: str) -> ml_collections.ConfigDict:
    config = config.copy_and_resolve_references()
    config.model.first_stage_hash = digest
    return config


def training_batches(
    config: ml_collections.ConfigDict, images: Images, condition: Condition | None = None
) -> Batches:
    """Return this process's part of the seeded, endless stream of batches."""
    return Batches(
        images,
        batch_size=config.training.batch_size,
        seed=config.seed,
        random_flip=config.data.random_flip,
        scale=PixelScale.from_config(config.data),
        condition=condition,
        process_index=parallel.process_index(),
        process_count=parallel.process_count(),
    )


# ---------------------------------------------------------------------------- the loop

Cadence = Callable[[int], bool]


class Stream(Protocol):
    """Batches as a function of the step, such as :class:`sgm_jax.data.Batches`."""

    def at(self, step: int) -> dict[str, np.ndarray]:
        """Return this process's share of the global batch of a step."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Something to do with the averaged weights at certain steps, and at the last one."""

    due: Cadence
    work: Callable[[int, Variables], None]


def every(*intervals: int) -> Cadence:
    """Return when a step is a multiple of one of the intervals."""
    return lambda step: any(step % interval == 0 for interval in intervals)


def fit(
    trainable: Trainable,
    batches: Stream,
    run: Path,
    progress: Progress,
    *,
    seed: int,
    last: int,
    save_at: Cadence,
    keep_every: int,
    steps_per_call: int = 1,
    tasks: list[Task] | None = None,
    initial: Variables | None = None,
    begins: Callable[[TrainState, int], None] | None = None,
) -> TrainState:
    """Make updates until there are ``last`` of them; return the final state.

    Args:
        trainable: what is trained.
        batches: of this process.
        run: the workdir, held by :func:`sgm_jax.run.workdir.claimed`.
        progress: told the numbers of every step; it is closed at the end.
        seed: of everything random.
        last: number of updates.
        save_at: at which steps the state is saved, beside the last one.
        keep_every: checkpoints that are kept for good.
        steps_per_call: updates in one dispatch.
        tasks: what else is to be done.
        initial: what to begin with in place of random weights, where there is no checkpoint.
        begins: told the shapes of the state and how many updates are left, before anything is
            compiled.

    Raises:
        ValueError: if the steps that are left cannot be made in such dispatches.
        FloatingPointError: if a loss or a norm is not finite.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    # Until the first update is made, and after the last one, nothing is lost by leaving at once.
    with Stop(alone=parallel.process_count() == 1) as stop:
        stop.at_once = True
        store = Checkpoints(run, keep_every=keep_every)
        try:
            like = jax.eval_shape(trainable.initial_state, run_key(seed, Purpose.INITIALISATION))
            left = last - max(steps(run), default=0)
            if begins is not None and left > 0:
                begins(like, left)
            state = parallel.replicate(_first_state(trainable, like, seed, store, initial))
            first = int(state.step)
            if (last - first) % steps_per_call:
                raise ValueError(
                    f"--config.training.n_jitted_steps={steps_per_call} does not fit from step "
                    f"{first} to {last}; set it to 1"
                )
            update = parallel.train_function(trainable.train_step, steps_per_call=steps_per_call)
            key, step = run_key(seed, Purpose.TRAINING), first
            for batch in _stacks(batches, first, last, steps_per_call):
                began = time.perf_counter()
                with announced("compiling and making the first step", only=step == first):
                    state, metrics = update(state, key, batch)
                    # Waiting for the numbers of every step names the step that went wrong.
                    metrics = jax.device_get(metrics)
                stop.at_once = False
                step += steps_per_call
                progress.step(step, metrics, seconds=time.perf_counter() - began)
                stopping = parallel.stop_requested(stop.requested, step)
                if save_at(step) or step == last or stopping:
                    store.save(step, state)
                if stopping:
                    store.wait()
                    raise Interrupted(f"stopped by {stop.name}; the state of step {step} is saved")
                for task in tasks or []:
                    if task.due(step) or step == last:
                        task.work(step, state.averaged)
        finally:
            # Whatever happens, what was saved gets written.
            progress.close()
            store.close()
        if stop.requested:
            raise Interrupted(f"stopped by {stop.name}; the state of step {step} is saved")
    LOGGER.info("trained from step %d to %d; workdir %s", first, int(state.step), run)
    return state


def _first_state(
    trainable: Trainable, like: Any, seed: int, store: Checkpoints, initial: Variables | None
) -> TrainState:
    """Return the state of the newest checkpoint, or a new one; its weights depend on the seed."""
    state = store.restore_newest(like)
    if state is None:
        key = run_key(seed, Purpose.INITIALISATION)
        with announced("compiling and drawing the first weights"):
            state = jax.block_until_ready(jax.jit(trainable.initial_state)(key))
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        LOGGER.info("a new network of %s parameters", f"{size:,}")
        return state if initial is None else with_variables(state, initial)
    LOGGER.info("going on from the checkpoint of step %d", int(state.step))
    return state


def _stacks(batches: Stream, first: int, stop: int, each: int) -> Iterator[Any]:
    """Yield batches with a leading axis of the steps made in one dispatch."""
    stream = prefetch(batches, first, stop)
    for group in zip(*[stream] * each, strict=True):
        yield jax.tree.map(lambda *leaves: np.stack(leaves), *group)
