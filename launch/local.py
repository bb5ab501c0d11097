"""Run a command as several processes with simulated devices, on this machine.

  python -m launch.local --processes=2 --devices=4 -- \\
      python -m sgm_jax.main --config=configs/demo.py --workdir=runs/demo

It is the test bed of a pod, and a way to use two sockets: --processes=2 --devices=1 --pin binds
each process to its share of the cores, those of one memory node together. Every line is printed
with the number of the process that said it. SIGTERM and Ctrl-C reach all processes as SIGTERM, at
which a training run saves its state; the second one ends them. Where one process fails, the others
are ended too, and the exit status is that of the first.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# What the others get to notice by themselves that one has failed, and to say so.
PATIENCE_SECONDS = 50.0
_POLL_SECONDS = 0.1
_DEVICES = "--xla_force_host_platform_device_count"


class Group:
    """Processes that run one command together."""

    def __init__(self, command: Sequence[str], *, processes: int, devices: int, pin: bool):
        """Start them."""
        address = f"127.0.0.1:{free_port()}"
        self._lock = threading.Lock()
        self._signals = 0
        self._running: list[subprocess.Popen] = []
        for index in range(processes):
            process = subprocess.Popen(
                command,
                env=os.environ | environment(address, index, processes=processes, devices=devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C would otherwise reach them directly, as a signal that saves nothing.
                start_new_session=True,
            )
            self._running.append(process)
            if pin:
                os.sched_setaffinity(process.pid, share_of_cores(index, processes))
        self._readers = [
            threading.Thread(target=self._copy, args=(index,)) for index in range(processes)
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, patience_seconds: float) -> int:
        """Return when all have ended: 0, or the exit status of the first that failed."""
        first = self._first_failure()
        if first is not None:
            index, status = first
            self._say(f"process {index} {describe_status(status)}; the others are to end")
            self._end_all(patience_seconds)
        for process in self._running:
            process.wait()
        for reader in self._readers:
            reader.join()
        return 0 if first is None else shell_status(first[1])

    def request_stop(self, number: int) -> None:
        """Pass a request to stop on; end everything at the second."""
        self._signals += 1
        if self._signals == 1:
            self._say(f"{signal.Signals(number).name}: SIGTERM to all processes")
        self._send(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _first_failure(self) -> tuple[int, int] | None:
        while True:
            statuses = [process.poll() for process in self._running]
            failed = [(index, status) for index, status in enumerate(statuses) if status]
            if failed:
                # The one that broke ends by its error or signal, the others by losing it.
                return failed[0]
            if None not in statuses:
                return None
            time.sleep(_POLL_SECONDS)

    def _end_all(self, patience_seconds: float) -> None:
        until = time.monotonic() + patience_seconds
        while time.monotonic() < until and any(p.poll() is None for p in self._running):
            time.sleep(_POLL_SECONDS)
        for index, process in enumerate(self._running):
            if process.poll() is None:
                self._say(f"process {index} goes on after {patience_seconds:g} s: killed")
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for process in self._running:
            if process.poll() is None:
                # Each leads a group of its own, with what it has started.
                os.killpg(process.pid, number)

    def _copy(self, index: int) -> None:
        with self._running[index].stdout as stream:
            for line in stream:
                # Of a progress bar that was drawn over and over, only the last state is a line.
                text = line.decode(errors="replace").rstrip().rsplit("\r", 1)[-1]
                self._print(f"[{index}] {text}")

    def _say(self, text: str) -> None:
        self._print(f"[launch] {text}")

    def _print(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)


def launch(
    command: Sequence[str],
    *,
    processes: int,
    devices: int,
    pin: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> int:
    """Run a command as several processes; return the exit status.

    Args:
        command: program and arguments, the same for all.
        processes: how many.
        devices: simulated in each of them.
        pin: bind each process to its share of the cores.
        patience_seconds: that processes get to end by themselves once one has failed.

    Raises:
        ValueError: if there are fewer cores than processes to pin to them.
    """
    if pin and processes > len(os.sched_getaffinity(0)):
        cores = len(os.sched_getaffinity(0))
        raise ValueError(f"--pin: {processes} processes cannot share {cores} cores; leave it out")
    group = Group(command, processes=processes, devices=devices, pin=pin)
    with _forwarding(group):
        return group.wait(patience_seconds)


def environment(address: str, index: int, *, processes: int, devices: int) -> dict[str, str]:
    """Return the variables that make a process number ``index`` of several."""
    flags = re.sub(rf"{_DEVICES}=\d+", "", os.environ.get("XLA_FLAGS", ""))
    return {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} {_DEVICES}={devices}".strip(),
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def share_of_cores(index: int, processes: int) -> set[int]:
    """Return the cores of one process: an equal share, of as few memory nodes as can be."""
    cores = sorted(os.sched_getaffinity(0), key=lambda core: (_memory_node(core), core))
    each = len(cores) // processes
    return set(cores[index * each : (index + 1) * each])


def describe_status(status: int) -> str:
    """Say how a process ended, from what :class:`subprocess.Popen` calls its return code."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def shell_status(status: int) -> int:
    """Return the exit status that a shell gives to a return code."""
    return 128 - status if status < 0 else status


def _memory_node(core: int) -> str:
    return next((p.name for p in Path(f"/sys/devices/system/cpu/cpu{core}").glob("node*")), "")


@contextmanager
def _forwarding(group: Group) -> Iterator[None]:
    def forward(number: int, _frame: object) -> None:
        group.request_stop(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m launch.local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--processes", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--devices", type=int, default=1, help="in each process (default: 1)")
    parser.add_argument("--pin", action="store_true", help="bind processes to their share of cores")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- program and arguments")
    given = parser.parse_args(arguments)
    given.command = given.command[given.command[:1] == ["--"] :]
    if not given.command:
        parser.error("no command: write it after --, as in -- python -m sgm_jax.main --config=...")
    for name in ("processes", "devices"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} is {getattr(given, name)}; it must be at least 1")
    return given


def main() -> None:
    """Run the command that the command line gives."""
    given = parse()
    sys.exit(launch(given.command, processes=given.processes, devices=given.devices, pin=given.pin))


if __name__ == "__main__":
    main()
