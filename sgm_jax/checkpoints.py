"""Checkpoints of a training run: the only module that imports Orbax.

``<workdir>/checkpoints/<step>/`` appears when it is complete, never before. The newest two are kept
for a restart, and every ``keep_every`` steps for good.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sgm_jax import parallel

Tree = Any
# The name that Orbax gives to the only item of a step.
ITEM = "default"


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: Path, *, keep_every: int):
        """Open or create the folder, and clear what an interrupted write left in it."""
        self.folder = Path(workdir).absolute() / "checkpoints"
        policy = checkpoint_managers.AnyPreservationPolicy(
            [checkpoint_managers.LatestN(2), checkpoint_managers.EveryNSteps(keep_every)]
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy, cleanup_tmp_directories=True
            ),
        )

    def latest(self) -> int | None:
        """Return the step of the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def save(self, step: int, state: Tree) -> None:
        """Write a state in the background; it may be changed as soon as this returns."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(parallel.to_host(state)))

    def restore(self, step: int, like: Tree) -> Tree:
        """Return the state of a step, with the structure of ``like``.

        Raises:
            ValueError: if the checkpoint does not hold such a state.
        """
        with _fits(self.folder / str(step)):
            return self._manager.restore(step, args=ocp.args.StandardRestore(_target(like)))

    def wait(self) -> None:
        """Return when everything saved is on disk; raise what went wrong while writing."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish writing and release the folder."""
        self._manager.close()


def steps(workdir: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a workdir, oldest first."""
    folder = Path(workdir).absolute() / "checkpoints"
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def load(workdir: Path, step: int, like: Tree) -> Tree:
    """Return the state of one step of a finished or running workdir, reading only.

    Args:
        workdir: holds ``checkpoints``.
        step: which one.
        like: a state of the same structure; its leaves need only have shape and dtype.

    Raises:
        FileNotFoundError: with the steps that there are.
        ValueError: if the checkpoint does not hold such a state.
    """
    if step not in steps(workdir):
        there = ", ".join(map(str, steps(workdir))) or "none"
        raise FileNotFoundError(f"{workdir} has no checkpoint of step {step}; there are: {there}")
    folder = Path(workdir).absolute() / "checkpoints" / str(step) / ITEM
    with ocp.StandardCheckpointer() as checkpointer, _fits(folder):
        return checkpointer.restore(folder, _target(like))


def _target(like: Tree) -> Tree:
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)


@contextlib.contextmanager
def _fits(folder: Path) -> Iterator[None]:
    """Say which checkpoint it is that does not hold such a state."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"checkpoint {folder} does not fit this config's network: {error}"
        ) from error
