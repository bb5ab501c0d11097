"""What a trained run has: its configuration and its checkpoints."""

from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from sgm_jax.run import checkpoints, distributed, parallel, workdir
from sgm_jax.run.workdir import differences, flatten


def matching_config(
    config: ml_collections.ConfigDict, run: Path, *, free: tuple[str, ...] = ()
) -> ml_collections.ConfigDict:
    """Return the configuration with what the run measured, if it is the run's.

    Args:
        config: of this start.
        run: the workdir.
        free: fields that may differ, beside the general ones.

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
    ours = flatten(config) | {"seed": stored.get("seed")}
    different = differences(ours, stored, free=free)
    if different:
        raise ValueError(f"this is not the configuration that {run} ran: {'; '.join(different)}")
    config = config.copy_and_resolve_references()
    config.data.std = workdir.stored_std(run, stored)
    config.data.momentum_range = workdir.stored_range(run, stored)
    config.update_from_flattened_dict(workdir.stored_by_family(stored))
    return config


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run, the same on all processes.

    Raises:
        FileNotFoundError: if there is none.
    """
    # While a run goes on, processes may see different ones.
    newest = int(parallel.broadcast(np.int32(max(checkpoints.steps(run), default=-1))))
    if newest < 0:
        raise FileNotFoundError(f"{run} holds no checkpoint yet; let it train to its first one")
    return newest


def load_state(trainable: Any, run: Path, step: int) -> Any:
    """Return the state of a checkpoint.

    Args:
        trainable: a :class:`sgm_jax.generator.Trainable`, which knows the shapes.
        run: the workdir.
        step: of the checkpoint.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it does not fit the configuration.
    """
    like = jax.eval_shape(trainable.initial_state, jax.random.key(0))
    return checkpoints.load(run, step, like)


def state_hash(trainable: Any, run: Path, step: int) -> str:
    """Return what a checkpoint is known by, wherever its folder lies: the hash of its numbers.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it does not fit the configuration, where it has to be read.
    """
    folder = Path(run) / "checkpoints"
    # It is kept beside the checkpoint; that of one that was just saved may still be computed.
    if distributed.decided(lambda: step in checkpoints.expected(folder)):
        return checkpoints.expected(folder).get(step, "")
    return checkpoints.digest(load_state(trainable, run, step))
