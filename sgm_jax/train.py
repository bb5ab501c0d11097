"""The training story: images in, checkpoints out, resumable at any step.

A run is its workdir. Started again it goes on from its newest checkpoint and ends where it would
have ended uninterrupted, bit for bit: the data order, the noise and the dropout of a step depend
on the seed and the step only.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from sgm_jax.data import Batches, Images, PixelScale, data_std, open_images, prefetch
from sgm_jax.generators import score
from sgm_jax.reports import Reports
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.checkpoints import Checkpoints, steps
from sgm_jax.run.interruption import Interrupted, Stop
from sgm_jax.run.log import LOGGER
from sgm_jax.step import TrainState, train_step


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
    parallel.check_divisible(config.training.batch_size, "config.training.batch_size")
    parallel.check_divisible(config.eval.batch_size, "config.eval.batch_size")
    distributed.check_shared(run)
    workdir.check_workdir(run, config)
    images, test_images = open_sets(config)
    config = with_measured_std(config, run, images)
    fingerprint = images.fingerprint
    workdir.check_data(run, fingerprint)

    # 2. The workdir, which is ours alone, and the record of what runs in it.
    with workdir.claimed(run, config, fingerprint):
        return _train(config, run, images, test_images)


def _train(
    config: ml_collections.ConfigDict, run: Path, images: Images, test_images: Images
) -> TrainState:
    # 3. Network, optimiser, state: from the newest checkpoint if there is one.
    goal = score.build(config)
    store = Checkpoints(run, keep_every=config.training.snapshot_freq)
    state = parallel.replicate(_first_state(config, goal, store))
    first = int(state.step)

    # 4. Data, compiled functions, reports.
    batches = training_batches(config, images)
    update = _update_function(config, goal)
    reports = Reports(config, goal, run, test_images, len(images))

    # 5. The loop; whatever happens, what was saved gets written.
    try:
        with Stop() as stop:
            state = _loop(config, state, batches, update, reports, store, stop)
    finally:
        reports.close()
        store.close()
    LOGGER.info("trained from step %d to %d; workdir %s", first, int(state.step), run)
    return state


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
    }
    try:
        return open_images(data.train_path, **options), open_images(data.test_path, **options)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}\nTwo ways to get images: simulate them, 'python -m sgm_jax.main "
            "--mode=simulate --config=...' with this config; or take the paper's, Zenodo record "
            "8300355, unpacked to the same folders. Your own: set config.data.train_path and "
            "config.data.test_path."
        ) from error


def with_measured_std(
    config: ml_collections.ConfigDict, run: Path, images: Images
) -> ml_collections.ConfigDict:
    """Return the configuration with the pixels' standard deviation, kept from the first start."""
    config = config.copy_and_resolve_references()
    if config.training.objective == "edm" and config.data.std < 0:
        begun = workdir.read_config(run) if steps(run) else None
        config.data.std = (
            workdir.stored_std(run, begun)
            if begun
            else data_std(images, PixelScale.from_config(config.data))
        )
    return config


def training_batches(config: ml_collections.ConfigDict, images: Images) -> Batches:
    """Return this process's part of the seeded, endless stream of batches."""
    return Batches(
        images,
        batch_size=config.training.batch_size,
        seed=config.seed,
        random_flip=config.data.random_flip,
        scale=PixelScale.from_config(config.data),
        process_index=parallel.process_index(),
        process_count=parallel.process_count(),
    )


def _first_state(
    config: ml_collections.ConfigDict, goal: score.Objective, store: Checkpoints
) -> TrainState:
    like = jax.eval_shape(lambda: score.initial_state(config, goal))
    state = store.restore_newest(like)
    if state is None:
        state = score.initial_state(config, goal)
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        LOGGER.info("a new network of %s parameters", f"{size:,}")
        return state
    LOGGER.info("going on from the checkpoint of step %d", int(state.step))
    return state


def _update_function(config: ml_collections.ConfigDict, goal: score.Objective) -> Any:
    step = train_step(goal.train_loss, score.optimizer(config), config.model.ema_rate)
    return parallel.train_function(step, steps_per_call=config.training.n_jitted_steps)


def _stacks(batches: Batches, first: int, stop: int, each: int) -> Iterator[Any]:
    """Yield batches with a leading axis of the steps made in one dispatch."""
    stream = prefetch(batches, first, stop)
    for group in zip(*[stream] * each, strict=True):
        yield jax.tree.map(lambda *leaves: np.stack(leaves), *group)


def _loop(
    config: ml_collections.ConfigDict,
    state: TrainState,
    batches: Batches,
    update: Any,
    reports: Reports,
    store: Checkpoints,
    stop: Stop,
) -> TrainState:
    training = config.training
    first, last, each = int(state.step), training.n_iters, training.n_jitted_steps
    if (last - first) % each:
        raise ValueError(
            f"from step {first} to {last} config.training.n_jitted_steps {each} does not fit; "
            "set it to 1"
        )
    key = jax.random.fold_in(jax.random.key(config.seed), score.TRAINING)
    step = first

    def due(every: int) -> bool:
        return step % every == 0 or step == last

    for batch in _stacks(batches, first, last, each):
        began = time.perf_counter()
        state, metrics = update(state, key, batch)
        step += each
        # Waiting for the numbers of every step names the step that went wrong.
        metrics = jax.device_get(metrics)
        reports.step(step, metrics, seconds=time.perf_counter() - began)
        stopping = parallel.stop_requested(stop.requested, step)
        if due(training.snapshot_freq_for_preemption) or due(training.snapshot_freq) or stopping:
            store.save(step, state)
        if stopping:
            store.wait()
            raise Interrupted(f"stopped by {stop.name}; the state of step {step} is saved")
        if due(training.eval_freq):
            reports.evaluate(step, state.ema_params)
        if due(training.snapshot_freq) and training.snapshot_sampling:
            reports.draw(step, state.ema_params)
    return state
