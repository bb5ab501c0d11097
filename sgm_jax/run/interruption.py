"""Leaving in good order on SIGTERM, SIGINT and the notices of batch systems. Imports no JAX.

What is finished is on the disk at any time, so a command may leave as soon as it is asked to. Only
a training has more to lose, the steps since its last checkpoint: :class:`Stop` lets it save them.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

from sgm_jax.run.log import LOGGER

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What SLURM (--signal=USR1@120), LSF and Grid Engine send some time before the SIGTERM of a job's
# end. Unanswered they would end the process at once.
NOTICES = (signal.SIGUSR1, signal.SIGUSR2)
# What a shell reports of a program ended by SIGTERM; batch systems know to start it again.
EXIT_STATUS = 128 + signal.SIGTERM
# Python sees a signal between two of its instructions. Compiling a network, or waiting for devices,
# is one instruction that takes minutes; batch systems kill half a minute after they have asked.
PATIENCE_SECONDS = 5.0


class Interrupted(RuntimeError):
    """The run was asked to stop, saved its state and left; all its processes have agreed to."""

    exit_status = EXIT_STATUS


class _Signals:
    """How many signals came, and to how many of them Python got round."""

    arrived = 0
    seen = 0
    last = ""
    stop: "Stop | None" = None  # the loop that has taken over


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Raise KeyboardInterrupt, with the name of the signal, on a signal in the block.

    Where Python does not get round to it, the process is ended with :data:`EXIT_STATUS`.
    """
    _Signals.arrived, _Signals.seen, _Signals.last = 0, 0, ""
    receive, send = socket.socketpair()
    send.setblocking(False)
    # The interpreter writes the number of every signal here, even while Python waits.
    woken = signal.set_wakeup_fd(send.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(receive,), daemon=True).start()
    before = {number: signal.signal(number, _leave) for number in (*SIGNALS, *NOTICES)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        send.close()


def asked() -> str:
    """Return the name of the signal that asked this command to leave; empty if none did."""
    return _Signals.last


def said(name: str) -> str:
    """Return what is logged of a command that leaves because of a signal."""
    return f"stopped by {name}; the same command continues from what is saved"


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    _note(number)
    raise KeyboardInterrupt(signal.Signals(number).name)


def _note(number: int) -> None:
    _Signals.seen += number in SIGNALS  # a notice leaves time, which nobody watches
    _Signals.last = signal.Signals(number).name


def _watch(receive: socket.socket) -> None:
    """End the process if Python does not get round to a signal, and nothing would be lost."""
    with receive:
        while arrived := receive.recv(1):
            if arrived[0] not in SIGNALS:
                continue
            _Signals.arrived += 1
            later = threading.Timer(PATIENCE_SECONDS, _end, (arrived[0], _Signals.arrived))
            later.daemon = True
            later.start()


def _end(number: int, count: int) -> None:
    if _Signals.seen >= count or (taken_over() and count == 1):
        return
    LOGGER.info("%s", said(signal.Signals(number).name))
    os._exit(EXIT_STATUS)


def _as_sigterm(number: int, frame: FrameType | None) -> None:
    """Tell the distributed service, which hears of SIGTERM only."""
    del number, frame
    os.kill(os.getpid(), signal.SIGTERM)


def taken_over() -> bool:
    """Tell whether a loop is running that saves its state when it is asked to stop."""
    return _Signals.stop is not None and not _Signals.stop.at_once


class Stop:
    """Turns signals into a request that the loop honours after the current step.

    A second signal ends the run at once; the newest checkpoint remains. The SIGTERM that a batch
    system sends some time after its notice is no second one.

    Attributes:
        requested: the loop is to save its state and leave.
        name: of the signal.
        at_once: nothing would be lost, so the first signal ends the run as well.
    """

    def __init__(self, *, alone: bool = True) -> None:
        """Nothing was requested yet.

        Args:
            alone: this is the only process. Several leave SIGTERM to the distributed service, and
                agree with :func:`sgm_jax.run.parallel.stop_requested`.
        """
        self.requested = self.at_once = False
        self.name = "" if alone else "SIGTERM"
        self._alone = alone
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        """Install the handlers."""
        handlers = dict.fromkeys(NOTICES, _as_sigterm)
        if self._alone:
            _Signals.stop = self
            handlers = dict.fromkeys((*SIGNALS, *NOTICES), self._request)
        self._before = {number: signal.signal(number, each) for number, each in handlers.items()}
        return self

    def __exit__(self, *args: object) -> None:
        """Put the old handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _Signals.stop = None

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        noticed = _Signals.last in {notice.name for notice in NOTICES}
        _note(number)
        if self.requested and number in NOTICES:
            return
        if (self.requested and not noticed) or self.at_once:
            raise KeyboardInterrupt(signal.Signals(number).name)
        self.requested = True
        self.name = signal.Signals(number).name
