"""Finished parts of a long computation, kept on disk until the whole of it is finished.

A computation that was killed goes on from the parts that it had finished::

    with open_parts(folder / "parts", recipe, fix="choose another --out") as parts:
        for name in parts.missing(names):
            parts.save(name, compute(name))
        write_results(parts.load(name) for name in names)
        parts.remove()
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.run import distributed
from sgm_jax.run.files import TEMPORARY, read_arrays, read_object, write_arrays, write_json
from sgm_jax.run.lock import FILE, HOLDER, locked

RECIPE = "recipe.json"
_OWN_FILES = (RECIPE, FILE, HOLDER)


class Parts:
    """The parts in a folder that this process holds; see :func:`open_parts`.

    A part is one file, named by its path relative to the folder: ``.npy`` for an array, ``.npz``
    for named arrays, ``.json`` for JSON values. Its name appears when all of it is on the disk.
    """

    def __init__(self, folder: Path):
        """Take a folder that has been claimed."""
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the file of a part, whether it exists or not."""
        return self.folder / name

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the parts that are not finished, the same on all processes."""
        exist = distributed.existing([self.path(name) for name in names])
        return [name for name, exists in zip(names, exist, strict=True) if not exists]

    def save(self, name: str, content: Any) -> None:
        """Write a part; of several processes only the first one writes."""
        if not distributed.is_first():
            return
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        (write_json if path.suffix == ".json" else write_arrays)(path, content)

    def load(self, name: str) -> Any:
        """Return a part.

        Raises:
            FileNotFoundError: if it is not finished.
            ValueError: if its file was damaged since.
        """
        path = self.path(name)
        fix = "delete it and repeat the command"
        if path.suffix != ".json":
            return read_arrays(path, fix=fix)
        try:
            return json.loads(path.read_text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error}); {fix}") from error

    def rows(self) -> dict[str, int]:
        """Return how many rows each finished array has, by name, without reading them.

        Raises:
            ValueError: if one was damaged since.
        """
        lengths = {}
        for path in sorted(self.folder.glob("*.npy")):
            try:
                lengths[path.name] = len(np.load(path, mmap_mode="r", allow_pickle=False))
            except (ValueError, OSError, EOFError, TypeError):
                lengths[path.name] = len(self.load(path.name))
        return lengths

    def remove(self) -> None:
        """Remove the folder; call it when the final files are in place."""
        if not distributed.is_first() or not self.folder.is_dir():
            return
        # The recipe goes last: until then the folder is recognised as ours.
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name == RECIPE):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # A network file system may keep the lock file, which is open, a little longer.
        with contextlib.suppress(OSError):
            self.folder.rmdir()


@contextlib.contextmanager
def open_parts(folder: Path, recipe: Mapping[str, Any], *, fix: str) -> Iterator[Parts]:
    """Hold the folder of the parts of one computation.

    If the block ends with an error before the first part is finished, the folder is removed.

    Args:
        folder: for nothing but these parts; made if needed.
        recipe: JSON values that decide what the parts hold.
        fix: what to do if the folder is in use or belongs to another recipe, for the message.

    Raises:
        ValueError: on all processes, if another process holds the folder, or if it holds the parts
            of another recipe or files that are not ours.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as stack:

        def claim() -> bool:
            stack.enter_context(locked(folder, fix=fix))
            _claim(folder, recipe, fix)
            return True

        distributed.decided(claim)
        parts = Parts(folder)
        try:
            yield parts
        except BaseException:
            if distributed.is_first() and not _contents(folder):
                parts.remove()
            raise


def is_claimed(folder: Path) -> bool:
    """Tell whether a computation has left its recipe, and so perhaps parts, in a folder."""
    return (Path(folder) / RECIPE).is_file()


def finished_count(path: Path, recipe: Mapping[str, Any], *, name: str, fix: str) -> int:
    """Return how many results a computation of this recipe has left, 0 if it has not ended.

    Args:
        path: JSON file that is written last, beside the results.
        recipe: what the results are to be made of, but for their number.
        name: of the number in the file.
        fix: what to do if they are of another recipe, for the message.

    Raises:
        ValueError: if the file is damaged or of another recipe, with the fields that differ.
    """
    path = Path(path)
    if not path.exists():
        return 0
    changes = differences(recipe, path, fix=fix)
    if changes:
        raise ValueError(f"{path.parent} is of another recipe ({'; '.join(changes)}): {fix}")
    number = read_object(path, fix=fix).get(name)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{path} is damaged ({name} is {number!r}); {fix}")
    return number


def differences(recipe: Mapping[str, Any], path: Path, *, fix: str) -> list[str]:
    """Return how a recipe differs from the one in a JSON file, as ``name: there, here``.

    Only the outermost names that ``recipe`` has are compared: the file may say more, such as how
    long it took.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged.
    """
    stored = read_object(path, fix=fix)
    recipe = json.loads(json.dumps(recipe))  # tuples become lists, as in the file
    try:
        there = _flat({name: stored[name] for name in recipe if name in stored})
        here = _flat(recipe)
    except RecursionError as error:
        raise ValueError(f"{path} is damaged (nested too deeply); {fix}") from error
    return [
        f"{name}: {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _claim(folder: Path, recipe: Mapping[str, Any], fix: str) -> None:
    """Mark an empty folder as this recipe's, or make sure that it is."""
    if is_claimed(folder):
        changes = differences(recipe, folder / RECIPE, fix=fix)
        if changes:
            raise ValueError(
                f"{folder} holds unfinished work of another recipe ({'; '.join(changes)}): {fix}"
            )
    elif _contents(folder):
        raise ValueError(f"{folder} is not empty and holds no {RECIPE}: {fix}")
    else:
        write_json(folder / RECIPE, recipe)
    for path in folder.rglob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _contents(folder: Path) -> list[Path]:
    """Return the files in a folder that are neither ours to manage nor unfinished."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in _OWN_FILES and path.suffix != TEMPORARY
    ]


def _flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted names."""
    flat = {}
    for name, value in recipe.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat.update(inner or {f"{prefix}{name}": value})
    return flat
