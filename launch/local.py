"""Run a command as several processes with simulated devices, on this machine.

  python -m launch.local --processes=2 --devices=4 -- \\
      python -m sgm_jax.main --config=configs/demo.py --workdir=runs/demo

Use it to try what a pod does, or to use two sockets: --processes=2 --devices=1 --pin binds each
process to its share of the cores, with cores of one memory node together. Every output line starts
with the number of its process. SIGTERM and Ctrl-C are sent to all processes as SIGTERM, at which a
training run saves its state and stops; a second one kills them. If one process fails, the others
are ended too, and its exit status is returned.
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
from collections.abc import Sequence
from pathlib import Path

# Time for the other processes to notice by themselves that one has failed, and to report it.
PATIENCE_SECONDS = 50.0
_POLL_SECONDS = 0.1
_DEVICES = "--xla_force_host_platform_device_count"


class Group:
    """Processes that run one command together."""

    def __init__(self, command: Sequence[str], *, processes: int, devices: int, pin: bool):
        """Start the processes; see :func:`launch`."""
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
                # Otherwise Ctrl-C would reach the process directly, as SIGINT.
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
        failure, status = self._first_failure(), 0
        if failure is not None:
            index, status = failure
            how = f"ended with status {status}"
            if status < 0:  # a signal, of which a shell shows the number plus 128
                how, status = f"was ended by {signal.Signals(-status).name}", 128 - status
            self._say(f"process {index} {how}; ending the others")
            self._end_all(patience_seconds)
        for process in self._running:
            process.wait()
        for reader in self._readers:
            reader.join()
        return status

    def request_stop(self, number: int) -> None:
        """Send SIGTERM to all processes; at the second request, kill them."""
        self._signals += 1
        if self._signals == 1:
            self._say(f"{signal.Signals(number).name}: SIGTERM to all processes")
        self._send(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _first_failure(self) -> tuple[int, int] | None:
        while True:
            statuses = [process.poll() for process in self._running]
            failed = [(index, status) for index, status in enumerate(statuses) if status]
            if failed:
                # The others end later, when they lose contact with this one.
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
                self._say(f"process {index} still runs after {patience_seconds:g} s: killed")
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for process in self._running:
            if process.poll() is None:
                # Each leads a process group of its own, with its child processes.
                os.killpg(process.pid, number)

    def _copy(self, index: int) -> None:
        with self._running[index].stdout as stream:
            for line in stream:
                # A progress bar is drawn over and over: keep its last state only.
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
        devices: simulated devices in each process.
        pin: bind each process to its share of the cores.
        patience_seconds: time for processes to end by themselves after one has failed.

    Raises:
        ValueError: if there are fewer cores than processes to pin to them.
    """
    if pin and processes > len(os.sched_getaffinity(0)):
        cores = len(os.sched_getaffinity(0))
        raise ValueError(f"--pin: {processes} processes cannot share {cores} cores; omit --pin")
    group = Group(command, processes=processes, devices=devices, pin=pin)

    def forward(number: int, _frame: object) -> None:
        group.request_stop(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return group.wait(patience_seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(address: str, index: int, *, processes: int, devices: int) -> dict[str, str]:
    """Return the environment variables of process number ``index`` of several."""
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
    """Return a port that is free at the moment."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def share_of_cores(index: int, processes: int) -> set[int]:
    """Return the cores of one process: an equal share, on as few memory nodes as possible."""
    cores = sorted(os.sched_getaffinity(0), key=lambda core: (_memory_node(core), core))
    each = len(cores) // processes
    return set(cores[index * each : (index + 1) * each])


def _memory_node(core: int) -> str:
    return next((p.name for p in Path(f"/sys/devices/system/cpu/cpu{core}").glob("node*")), "")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m launch.local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--devices", type=int, default=1, help="simulated devices in each process (default: 1)"
    )
    parser.add_argument("--pin", action="store_true", help="bind processes to their share of cores")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- program and arguments")
    options = parser.parse_args(arguments)
    options.command = options.command[options.command[:1] == ["--"] :]
    if not options.command:
        parser.error("no command: write it after --, as in -- python -m sgm_jax.main --config=...")
    for name in ("processes", "devices"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it must be at least 1")
    return options


def main() -> None:
    """Run the command after ``--`` with the settings before it."""
    options = parse()
    settings = {"processes": options.processes, "devices": options.devices, "pin": options.pin}
    sys.exit(launch(options.command, **settings))


if __name__ == "__main__":
    main()
