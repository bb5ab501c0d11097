"""Checkpoints of a training run: the only module that imports Orbax.

``<workdir>/checkpoints/<step>/`` appears when it is complete, never before. The newest two are kept
for a restart, and every ``keep_every`` steps one for good. Every state read is compared with the
hash of the state saved; a damaged checkpoint is renamed to ``<step>.damaged``.
"""

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers
from orbax.checkpoint._src.serialization import tensorstore_utils

from sgm_jax.run import parallel
from sgm_jax.run.files import append_json
from sgm_jax.run.lock import has_locks
from sgm_jax.run.log import LOGGER

Tree = Any
# The name that Orbax gives to the only item of a step.
ITEM = "default"
# Orbax notices a file that is missing or too short, but not every flipped bit. So the hash of each
# saved state is kept in this file, one JSON line for each save; the last line of a step is valid.
DIGESTS = "digests.jsonl"


class DamagedError(ValueError):
    """A checkpoint cannot be read, or holds other numbers than were saved."""


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: Path, *, keep_every: int):
        """Open or create the folder, and clear what an interrupted write left in it."""
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._keep_every = keep_every
        _drop_unfinished(self.folder)
        self._manager = self._open()
        if not has_locks(self.folder):
            _lock_by_files()
        # A thread that writes hashes, and what it has not finished yet.
        self._hashing = ThreadPoolExecutor(1)
        self._hashes: list[Future] = []

    def _open(self) -> ocp.CheckpointManager:
        policy = checkpoint_managers.AnyPreservationPolicy(
            [checkpoint_managers.LatestN(2), checkpoint_managers.EveryNSteps(self._keep_every)]
        )
        return ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy, cleanup_tmp_directories=True
            ),
        )

    def save(self, step: int, state: Tree) -> None:
        """Write a state in the background; it may be changed as soon as this returns."""
        if step in self._manager.all_steps():
            return
        kept = parallel.to_host(state)
        if parallel.is_main():
            self._hashes.append(self._hashing.submit(_write_digest, self.folder, step, kept))
        with self._writing():
            self._manager.save(step, args=ocp.args.StandardSave(kept))

    def restore_newest(self, like: Tree) -> Tree | None:
        """Return the newest intact state, with the structure of ``like``; None without any.

        Damaged checkpoints are renamed with a warning, and the run makes their steps again.

        Raises:
            DamagedError: if there are checkpoints and all of them are damaged.
        """
        damaged: dict[int, DamagedError] = {}  # newest first
        for step in reversed(_agreed_steps(self.folder.parent)):
            try:
                state = load(self.folder.parent, step, like)
            except DamagedError as error:
                damaged[step] = error
                continue
            self._set_aside(damaged)
            return state
        for error in damaged.values():
            raise error
        return None

    def _set_aside(self, damaged: dict[int, DamagedError]) -> None:
        if not damaged:
            return
        self._manager.close()
        for step, error in damaged.items():
            LOGGER.warning("%s; going on from the one before", error)
            if parallel.is_main():
                _rename_damaged(self.folder / str(step))
        parallel.wait_for_all()
        self._manager = self._open()

    def wait(self) -> None:
        """Return when everything saved is on disk; raise the error of a failed write."""
        with self._writing():
            self._manager.wait_until_finished()
            self._wait_for_hashes()

    def _wait_for_hashes(self) -> None:
        for pending in self._hashes:
            pending.result()
        self._hashes.clear()

    def close(self) -> None:
        """Finish writing and release the folder."""
        with self._writing():
            try:
                self._manager.close()
            finally:
                self._wait_for_hashes()
                self._hashing.shutdown()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Shorten the error of a failed write, and say which checkpoints there are."""
        try:
            yield
        except (ValueError, OSError) as error:
            reason = str(error).partition(" [tensorstore_spec")[0]
            free_mb = shutil.disk_usage(self.folder).free / 1e6
            kept = ", ".join(map(str, steps(self.folder.parent))) or "none"
            raise OSError(
                f"a checkpoint could not be written to {self.folder} ({free_mb:.0f} MB are free "
                f"there): {reason}. Complete checkpoints: {kept}; make room and repeat the command"
            ) from error


def _lock_by_files() -> None:
    """Let TensorStore, which writes the arrays, hold its files by other files, not by locks.

    It locks what it writes although each file has one writer. No option of Orbax reaches this. Lock
    files that a kill leaves are in the unfinished checkpoint, which is dropped as a whole.
    """
    for context in (
        tensorstore_utils._BASE_TS_CONTEXT,
        tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT,
    ):
        context["file_io_locking"] = {"mode": "lockfile"}


def steps(workdir: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a workdir, oldest first."""
    folder = Path(workdir).absolute() / "checkpoints"
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def load(workdir: Path, step: int, like: Tree) -> Tree:
    """Return the state of one step of a finished or running workdir, reading only.

    Args:
        workdir: holds ``checkpoints``.
        step: its number.
        like: a state of the same structure; its leaves need only a shape and a dtype.

    Raises:
        FileNotFoundError: with the steps that exist.
        DamagedError: if the checkpoint holds another kind of state, or not the one saved.
    """
    folder = Path(workdir).absolute() / "checkpoints" / str(step)
    error = None
    try:
        state = _read(folder, like)
    except (DamagedError, FileNotFoundError) as raised:
        error = raised
    # A process that went on without the others would wait for them in vain.
    failed = parallel.where(error is not None)
    if failed:
        raise error or DamagedError(
            f"checkpoint {folder} cannot be read by process {failed[0] + 1}: see its log"
        )
    return state


