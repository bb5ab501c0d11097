"""Addresses such as ``gs://bucket``, which are not read or written: refused at the door.

A ``Path`` drops the second slash of an address, and would quietly make a folder ``./gs:/bucket``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Also within a value, as in --variant="name: --config.data.train_path=gs://...". A scheme has two
# letters at least: C:/ is a drive.
_ADDRESS = re.compile(r"(?:^|=)([A-Za-z][A-Za-z0-9+.-]+):/+")
_DOWNLOADS = ("http", "https", "ftp")
_MOUNT = (
    "mount the bucket and give the folder, as gcsfuse does (launch/tpu_pod.sh --bucket) for gs:// "
    "and mount-s3 for s3://"
)


def refuse_address(path: object, name: str = "this path") -> None:
    """Refuse a path that is an address.

    Args:
        path: text or a path.
        name: of what it was given for, for the message.

    Raises:
        ValueError: with the address and what to do instead.
    """
    address = _ADDRESS.search(str(path))
    if address is None:
        return
    scheme = address[1].lower()
    if scheme == "file":
        fix = "leave out file://"
    elif scheme in _DOWNLOADS:
        fix = "download it and give the file"
    else:
        fix = _MOUNT
    raise ValueError(f"{name} is {path}, an address, and only files and folders are used; {fix}")


def refuse_addresses(options: Mapping[str, Any]) -> None:
    """Refuse the settings of a command if one of them, at any depth, is an address.

    Args:
        options: by the name of the flag; nested for a configuration.

    Raises:
        ValueError: with the flag and the address.
    """
    for name, value in _leaves(options, ""):
        refuse_address(value, f"--{name}")


def _leaves(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in options.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield from ((f"{prefix}{name}", item) for item in value)
        else:
            yield f"{prefix}{name}", value
