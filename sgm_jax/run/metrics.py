"""Numbers of a run: one JSON line each time, and TensorBoard where it is installed and wanted."""

import json
import time
from pathlib import Path

from sgm_jax.run import parallel


class Metrics:
    """Appends to ``<run>/metrics.jsonl``; only the main process writes."""

    def __init__(self, run: Path, *, tensorboard: bool):
        """Open the files.

        Raises:
            ValueError: if TensorBoard is wanted and not installed.
        """
        self._stream = None
        self._board = None
        if parallel.is_main():
            self._stream = (Path(run) / "metrics.jsonl").open("a")
            self._board = _summary_writer(run) if tensorboard else None

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Write named numbers of a step."""
        if self._stream is not None:
            line = {"step": step, "time": round(time.time(), 3), **numbers}
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        if self._stream is not None:
            self._stream.close()
        if self._board is not None:
            self._board.close()


def _summary_writer(run: Path):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "config.training.tensorboard needs an extra: pip install 'sgm_jax[tensorboard]'"
        ) from error
    return SummaryWriter(str(Path(run) / "tensorboard"))
