"""The folder ``<out>.partial`` of a data set in the making: its lock, its recipe, its chunks."""

import contextlib
import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from sgm_jax.simulation.dataset import RECIPE, changes

_LOCK, _CHUNKS, _DATA = "lock", "chunks", "data"
_RECIPE_DRAFT = f"{RECIPE}.tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Draft:
    """A data set in the making. Finished chunks stay in it until the data set is whole."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.data = folder / _DATA  # becomes the data set

    def chunk_path(self, split: str, number: int) -> Path:
        """Return the file of a finished chunk."""
        return self.folder / _CHUNKS / f"{split}-{number:06d}.npz"

    def prepare(self, recipe: dict) -> None:
        """Make the folder ready to go on: what is not a finished chunk goes.

        Raises:
            ValueError: if the folder holds the chunks of another recipe, or anything else.
        """
        path = self.folder / RECIPE
        advice = "delete it, or choose another output folder"
        if is_draft(self.folder):
            changed = changes(path, recipe)
            if changed:
                raise ValueError(
                    f"{self.folder} holds an unfinished data set of another recipe ({changed}): "
                    f"{advice}"
                )
        elif any(found.name not in (_LOCK, _RECIPE_DRAFT) for found in self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no {RECIPE}: {advice}")
        else:
            draft = self.folder / _RECIPE_DRAFT
            draft.write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")
            draft.rename(path)
        (self.folder / _CHUNKS).mkdir(exist_ok=True)
        for left in (self.folder / _CHUNKS).glob("*.tmp"):
            left.unlink(missing_ok=True)
        self.drop_data()
        self.data.mkdir()

    def drop_data(self) -> None:
        """Remove the data set in the making, but not the chunks it is made from."""
        if self.data.exists():
            shutil.rmtree(self.data)

    def remove_if_barren(self) -> None:
        """Remove the folder if it holds no finished chunk, so nothing worth keeping."""
        chunks = self.folder / _CHUNKS
        if chunks.is_dir() and not any(chunks.glob("*.npz")):
            self.remove()

    def remove(self) -> None:
        """Remove the folder with all that a run puts there, its mark, the recipe, last."""
        for name in (_DATA, _CHUNKS):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)
        for name in (_RECIPE_DRAFT, _LOCK, RECIPE):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in it, or it is gone already
            self.folder.rmdir()


def is_draft(folder: Path) -> bool:
    """Return whether a run has left ``folder``, so that it may be removed."""
    return (folder / RECIPE).is_file()


def draft_folder(out: Path) -> Path:
    """Return the folder in which the data set ``out`` is made."""
    return out.with_name(f"{out.name}.partial")


@contextlib.contextmanager
def lock_draft(out: Path) -> Iterator[Draft]:
    """Hold the draft of ``out`` against other processes; the system lets go if this one dies.

    Raises:
        ValueError: if another process holds it.
    """
    folder = draft_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is making {out} in {folder}: wait for it, or choose another "
                "output folder"
            ) from None
        yield Draft(folder)


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free_mb = shutil.disk_usage(folder.parent).free / 1e6
        raise OSError(
            error.errno,
            f"the disk of {folder} is full, or a quota reached ({error.strerror}; {free_mb:.0f} MB "
            "free). Finished chunks are kept there: make room and give the same command again",
        ) from error
