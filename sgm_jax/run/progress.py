"""What a training run says while it goes: its numbers, a progress bar, and what is not finite."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from sgm_jax.run import parallel
from sgm_jax.run.log import LOGGER

_UNITS = (("year", 365.25 * 86400), ("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))
# Steps that are timed before it is said how long the rest will take, where that is long.
_TIMED, _LONG_SECONDS = 10, 600.0


class Progress:
    """The bar and the numbers of one run.

    Args:
        workdir: of the run; numbers go to its ``metrics.jsonl``.
        last: the step that training ends with.
        log_every: steps between two lines of numbers.
        batch_size: global.
        epoch_images: images in the training set.
        tensorboard: also write for TensorBoard.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        last: int,
        log_every: int,
        batch_size: int,
        epoch_images: int,
        tensorboard: bool = False,
    ):
        """Open the files.

        Raises:
            ValueError: if TensorBoard is wanted and not installed.
        """
        self._last, self._log_every = last, log_every
        self._batch_size, self._epoch_images = batch_size, epoch_images
        self._stream = self._board = None
        if parallel.is_main():
            self._stream = (Path(workdir) / "metrics.jsonl").open("a")
            self._board = _summary_writer(workdir) if tensorboard else None
        self._bar: tqdm.tqdm | None = None
        self._seconds = 0.0
        self._timed_steps = 0

    def step(self, step: int, metrics: dict[str, np.ndarray], *, seconds: float) -> None:
        """Take the metrics ``[steps]`` of the last dispatch; write them when it is time.

        Args:
            step: updates made so far.
            metrics: by name.
            seconds: the dispatch took.

        Raises:
            FloatingPointError: with the metric's name and the step, if one is not finite.
        """
        for name, values in metrics.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                where = step - len(values) + 1 + int(bad[0])
                raise FloatingPointError(
                    f"{name} is {values[bad[0]]} at step {where}; the newest checkpoint is from "
                    "before it. Lower --config.optim.lr, or look at the images of that batch"
                )
        if self._bar is None:
            # The first dispatch compiles: the bar and the rate start after it.
            self._bar = tqdm.tqdm(
                total=self._last,
                initial=step,
                unit="step",
                desc="train",
                disable=not parallel.is_main(),
            )
        else:
            self._bar.update(step - self._bar.n)
            self._seconds += seconds
            told = self._timed_steps >= _TIMED
            self._timed_steps += len(metrics["loss"])
            if not told and self._timed_steps >= _TIMED:
                self._tell_rest(step)
        if step % self._log_every == 0 or step == self._last:
            self._log(step, {name: float(values[-1]) for name, values in metrics.items()})

    def write(self, step: int, numbers: dict[str, Any]) -> None:
        """Write named numbers of a step, such as a test loss, in the main process."""
        if self._stream is not None:
            line = {"step": step, "time": round(time.time(), 3), **numbers}
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """End the bar and the files."""
        for opened in (self._bar, self._stream, self._board):
            if opened is not None:
                opened.close()

    def _tell_rest(self, step: int) -> None:
        each, left = self._seconds / self._timed_steps, self._last - step
        if left * each > _LONG_SECONDS:
            LOGGER.info(
                "%s a step: the %s steps that are left take about %s",
                duration(each),
                f"{left:,}",
                duration(left * each),
            )

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        seen = step * self._batch_size
        numbers |= {"images_seen": seen, "epochs": seen / self._epoch_images}
        if self._timed_steps:
            numbers["steps_per_second"] = self._timed_steps / self._seconds
        self.write(step, numbers)
        self._bar.set_postfix(loss=f"{numbers['loss']:.4g}")


def _summary_writer(run: Path):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--config.training.tensorboard needs an extra: pip install 'sgm_jax[tensorboard]'"
        ) from error
    return SummaryWriter(str(Path(run) / "tensorboard"))


def duration(seconds: float) -> str:
    """Return a time in words, with one or two digits: ``1.3 years``, ``20 hours``."""
    for name, unit in _UNITS:
        if seconds >= unit:
            count = f"{seconds / unit:.2g}" if seconds < 99 * unit else f"{seconds / unit:,.0f}"
            return f"{count} {name}{'' if count == '1' else 's'}"
    return f"{seconds:.2g} seconds"
