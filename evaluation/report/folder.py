"""The folder of a report: whether it is free, and what a stopped report has left in it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sgm_jax.run.parts import RECIPE, Parts, differences, is_claimed, open_parts

PARTIAL = "partial"


def check_free(out: Path, *, result: str, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an unfinished report.

    Args:
        out: the folder.
        result: the file that a finished report has.
        overwrite: whether a finished report may be replaced.

    Raises:
        ValueError: with what it holds.
    """
    finished = (out / result).is_file()
    if (overwrite and finished) or not out.exists() or is_claimed(out / PARTIAL):
        return
    if not out.is_dir() or any(out.iterdir()):
        fix = (
            "a finished report: add --overwrite" if finished else "no report: choose another --out"
        )
        raise ValueError(f"{out} already exists and holds {fix}")


@contextlib.contextmanager
def open_work(
    work: Path | str | None, recipe: Mapping[str, Any], *, overwrite: bool, fix: str
) -> Iterator[Parts]:
    """Hold the finished parts of a report.

    Args:
        work: where they are kept; None for a folder that is gone afterwards.
        recipe: what the report is made of.
        overwrite: whether parts of another report may be removed.
        fix: what to do if there are some, for the message.

    Raises:
        ValueError: if they are of another report, or another process holds the folder.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(work or stack.enter_context(tempfile.TemporaryDirectory()))
        if overwrite and is_claimed(folder) and differences(recipe, folder / RECIPE, fix=fix):
            shutil.rmtree(folder)
        yield stack.enter_context(open_parts(folder, recipe, fix=fix))