def _read(folder: Path, like: Tree) -> Tree:
    """Read a checkpoint, for this process alone."""
    existing, step = steps(folder.parent.parent), int(folder.name)
    if step not in existing:
        names = ", ".join(map(str, existing)) or "none"
        raise FileNotFoundError(
            f"{folder.parent.parent} has no checkpoint of step {step}; there are: {names}"
        )
    index = parallel.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )
    with (
        ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer,
        _readable(folder),
    ):
        _check_shapes(checkpointer.metadata(folder / ITEM).item_metadata, like)
        empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        state = checkpointer.restore(folder / ITEM, empty)
    known = expected(folder.parent).get(step)
    if known is not None and known != digest(state):
        raise DamagedError(
            f"checkpoint {folder} is damaged: its numbers are not those that were saved"
        )
    return state


def _check_shapes(stored: Tree, like: Tree) -> None:
    """Refuse another network before its arrays, which may be huge, are read."""
    leaves = {leaf.name: leaf for leaf in jax.tree.leaves(stored)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(like):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name not in leaves:
            raise ValueError(f"it has no {name}")
        shape, parts = tuple(leaves[name].shape), leaves[name].storage.chunk_shape
        if shape != leaf.shape:
            raise ValueError(f"its {name} is {shape}, the network has {leaf.shape}")
        if math.prod(parts) > max(math.prod(shape), 1):
            raise ValueError(f"its {name} of {shape} is stored in parts of {tuple(parts)}")


def _agreed_steps(workdir: Path) -> list[int]:
    """Return the steps of the complete checkpoints that process 0 sees."""
    here = steps(workdir)
    count = int(parallel.broadcast(np.int32(len(here))))
    return [int(step) for step in parallel.broadcast(np.resize(np.array(here, np.int32), count))]


def _drop_unfinished(folder: Path) -> None:
    """Report checkpoints that the previous run had not finished writing; Orbax removes them."""
    for path in sorted(folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*")):
        step = path.name.partition(".")[0]
        LOGGER.warning("the checkpoint of step %s was not written completely: removed", step)
        if path.is_symlink() and parallel.is_main():
            path.unlink()  # Orbax would not remove a link; what it points to is not ours


def _rename_damaged(folder: Path) -> None:
    """Rename a damaged checkpoint, under a name that is not taken."""
    free = (folder.with_name(f"{folder.name}.damaged{suffix}") for suffix in ("", *range(2, 1000)))
    folder.rename(next(path for path in free if not path.exists()))


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Name the checkpoint that cannot be read, or holds another kind of state."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise DamagedError(
            f"checkpoint {folder} is damaged or not of this config's network: {error}"
        ) from error


def digest(tree: Tree) -> str:
    """Return a hash of the names, types, shapes and numbers of all leaves; they are on the host."""
    hashed = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def _write_digest(folder: Path, step: int, tree: Tree) -> None:
    """Add the hash of a tree on the host, which must not change any more."""
    append_json(folder / DIGESTS, {"step": step, "blake2b": digest(tree)})


def expected(folder: Path) -> dict[int, str]:
    """Return the known hash of each step; a line that a kill has cut short is skipped."""
    path = Path(folder) / DIGESTS
    hashes: dict[int, str] = {}
    if not path.is_file():
        return hashes
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            hashes[int(entry["step"])] = str(entry["blake2b"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return hashes
