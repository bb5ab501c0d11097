"""What a training run says while it goes: numbers, a progress bar, test loss, sample grids."""

from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm

from sgm_jax.data import Images, PixelScale, to_uint8
from sgm_jax.data.grid import save_grid
from sgm_jax.drawer import Drawer
from sgm_jax.generators import score
from sgm_jax.run import parallel
from sgm_jax.run.log import LOGGER
from sgm_jax.run.metrics import Metrics

GRID_IMAGES = 36


class Reports:
    """The reports of one run."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        goal: score.Objective,
        run: Path,
        test_images: Images,
        epoch_images: int,
    ):
        """Prepare; nothing is compiled before it is used."""
        self._config = config
        self._run = Path(run)
        self._epoch_images = epoch_images
        self._metrics = Metrics(run, tensorboard=config.training.tensorboard)
        self._test = test_images
        self._scale = PixelScale.from_config(config.data)
        self._loss = parallel.mean_function(lambda *args: goal.eval_loss(*args)[0])
        sampler = score.sampler(config, goal.sde)
        self._drawer = Drawer(goal, sampler, batch_size=config.eval.batch_size, seed=config.seed)
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
                    "before it. Lower config.optim.lr, or look at the images of that batch"
                )
        training = self._config.training
        if self._bar is None:
            # The first dispatch compiles: the bar and the rate start after it.
            self._bar = tqdm.tqdm(
                total=training.n_iters,
                initial=step,
                unit="step",
                desc="train",
                disable=not parallel.is_main(),
            )
        else:
            self._bar.update(step - self._bar.n)
            self._seconds += seconds
            self._timed_steps += len(metrics["loss"])
        if step % training.log_freq == 0 or step == training.n_iters:
            self._log(step, {name: float(values[-1]) for name, values in metrics.items()})

    def evaluate(self, step: int, params: Any) -> None:
        """Write the loss on the first test images, always the same with the same noise."""
        batch_size = self._config.eval.batch_size
        total = min(self._config.eval.num_images, len(self._test))
        key = jax.random.fold_in(jax.random.key(self._config.seed), score.EVALUATION)
        losses = []
        # Whole batches on every device: the last one starts again at the first image.
        for begin in range(0, total, batch_size):
            index = np.arange(begin, begin + batch_size, dtype=np.int32)
            index = index[parallel.local_rows(batch_size)]
            image = self._scale.to_model(self._test[index % total])
            losses.append(float(self._loss(params, key, {"image": image, "index": index})))
        self._metrics.write(step, {"eval_loss": float(np.mean(losses))})

    def draw(self, step: int, params: Any) -> None:
        """Write a grid of samples."""
        count = min(GRID_IMAGES, self._config.eval.batch_size)
        images = self._drawer.draw(params, 0, count, progress=lambda done: None)
        if parallel.is_main():
            folder = self._run / "samples"
            folder.mkdir(exist_ok=True)
            path = folder / f"step_{step:06d}.png"
            save_grid(path, to_uint8(self._scale.from_model(images)))
            LOGGER.info("samples of step %d: %s", step, path)

    def close(self) -> None:
        """End the progress bar and the files."""
        if self._bar is not None:
            self._bar.close()
        self._metrics.close()

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        seen = step * self._config.training.batch_size
        numbers |= {"images_seen": seen, "epochs": seen / self._epoch_images}
        if self._timed_steps:
            numbers["steps_per_second"] = self._timed_steps / self._seconds
        self._metrics.write(step, numbers)
        self._bar.set_postfix(loss=f"{numbers['loss']:.4g}")
