"""What was in a checkpoint when it was saved, so that a damaged one is recognised.

Orbax finds a file that is missing or too short, but not every flipped bit: the hash of each saved
state is kept beside them, one JSON line a save, the last line of a step being the valid one.
"""

import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

Tree = Any
FILE = "digests.jsonl"


def digest(tree: Tree) -> str:
    """Return a hash of the names, types, shapes and numbers of all leaves; they are on the host."""
    found = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


class Digests:
    """The hashes of the checkpoints in one folder; they are computed in a thread of their own."""

    def __init__(self, folder: Path):
        """Nothing is read or written yet."""
        self.path = Path(folder) / FILE
        self._worker = ThreadPoolExecutor(1)
        self._pending: list[Future] = []

    def add(self, step: int, tree: Tree) -> None:
        """Note the hash of a tree on the host that nobody changes any more."""
        self._pending.append(self._worker.submit(self._write, step, tree))

    def wait(self) -> None:
        """Return when all hashes are on disk; raise what went wrong."""
        for pending in self._pending:
            pending.result()
        self._pending.clear()

    def close(self) -> None:
        """Finish and end the thread."""
        self.wait()
        self._worker.shutdown()

    def _write(self, step: int, tree: Tree) -> None:
        line = json.dumps({"step": step, "blake2b": digest(tree)})
        with self.path.open("a") as stream:
            stream.write(line + "\n")


def expected(folder: Path) -> dict[int, str]:
    """Return the hash of each step that one is known for; a line cut short by a kill is skipped."""
    path = Path(folder) / FILE
    found: dict[int, str] = {}
    if not path.is_file():
        return found
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            found[int(entry["step"])] = str(entry["blake2b"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return found
