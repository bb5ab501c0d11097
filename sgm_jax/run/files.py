"""JSON files that somebody else may have written: one object, or an error that names the file."""

import json
from pathlib import Path
from typing import Any

# Ours have some kilobytes.
LARGEST_BYTES = 2**24


def read_object(path: Path, *, fix: str) -> dict[str, Any]:
    """Return the content of a JSON file, whose outermost value is an object.

    Args:
        path: of the file.
        fix: what to do if it is damaged, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON, no object, too large, or has a name twice in one object.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise ValueError(f"{path} has {size} bytes, at most {LARGEST_BYTES} are read; {fix}")
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (a {type(content).__name__}, no object); {fix}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what programs would read differently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} is there twice")
    return content
