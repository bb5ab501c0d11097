"""Images of ROOT files: trees of larcv2, and branches of numbers. Needs the extra ``root``."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data.arrays import spool

_BLOCK_BYTES = 2**26
_MOST_LOOKED_AT = 500
_MOST_LISTED = 12
# A list of fewer numbers that happens to be a square is hardly an image.
_SMALLEST_FLAT_IMAGE = 64
_TREES = ("TTree", "ROOT::RNTuple")
# Where larcv2 keeps the pixels of the images of an event, column after column, and their sizes.
_PIXELS, _ROWS, _COLUMNS = "_image_v._img", "_image_v._meta._row_count", "_image_v._meta._col_count"


class _Refused(ValueError):
    """Says all that is to be said."""


@dataclass(frozen=True)
class _Branch:
    """A branch whose entries may be images, and which plane of them is read."""

    tree: Any
    name: str
    plane: int | None = None

    @property
    def is_larcv(self) -> bool:
        return self.name.endswith(_PIXELS)

    @property
    def is_flat(self) -> bool:
        return self._column(self.name, 0, 1).ndim == 2

    def read(self, start: int, stop: int, source: str) -> np.ndarray:
        """Return the images of these entries, ``[n, H, W]`` or ``[n, planes, H, W]``.

        Raises:
            ValueError: they are no images of one size.
        """
        block = self._column(self.name, start, stop)
        if self.is_larcv:
            return self._read_larcv(block, start, stop, source)
        array = _rectangular(block, start, source)
        if array.ndim == 2:
            side = math.isqrt(array.shape[1])
            if side**2 != array.shape[1]:
                raise _Refused(
                    f"{source}: {array.shape[1]} numbers an entry are no square image; write them "
                    "as rows and columns, such as float adc[64][32]"
                )
            array = array.reshape(len(array), side, side)
        if self.plane is None:
            return array
        if array.ndim != 4 or self.plane >= array.shape[1]:
            raise _Refused(f"{source}: entries of shape {array.shape[1:]} have no such plane")
        return array[:, self.plane]

    def _read_larcv(self, block: Any, start: int, stop: int, source: str) -> np.ndarray:
        stem = self.name.removesuffix(_PIXELS)
        sizes = [
            _rectangular(self._column(stem + key, start, stop), start, source)
            for key in (_ROWS, _COLUMNS)
        ]
        rows, columns = (size.astype(np.int64) for size in sizes)
        planes = range(rows.shape[1])
        if not planes:
            raise _Refused(f"{source}: entry {start} holds no images")
        if self.plane is not None:
            if self.plane not in planes:
                raise _Refused(f"{source}: there are planes 0..{len(planes) - 1} only")
            planes = [self.plane]
            block = block[:, self.plane : self.plane + 1]
        shapes = np.unique(np.stack([rows, columns], -1)[:, planes].reshape(-1, 2), axis=0)
        if len(shapes) != 1:
            text = ", ".join(f"{height}x{width}" for height, width in shapes[:5])
            raise _Refused(
                f"{source}: not images of one size but {text or 'none'}; name one plane, as in "
                "::TREE/0, or crop them to one size"
            )
        if len(planes) not in (1, 3):
            raise _Refused(f"{source}: {len(planes)} planes an event; name one, as in ::TREE/0")
        height, width = shapes[0]
        pixels = _rectangular(block, start, source)
        if pixels.shape[2] != height * width:
            raise _Refused(
                f"{source}: {pixels.shape[2]} pixels an image, and its size is {height}x{width}"
            )
        images = pixels.reshape(len(pixels), len(planes), width, height).swapaxes(2, 3)
        return images[:, 0] if len(planes) == 1 else images

    def _column(self, name: str, start: int, stop: int) -> Any:
        return self.tree[name].array(entry_start=start, entry_stop=stop)


def read_root(path: Path, *, member: str | None) -> np.ndarray:
    """Unpack the images of a ROOT file to a temporary file and map it.

    They are the images of a larcv2 tree (``image2d_*_tree``; row and column as larcv2 counts them),
    or the entries of a branch of numbers: ``[H][W]``, ``[3][H][W]``, vectors of vectors, or
    H x H numbers row by row. Trees and RNTuples are read.

    Args:
        path: the file.
        member: ``TREE/BRANCH``, ``TREE`` if only one of its branches may hold images, or None if
            only one of the file may. A number behind it, ``TREE/2``, is one plane of each entry.

    Raises:
        ModuleNotFoundError: uproot is not installed.
        ValueError: a damaged file, no clear choice of branch, or entries that are no images of one
            size; the message lists what may be read.
        OSError: too little room for the temporary file.
    """
    uproot = _uproot(path)
    with _undamaged(path):
        file = uproot.open({str(path): None})
    with file:
        with _undamaged(path):
            kinds = file.classnames(recursive=True, cycle=False)
            trees = {name: file[name] for name, kind in kinds.items() if kind in _TREES}
            branch = _choose(trees, path, member and member.strip("/"))
        source = f"{path}::{member or branch.name}"
        total = branch.tree.num_entries
        if not total:
            raise ValueError(f"{source}: holds no entries; was it written completely?")
        try:
            with _undamaged(source):
                first = branch.read(0, 1, source)
        except ValueError as error:
            raise ValueError(f"{error}; {_listing(_candidates(trees))}") from error
        step = max(1, _BLOCK_BYTES // max(first.nbytes, 1))
        blocks = _blocks(branch, first, total, step, source)
        return spool(blocks, (total, *first.shape[1:]), first.dtype, source=source)


def _uproot(path: Path) -> Any:
    try:
        import uproot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: ROOT files are read by uproot; run: pip install -e '.[root]'",
            name=error.name,
        ) from error
    return uproot


def _blocks(
    branch: _Branch, first: np.ndarray, total: int, step: int, source: str
) -> Iterator[np.ndarray]:
    for start in range(0, total, step):
        with _undamaged(source):
            block = branch.read(start, min(start + step, total), source)
            if block.shape[1:] != first.shape[1:]:
                raise _Refused(
                    f"{source}: entries {start} and after are {_text(block.shape[1:])}, and entry "
                    f"0 is {_text(first.shape[1:])}; crop them to one size"
                )
        yield np.ascontiguousarray(block)


def _choose(trees: dict[str, Any], path: Path, member: str | None) -> _Branch:
    """Choose the branch that holds the images; see `read_root`."""
    named = _named(trees, member) if member else ("", None)
    if isinstance(named, _Branch):
        return named
    candidates = _candidates(trees)
    problem = f"no branch {member!r}"
    if named is not None:
        tree, plane = named
        inside = {name: branch for name, (branch, _) in candidates.items() if _in_tree(name, tree)}
        larcv = {name: branch for name, branch in inside.items() if branch.is_larcv}
        for choice in (larcv, inside):
            if len(choice) == 1:
                return replace(next(iter(choice.values())), plane=plane)
        problem = f"{len(inside)} branches that may hold images"
    raise _Refused(f"{path}: {problem}; name one as {path}::TREE/BRANCH; {_listing(candidates)}")


def _in_tree(name: str, tree: str) -> bool:
    return not tree or name == tree or name.startswith(f"{tree}/")


def _listing(candidates: dict[str, tuple[_Branch, str]]) -> str:
    names = [f"{name} ({text})" for name, (_, text) in candidates.items()]
    if len(names) > _MOST_LISTED:
        names[_MOST_LISTED:] = [f"and {len(names) - _MOST_LISTED} more"]
    return f"can be read: {', '.join(names) or 'nothing in this file'}"


def _named(trees: dict[str, Any], member: str) -> _Branch | tuple[str, int | None] | None:
    """Return the branch that `member` names, or the tree and the plane in it."""
    for tree in sorted(trees, key=len, reverse=True):
        if member != tree and not member.startswith(f"{tree}/"):
            continue
        leaves = _leaves(trees[tree])
        rest = member[len(tree) + 1 :]
        plane = None
        if rest not in leaves and (number := rest.rpartition("/")[2]).isdigit():
            rest, plane = rest.rpartition("/")[0], int(number)
        # The end of a path is enough, and of larcv2's image branch also its beginning.
        matches = [
            leaf
            for leaf in leaves
            if f"/{leaf}".endswith(f"/{rest}")
            or (leaf.endswith(_PIXELS) and leaf.startswith(f"{rest}/"))
        ]
        if not rest:
            return tree, plane
        if len(matches) == 1:
            return _Branch(trees[tree], matches[0], plane)
    return None


def _candidates(trees: dict[str, Any]) -> dict[str, tuple[_Branch, str]]:
    """Return the branches that may hold images, by name, and what their first entry is."""
    candidates = {}
    for name, tree in trees.items():
        for leaf in _leaves(tree)[:_MOST_LOOKED_AT]:
            branch = _Branch(tree, leaf)
            if branch.is_larcv:
                candidates[name] = branch, "images of larcv2"
                continue
            with contextlib.suppress(Exception):  # no branch of numbers, or a damaged one
                shape = branch.read(0, 1, leaf).shape[1:]
                tiny = math.prod(shape) < _SMALLEST_FLAT_IMAGE and branch.is_flat
                if min(shape) > 1 and not tiny:
                    candidates[f"{name}/{leaf}"] = branch, _text(shape)
    return candidates


def _leaves(tree: Any) -> list[str]:
    keys = tree.keys(recursive=True)
    inner = {key.rpartition("/")[0] for key in keys}
    return [key for key in keys if key not in inner]


def _rectangular(block: Any, start: int, source: str) -> np.ndarray:
    """Return jagged numbers as an array, if all entries have one size."""
    import awkward

    entries = block
    while entries.ndim > 2:
        entries = awkward.flatten(entries, axis=-1)
    if entries.ndim == 2:
        counts = awkward.to_numpy(awkward.num(entries, axis=1))
        if np.any(counts != counts[0]):
            odd = int(np.argmax(counts != counts[0]))
            raise _Refused(
                f"{source}: entry {start + odd} holds {counts[odd]} numbers and entry {start} "
                f"{counts[0]}; images of one size are needed, crop or fill them"
            )
    try:
        array = awkward.to_numpy(block, allow_missing=False)
    except ValueError as error:
        raise _Refused(f"{source}: entries are no rows and columns of numbers") from error
    if array.dtype.kind not in "biuf" or array.ndim < 2:
        raise _Refused(f"{source}: entries are no images but {block.type.content}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _undamaged(source: Path | str) -> Iterator[None]:
    """Name the file or branch that uproot cannot read."""
    try:
        yield
    except _Refused:
        raise
    except Exception as error:  # uproot meets damage with errors of any kind
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{source}: damaged, no ROOT file, or written in a way that uproot does not read "
            f"({reason})"
        ) from error


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
