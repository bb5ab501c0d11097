"""One process at a time in a folder."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from sgm_jax.run.files import read_object, write_json
from sgm_jax.run.log import LOGGER

FILE, HOLDER = "lock", "lock.json"
# What file systems without locks answer: some network, cluster and user-space file systems.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(folder: Path, *, fix: str) -> Iterator[None]:
    """Hold a folder, which is made if needed, for this process.

    The operating system releases the lock when the process ends, however it ends, so a killed run
    holds nothing. Between hosts the lock is as good as their network file system. Where the file
    system has no locks, this warns and goes on.

    Args:
        folder: the folder.
        fix: what to do if it is in use, for the message.

    Raises:
        ValueError: if another process holds the folder, with the process and its host.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # filelock's own fallback leaves a file that would block the folder after a kill.
    lock = filelock.FileLock(folder / FILE, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(
            f"{folder} is in use by another run ({_holder(folder)}); wait for it, stop it, or {fix}"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        LOGGER.warning(
            "%s is on a file system without locks (%s): make sure that no other run uses it",
            folder,
            getattr(error, "strerror", None) or error,
        )
    try:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
        write_json(folder / HOLDER, holder)
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    """Say which process holds a folder; it may not have written that yet."""
    try:
        holder = read_object(folder / HOLDER, fix="")
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "just started"
