"""Leaving in good order on SIGTERM and SIGINT."""

import signal
from types import FrameType

from sgm_jax.run import parallel


class Interrupted(RuntimeError):
    """The run was asked to stop, saved its state and left."""

    # What a shell reports of a program ended by SIGTERM; batch systems know to start it again.
    exit_status = 128 + signal.SIGTERM


class Stop:
    """Turns SIGTERM and SIGINT into a request that the loop honours after the current step.

    A second signal ends the run at once; the newest checkpoint remains.
    """

    def __init__(self) -> None:
        """Nothing was requested yet."""
        self.requested = False
        # Of several processes only the distributed service sees a signal, and only this one.
        self.name = "SIGTERM" if parallel.process_count() > 1 else ""

    def __enter__(self) -> "Stop":
        """Install the handlers; several processes leave SIGTERM to the distributed service."""
        self._before = {}
        if parallel.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *args: object) -> None:
        """Put the old handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested:
            raise KeyboardInterrupt("a second signal: leaving without saving")
        self.requested = True
        self.name = signal.Signals(number).name
