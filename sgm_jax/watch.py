"""What is watched while a generator is trained: its loss on test images, and what it draws."""

from pathlib import Path

import ml_collections
import numpy as np

from sgm_jax.conditions import Conditions
from sgm_jax.data import Condition, Images, PixelScale, to_uint8
from sgm_jax.data.grid import save_grid
from sgm_jax.data.images import evenly_spaced
from sgm_jax.drawer import Drawer
from sgm_jax.generator import Generator, Purpose, purpose, run_key
from sgm_jax.run import distributed, parallel
from sgm_jax.run.files import read_object, write_json
from sgm_jax.run.log import LOGGER, announced
from sgm_jax.run.progress import Progress
from sgm_jax.step import Variables
from sgm_jax.trained import Trained, export_weights

GRID_IMAGES = 36
# The weights of the lowest test loss, and which step they are of.
BEST, BEST_NOTE = "best.npz", "best.json"


class Watch:
    """Looks at a generator at certain steps of its training, and at the end."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        generator: Generator,
        run: Path,
        test_images: Images,
        progress: Progress,
        condition: Condition | None = None,
        drawn: Images | None = None,
    ):
        """Prepare; nothing is compiled before it is used.

        Args:
            config: of the run.
            generator: that is trained.
            run: the workdir.
            test_images: to measure the loss on, and to look at.
            progress: where numbers go.
            condition: what the test images show; samples are asked for the same.
            drawn: images of another generator, to measure the loss on beside them.
        """
        self._config, self._run, self._progress = config, Path(run), progress
        self._test, self._condition, self._beside = test_images, condition, drawn
        self._scale = PixelScale.from_config(config.data)
        self._generator = generator
        self._loss = parallel.mean_function(lambda *args: generator.eval_loss(*args)[0])
        self._fresh = True  # nothing was evaluated yet
        self._drawn: tuple[int, np.ndarray] | None = None  # the newest samples, and their step
        self._drawer = None
        if config.training.snapshot_sampling:
            # Of the images that samples are put beside.
            shown = self._shown(evenly_spaced(len(test_images), self._grid_images))
            conditions = Conditions(generator.image_shape[:2], condition=shown.get("condition"))
            self._drawer = Drawer(
                generator,
                batch_size=config.eval.batch_size,
                seed=config.seed,
                conditions=conditions,
            )

    @property
    def _grid_images(self) -> int:
        return min(GRID_IMAGES, self._config.eval.batch_size)

    def _shown(self, rows: np.ndarray) -> dict[str, Condition]:
        """Return what some test images show, under the name that it has in a batch."""
        if self._condition is None:
            return {}
        return {"condition": {name: values[rows] for name, values in self._condition.items()}}

    def evaluate(self, step: int, variables: Variables) -> None:
        """Write the loss on the first test images, always the same with the same noise."""
        batch_size = self._config.eval.batch_size
        total = min(self._config.eval.num_images, len(self._test))
        key = run_key(self._config.seed, Purpose.EVALUATION)
        losses = []
        # Whole batches on every device: the last one starts again at the first image.
        with announced(f"compiling, and the loss on {total} test images", only=self._fresh):
            for begin in range(0, total, batch_size):
                index = np.arange(begin, begin + batch_size, dtype=np.int32)
                index = index[parallel.local_rows(batch_size)]
                image = self._scale.to_model(self._test[index % total])
                batch = {"image": image, "index": index} | self._shown(index % total)
                if self._beside is not None:
                    others = self._beside[index % len(self._beside)]
                    batch["drawn"] = self._scale.to_model(others)
                losses.append(float(self._loss(variables, key, batch)))
        self._fresh = False
        loss = float(np.mean(losses))
        self._progress.write(step, {"eval_loss": loss})
        if self._config.training.keep_best and parallel.is_main():
            self._keep_best(step, loss, variables)

    def _keep_best(self, step: int, loss: float, variables: Variables) -> None:
        """Write the weights, if no evaluation of the run had a lower loss.

        The note comes last: whoever is stopped in between writes both again.
        """
        note = self._run / BEST_NOTE
        if note.exists():
            best = read_object(note, fix="remove it; the next evaluation writes it again")
            if (self._run / BEST).exists() and not loss < best["eval_loss"]:
                return
        best = Trained(self._config, self._generator, {}, lambda: variables, step)
        export_weights(best, self._run / BEST)
        write_json(note, {"step": step, "eval_loss": loss})

    def draw(self, step: int, variables: Variables) -> None:
        """Write a grid of samples."""
        count = self._grid_images
        what = f"compiling the sampler and drawing {count} images"
        with announced(what, only=self._drawn is None):
            images = self._drawer.draw(variables, 0, count, progress=lambda done: None)
        planes = self._config.data.planes
        self._drawn = step, to_uint8(self._scale.from_model(images), planes=planes)
        if parallel.is_main():
            folder = self._run / "samples"
            folder.mkdir(exist_ok=True)
            path = folder / f"step_{step:06d}.png"
            save_grid(path, self._drawn[1])
            LOGGER.info("samples of step %d: %s", step, path)

    def look_back(self, step: int, variables: Variables) -> None:
        """Write the losses of a finished training, and real images beside samples of its last step.

        Without config.training.snapshot_sampling there are no samples. What an earlier start has
        written already is kept.
        """
        # It imports Matplotlib, which takes half a second.
        from sgm_jax import pictures

        losses, sets = self._run / "loss.png", self._run / "real_and_drawn.png"
        if parallel.is_main() and not pictures.shows(losses, step):
            pictures.loss_plot(losses, self._run / "metrics.jsonl", step=step)
        LOGGER.info("the losses of the run: %s", losses)
        aim = purpose(self._config)
        if aim is not None:
            LOGGER.info("%s", aim.format(run=self._run))
            return
        if self._drawer is None:
            LOGGER.info("to see images: --mode=sample --workdir=%s --num_samples=36", self._run)
            return
        if not distributed.decided(lambda: pictures.shows(sets, step)):
            if self._drawn is None or self._drawn[0] != step:
                self.draw(step, variables)
            if parallel.is_main():
                drawn = self._drawn[1]
                real = self._test[evenly_spaced(len(self._test), len(drawn))]
                real = to_uint8(real, planes=self._config.data.planes)
                pictures.side_by_side(sets, real, drawn, step=step)
        LOGGER.info("real images beside drawn ones: %s", sets)
