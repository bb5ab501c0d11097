"""What a trained run has: its configuration, its checkpoints, its averaged weights."""

from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from sgm_jax.config import flatten
from sgm_jax.generators import score
from sgm_jax.run import checkpoints, parallel, workdir
from sgm_jax.step import averaged_params


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
    found = workdir.differing(run, flatten(config) | {"seed": stored.get("seed")}, stored)
    if found:
        raise ValueError(f"this is not the configuration that {run} ran: {'; '.join(found)}")
    config = config.copy_and_resolve_references()
    config.data.std = workdir.stored_std(run, stored)
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


def load_ema(
    config: ml_collections.ConfigDict,
    goal: score.Objective,
    run: Path,
    step: int,
    *,
    ema_rate: float | None = None,
) -> Any:
    """Return the averaged parameters of a checkpoint; those of ``model.ema_rate`` if not given.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it does not fit the configuration, or the run keeps no such average.
    """
    rate = check_ema_rate(config, ema_rate)
    like = jax.eval_shape(lambda: score.initial_state(config, goal))
    state = checkpoints.load(run, step, like)
    main_rate, ema_rates = config.model.ema_rate, tuple(config.model.ema_rates)
    return averaged_params(state, rate, main_rate=main_rate, ema_rates=ema_rates)


def check_ema_rate(config: ml_collections.ConfigDict, ema_rate: float | None) -> float:
    """Return the rate of the average to take, ``model.ema_rate`` if not given.

    Raises:
        ValueError: with the rates of the averages that the run keeps.
    """
    kept = (config.model.ema_rate, *config.model.ema_rates)
    if ema_rate is not None and ema_rate not in kept:
        raise ValueError(
            f"--ema is {ema_rate}; this run keeps the averages: {', '.join(map(str, kept))} "
            "(config.model.ema_rate and ema_rates)"
        )
    return config.model.ema_rate if ema_rate is None else ema_rate
