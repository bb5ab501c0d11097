"""Which files of a folder are the images? Whatever else lies there is named, never passed over."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

KINDS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}
ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".root")
SAMPLES = "samples.npz"
# The picture of many images that sampling writes beside them.
GRID = "grid.png"
_NAMED = 5
_LOGGER = logging.getLogger(__name__)


def picture_files(folder: Path, *, inner: bool) -> list[Path]:
    """List the PNG, TIFF or JPEG files of `folder` in natural order, ``a_2.png`` before ``a_10``.

    Files that are no images are left out, and the log says which.

    Args:
        folder: where to look.
        inner: take those of all folders in it, too.

    Raises:
        ValueError: there is none; or there are several kinds, arrays of images, or folders with
            images beside them, of which some would be left out.
    """
    _refuse_other_folders(folder)
    files = sorted(_files(folder, inner=inner), key=lambda path: _natural_key(path, folder))
    pictures = [path for path in files if _kind(path) and path.name != GRID]
    arrays = [path for path in files if path.suffix.lower() in ARRAYS]
    folders = [] if inner else [path for path in _folders(folder) if _holds_images(path)]
    everything = f'"{folder}/**" for all folders in it'
    if not pictures:
        choices = [str(path) for path in (*arrays, *folders)]
        hint = f"; give {_some(choices, ' or ')}" if choices else ""
        hint += f", or {everything}" if folders else ""
        raise ValueError(
            f"{folder}: no *.png, *.tif or *.jpg files{' in it or its folders' * inner}{hint}"
        )
    kinds = Counter(_kind(path) for path in pictures)
    if len(kinds) > 1:
        counts = " and ".join(f"{number} {kind}" for kind, number in kinds.items())
        raise ValueError(f"{folder}: {counts} files; put one kind of images into a folder")
    if arrays:
        raise ValueError(
            f"{folder}: {len(pictures)} {_kind(pictures[0])} files beside {_some(arrays)}; give "
            "the file with the images, or a folder that has the pictures only"
        )
    if folders:
        raise ValueError(
            f"{folder}: {len(pictures)} {_kind(pictures[0])} files beside folders with images "
            f"({_some([path.name for path in folders])}); give {everything}, or a folder with "
            "images only"
        )
    others = [path for path in files if not _kind(path) or path.name == GRID]
    if others:
        names = _some([str(path.relative_to(folder)) for path in others])
        _LOGGER.info("%s: %d images; left out: %s", folder, len(pictures), names)
    return pictures


def _refuse_other_folders(folder: Path) -> None:
    """Refuse folders of this package whose pictures show images and are none.

    Raises:
        ValueError: with what to give in their place.
    """
    if _is_run(folder) or (folder.name == "samples" and _is_run(folder.parent)):
        run = folder if _is_run(folder) else folder.parent
        drawn = sorted(path.parent for path in run.glob(f"samples/*/{SAMPLES}"))
        fix = f"give {_some(drawn, ' or ')}" if drawn else "draw some with --mode=sample"
        raise ValueError(f"{folder}: belongs to the training run {run}, its images are not; {fix}")
    if (folder / "parts").is_dir() and any((folder / "parts").glob("*.npy")):
        raise ValueError(
            f"{folder}: unfinished; what made it goes on with the same command, for example "
            "--mode=sample"
        )
    if (folder / "report.html").is_file():
        raise ValueError(f"{folder}: a report, whose pictures show images; give the images")


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "checkpoints").is_dir()


def _kind(path: Path) -> str | None:
    return KINDS.get(path.suffix.lower())


def _files(folder: Path, *, inner: bool) -> Iterator[Path]:
    """Yield what is in a folder, apart from hidden files; a folder named like an image, too."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # Links may go round in circles.
        folders[:] = [] if real in seen else [name for name in folders if not _hidden(name)]
        yield from (Path(place, name) for name in folders if _kind(Path(name)))
        if real not in seen:
            yield from (Path(place, name) for name in names if not _hidden(name))
        seen.add(real)
        if not inner:
            return


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _holds_images(folder: Path) -> bool:
    return any(_kind(path) or path.suffix.lower() in ARRAYS for path in _files(folder, inner=True))


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _natural_key(path: Path, folder: Path) -> list:
    return [_natural_part(part) for part in path.relative_to(folder).parts]


def _natural_part(name: str) -> tuple:
    # Odd places are the digits, so keys compare text with text and number with number.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def _some(things: list, joint: str = ", ") -> str:
    """Return the first few as a text."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return joint.join(str(thing) for thing in things[:_NAMED]) + more
