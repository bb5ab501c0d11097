"""One run in a workdir at a time."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

FILE = "lock"


@contextlib.contextmanager
def only_run(workdir: Path) -> Iterator[None]:
    """Hold a workdir for this process.

    The operating system lets go of the lock when the process ends, however it ends, so a dead run
    holds nothing. On a network file system it holds between hosts as far as that system does.

    Raises:
        ValueError: if another run holds it, with the process and the host.
    """
    path = Path(workdir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ValueError(
                f"{workdir} is in use by another run ({_holder(stream.read())}); wait for it, stop "
                "it, or choose another --workdir"
            ) from None
        stream.truncate(0)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        stream.write(
            json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now})
        )
        stream.flush()
        yield


def _holder(text: str) -> str:
    """Say who wrote the lock file; it may be caught before the writing."""
    try:
        said = json.loads(text)
        return f"process {said['process']} on {said['host']}, since {said['since']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "just started"
