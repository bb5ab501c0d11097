"""Several processes, one program: how they find each other, before JAX touches a device.

Which processes belong together is decided, in this order, by arguments, by the variables
``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` (:mod:`launch.local` sets
them), by a SLURM step of several tasks (``srun``), or by a Cloud TPU machine. Otherwise a process
is alone.
"""

import importlib.util
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from sgm_jax.run import parallel
from sgm_jax.run.address import refuse_address
from sgm_jax.run.log import LOGGER

_SLURM_TASKS = "SLURM_STEP_NUM_TASKS"
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
HEARTBEAT_SECONDS = 40  # after which the others notice that a process has died
SHUTDOWN_SECONDS = 30  # for which a process that leaves waits for the others
# Network file systems show a new file to other hosts with a delay.
_SHOWN_WITHIN_SECONDS = 15.0


class Group(NamedTuple):
    """Processes that run together; None leaves it to JAX to ask the cluster."""

    coordinator_address: str | None = None
    process_count: int | None = None
    process_id: int | None = None


def initialize(
    coordinator_address: str | None = None,
    *,
    process_count: int | None = None,
    process_id: int | None = None,
) -> None:
    """Join the other processes, if there are any, and log which process this is.

    Args:
        coordinator_address: ``host:port`` of process 0, free there and reachable from all hosts.
        process_count: how many processes there are.
        process_id: the number of this process, from 0.

    Raises:
        ValueError: if only some of the three are given, or they contradict each other.
        RuntimeError: if the others do not come, or JAX has used a device already.
    """
    arguments = Group(coordinator_address, process_count, process_id)
    group = find_group(os.environ) if arguments == Group() else _checked(arguments, "the arguments")
    if group is None or jax.distributed.is_initialized():
        return
    jax.distributed.initialize(
        *group,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    LOGGER.info("%s", parallel.describe())
    if not parallel.is_main():
        # All processes would log the same.
        LOGGER.setLevel(logging.WARNING)
    parallel.meet()


def finish() -> None:
    """Wait for the other processes, if there are any, before leaving: it would end them."""
    if jax.distributed.is_initialized():
        parallel.wait_for_all()


def hint(error: Exception) -> str:
    """Return what an error probably means where several processes run, or an empty text."""
    if isinstance(error, jax.errors.JaxRuntimeError) and jax.distributed.is_initialized():
        return ". Probably another process has ended: see its log"
    return ""


def find_group(environ: Mapping[str, str]) -> Group | None:
    """Return which processes run together with this one; None if it is alone.

    Args:
        environ: environment variables.

    Raises:
        ValueError: if they contradict each other.
    """
    values = [environ.get(name) for name in VARIABLES]
    if any(values[1:]):
        return _from_variables(*values)
    # A batch script also has the variables of its job; only the tasks of a step have this one.
    if int(environ.get(_SLURM_TASKS, "1")) > 1:
        return Group()
    return Group() if _is_tpu_machine(environ) else None


def is_first() -> bool:
    """Tell whether this process writes files, without starting JAX's devices where it is alone."""
    return not jax.distributed.is_initialized() or parallel.is_main()


def decided(question: Callable[[], bool]) -> bool:
    """Return process 0's answer to a question on every process; see :func:`counted`."""
    return bool(counted(question))


def counted(question: Callable[[], int]) -> int:
    """Return process 0's answer to a question, a number from 0, on every process.

    On a shared disk each may see something else for a moment, and processes that went different
    ways would wait for each other for ever.

    Raises:
        ValueError, OSError: the error of the question on process 0, and then one on all others.
    """
    if not jax.distributed.is_initialized():
        return int(question())
    answer, error = 0, None
    if parallel.is_main():
        try:
            answer = question()
        except (ValueError, OSError) as raised:
            error = raised
    said = int(parallel.broadcast(np.int32(-1 if error else answer)))
    if error:
        raise error
    if said < 0:
        raise ValueError("process 1 has refused this: see its log")
    return said


def existing(paths: Sequence[Path]) -> list[bool]:
    """Return which files exist, as process 0 sees it, on every process."""
    exist = [path.exists() for path in paths]
    if not jax.distributed.is_initialized():
        return exist
    return [bool(exists) for exists in parallel.broadcast(np.array(exist, np.int32))]


def refuse_several(command: str, fix: str) -> None:
    """Refuse to run a command as several processes, each of which would do all of the work.

    Args:
        command: its name for the user.
        fix: what to do instead, for the message.

    Raises:
        ValueError: if several processes run together, according to JAX or the environment.
    """
    environ = os.environ
    count = int(environ.get(VARIABLES[1]) or environ.get(_SLURM_TASKS) or 1)
    if jax.distributed.is_initialized():
        count = parallel.process_count()
    if count > 1:
        raise ValueError(f"{command} is the work of one process, and there are {count}; {fix}")


def check_shared(folder: Path) -> None:
    """Refuse a folder that not all processes see; process 0 makes a file there for a moment.

    While the folder does not exist, the file is made in the nearest folder above it.

    Raises:
        ValueError: on every process, with those that do not see the file; or for an address.
    """
    refuse_address(folder, "the workdir")
    if parallel.process_count() == 1:
        return
    folder = Path(folder).absolute()
    present = next(path for path in (folder, *folder.parents) if path.is_dir())
    up = len(folder.parts) - len(present.parts)
    random_words = (secrets.randbits(32) for _ in range(4))
    words = parallel.broadcast(np.array([up, *random_words], np.uint32))
    # The folder may have another name on each host, but process 0 says how far up to look.
    above = (folder, *folder.parents)[min(int(words[0]), len(folder.parents))]
    token = above / f".sgm_jax_{''.join(f'{word:08x}' for word in words[1:])}"
    error = _create(token) if parallel.is_main() else None
    # No process looks before the file exists.
    failed = parallel.where(error is not None)
    blind = parallel.where(not failed and not _appears(token))
    if parallel.is_main():
        token.unlink(missing_ok=True)
    if failed:
        raise ValueError(f"process 1 cannot write to {above} ({error}); choose another --workdir")
    if blind:
        names = ", ".join(str(index + 1) for index in blind)
        raise ValueError(
            f"{folder} is not the same folder on all hosts: of {parallel.process_count()} "
            f"processes, {names} cannot see what process 1 writes to {above}. Choose a --workdir "
            "on storage that all hosts share: a network file system, or a bucket mounted with "
            "gcsfuse"
        )


def _from_variables(address: str | None, count: str | None, index: str | None) -> Group | None:
    what = ", ".join(VARIABLES)
    try:
        group = Group(address, int(count or ""), int(index or ""))
    except ValueError as error:
        raise ValueError(
            f"{what} are {address!r}, {count!r}, {index!r}; set all of them, as in "
            "10.0.0.1:8476, 2, 0, or none"
        ) from error
    return _checked(group, what)


def _checked(group: Group, what: str) -> Group | None:
    """Return a group if it is complete and consistent; None if it is one process."""
    address, count, index = group
    if count == 1:
        return None
    host, _, port = (address or "").rpartition(":")
    whole = count is not None and index is not None
    if not (host and port.isdigit() and whole and 0 <= index < count):
        raise ValueError(
            f"{what} give the coordinator {address!r}, {count} processes, this one the number "
            f"{index}; needed are host:port, a count and a number from 0 to below it"
        )
    return group


def _is_tpu_machine(environ: Mapping[str, str]) -> bool:
    """Tell whether JAX will use TPUs, which all hosts of a slice must start together.

    ``TPU_SKIP_MDS_QUERY`` is set where libtpu is used only to compile.
    """
    wanted = environ.get("JAX_PLATFORMS", "tpu")
    if "tpu" not in wanted.split(",") or "TPU_SKIP_MDS_QUERY" in environ:
        return False
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev").glob("vfio/[0-9]*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _create(path: Path) -> OSError | None:
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        return error
    return None


def _appears(path: Path) -> bool:
    until = time.monotonic() + _SHOWN_WITHIN_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
