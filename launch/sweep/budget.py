"""Equal processor time for every training."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from sgm_jax.run.files import write_json


class CpuBudget:
    """Stops a training after some processor time, added up over all starts.

    It asks as a user would, with SIGTERM: the training saves its state and leaves. Start and
    compilation count, and so does work that was lost because the process was killed.
    """

    def __init__(self, seconds: float | None, note: Path):
        """Go on counting where ``note``, a JSON file, stopped; ``None`` only counts."""
        self._seconds, self._note = seconds, note
        self.used: float = json.loads(note.read_text())["cpu_seconds"] if note.is_file() else 0.0

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._seconds is not None and self.used >= self._seconds

    def __enter__(self) -> "CpuBudget":
        """Start counting."""
        self._zero = time.process_time() - self.used
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._stop_when_spent, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop counting."""
        self._done.set()
        self._watch.join()
        self._update()

    def _stop_when_spent(self) -> None:
        while not self._done.wait(1.0):
            self._update()
            # Before the training has taken over the signal, it would end the whole command.
            if self.spent and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _update(self) -> None:
        self.used = time.process_time() - self._zero
        self._note.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._note, {"cpu_seconds": self.used})
