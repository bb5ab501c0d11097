"""One process at a time in a folder, as far as its file system can tell."""

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from sgm_jax.run.address import refuse_address
from sgm_jax.run.files import read_object, write_json
from sgm_jax.run.log import LOGGER

if TYPE_CHECKING:
    import h5py

FILE, HOLDER = "lock", "lock.json"
# What file systems without locks answer: some network, cluster and user-space file systems.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(folder: Path, *, fix: str) -> Iterator[None]:
    """Hold a folder, which is made if needed, for this process.

    The operating system releases the lock when the process ends, however it ends, so a killed run
    holds nothing. Between hosts the lock is as good as their network file system. Where the file
    system has no locks, a run on this host that is alive is still noticed, by ``lock.json``; one on
    another host is only warned of.

    Args:
        folder: the folder.
        fix: what to do if it is in use, for the message.

    Raises:
        ValueError: if another process holds the folder, with the process and its host; or if the
            folder is an address.
    """
    refuse_address(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # filelock's own fallback leaves a file that would block the folder after a kill.
    lock = filelock.FileLock(folder / FILE, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(_in_use(folder, fix)) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        _without_lock(folder, fix, getattr(error, "strerror", None) or str(error))
    try:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
        write_json(folder / HOLDER, holder | {"born": _born(os.getpid())})
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def has_locks(folder: Path) -> bool:
    """Tell whether processes can lock files in a folder, with both kinds of locks of the system."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def open_hdf5(path: Path, mode: str = "r") -> "h5py.File":
    """Open an HDF5 file as h5py does, also on a file system without locks.

    HDF5's own lock keeps readers out of a file that is being written. Without it they are not.

    Raises:
        OSError: if it cannot be opened.
    """
    import h5py

    try:
        return h5py.File(path, mode)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return h5py.File(path, mode, locking=False)


def _without_lock(folder: Path, fix: str, reason: str) -> None:
    """Say what is not protected without a lock; refuse what can still be noticed.

    Raises:
        ValueError: if the process that holds the folder lives on this host.
    """
    holder = _read_holder(folder)
    if holder and holder.get("host") == socket.gethostname() and _lives(holder):
        raise ValueError(_in_use(folder, fix))
    other = f"; {_holder(folder)} was in it and has not left" if holder else ""
    LOGGER.warning(
        "%s is on a file system without locks (%s): a run on another host would not be noticed, "
        "make sure that no other run uses it%s",
        folder,
        reason,
        other,
    )


def _lives(holder: dict) -> bool:
    """Tell whether a process of this host is there, and is not a later one of the same number."""
    process, born = holder.get("process"), holder.get("born")
    if process == os.getpid() or not isinstance(process, int):
        return False
    return born is not None and _born(process) == born


def _born(process: int) -> str | None:
    """Return when a process began, in ticks since the host's start and with the host's start."""
    try:
        # The name of the program, in brackets, may hold anything.
        ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {ticks}"
    except (OSError, LookupError):  # no such process, or no /proc
        return None


def _in_use(folder: Path, fix: str) -> str:
    return f"{folder} is in use by another run ({_holder(folder)}); wait for it, stop it, or {fix}"


def _read_holder(folder: Path) -> dict | None:
    try:
        return read_object(folder / HOLDER, fix="")
    except (OSError, ValueError):
        return None


def _holder(folder: Path) -> str:
    """Say which process holds a folder; it may not have written that yet."""
    holder = _read_holder(folder)
    try:
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (TypeError, KeyError):
        return "just started"
