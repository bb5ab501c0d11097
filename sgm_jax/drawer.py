"""Images drawn with compiled steps, a batch over all devices at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.conditions import Conditions
from sgm_jax.generator import Drawing, Generator, Purpose, run_key
from sgm_jax.run import parallel
from sgm_jax.run.log import announced
from sgm_jax.samplers.base import image_keys
from sgm_jax.step import Variables

# Steps are made by a few compiled calls, between which progress is shown: so many of them, but no
# call of fewer steps. On CPU each call gets fresh memory, which costs it a tenth of a step.
CALLS, STEPS_A_CALL = 20, 5

Progress = Callable[[int], Any]


def device_functions(
    drawing: Drawing, image_shape: tuple[int, int, int], *, seed: int
) -> tuple[Callable, Callable, Callable]:
    """Return what a device does with its images: ``start``, ``advance`` by steps, ``finish``.

    ``start(index, given)`` returns the state of images with these numbers; ``advance(variables,
    state, index, given, first, stop)`` that after the steps from ``first`` to before ``stop``;
    ``finish(variables, state, given)`` the images. ``given`` is that of :meth:`Conditions.given`.
    """
    root = run_key(seed, Purpose.SAMPLING)

    def start(index: jax.Array, given: Any) -> Any:
        return drawing.start(image_keys(root, index), (len(index), *image_shape), given)

    def advance(
        variables: Variables, state: Any, index: jax.Array, given: Any, first: int, stop: int
    ) -> Any:
        keys = image_keys(root, index)

        def step(i: jax.Array, state: Any) -> Any:
            return drawing.step(variables, i, state, keys, given)

        if drawing.one_step_a_call:
            return step(first, state)
        return jax.lax.fori_loop(first, stop, step, state)

    def finish(variables: Variables, state: Any, given: Any) -> jax.Array:
        return drawing.finish(variables, state, given)

    return start, advance, finish


# Of the arguments of ``advance``: variables and numbers of steps are the same for all images.
ADVANCE_AXES = (None, 0, 0, 0, None, None)


class Drawer:
    """Draws images with a generator, a batch over all devices at a time."""

    def __init__(
        self,
        generator: Generator,
        *,
        batch_size: int,
        seed: int,
        conditions: Conditions | None = None,
    ):
        """Prepare the functions; they are compiled when first used.

        Args:
            generator: trained.
            batch_size: images at once, over all devices. A generator that always draws the same
                number at once (``at_once``) has its own.
            seed: of the images.
            conditions: on the images.

        Raises:
            ValueError: if the devices cannot share the batch.
        """
        height, width, channels = generator.image_shape
        conditions = conditions or Conditions((height, width))
        self.drawing = generator.drawing(conditions)
        if self.drawing.at_once is not None:
            batch_size = self.drawing.at_once * parallel.device_count()
        parallel.check_divisible(batch_size, "--config.eval.batch_size")
        self.batch_size = batch_size
        self._conditions = conditions
        steps_a_call = max(STEPS_A_CALL, -(-self.drawing.num_steps // CALLS))
        self._steps_a_call = 1 if self.drawing.one_step_a_call else steps_a_call
        self.image_shape = (*conditions.size, channels)
        start, advance, finish = device_functions(self.drawing, self.image_shape, seed=seed)
        self._start = parallel.batch_function(start, in_axes=(0, 0))
        self._advance = parallel.batch_function(advance, in_axes=ADVANCE_AXES)
        self._finish = parallel.batch_function(finish, in_axes=(None, 0, 0))

    def compile(self, variables: Variables) -> None:
        """Compile everything, by a run of no steps (or of one, where steps are called singly)."""
        with announced("compiling the sampler"):
            index, given, state = self._begin(*self._numbered(0))
            none = jnp.int32(0)
            state = self._advance(variables, state, index, given, none, none)
            jax.block_until_ready(self._finish(variables, state, given))

    def draw(
        self, variables: Variables, first: int, count: int, *, progress: Progress
    ) -> np.ndarray:
        """Return images ``first`` to ``first + count``, ``[count, H, W, C]`` in network space.

        Args:
            variables: of the trained network, on the devices.
            first: number of the first image.
            count: of images; the devices always work on whole batches.
            progress: told how many steps of how many images were made, multiplied.
        """
        batches = []
        for begin in range(first, first + count, self.batch_size):
            size = min(self.batch_size, first + count - begin)
            batches.append(self._batch(variables, *self._numbered(begin), size, progress))
        return np.concatenate(batches)

    def draw_each(
        self,
        variables: Variables,
        numbers: np.ndarray,
        condition: dict[str, np.ndarray],
        *,
        progress: Progress,
    ) -> np.ndarray:
        """Return an image for each row, ``[n, H, W, C]`` in network space.

        Args:
            variables: of the trained network, on the devices.
            numbers: whole numbers ``[n, k]`` of each image, of which its noise is drawn.
            condition: arrays ``[n, ...]`` by name, of the kinds that :class:`Conditions` has; none
                without conditions.
            progress: as for :meth:`draw`.
        """
        batches = []
        for begin in range(0, len(numbers), self.batch_size):
            # The last row fills up the last batch.
            rows = np.arange(begin, begin + self.batch_size).clip(max=len(numbers) - 1)
            size = min(self.batch_size, len(numbers) - begin)
            rows = rows[parallel.local_rows(self.batch_size)]
            shown = {name: values[rows] for name, values in condition.items()}
            given = {"condition": shown} if shown else {}
            index = numbers[rows].astype(np.int32)
            batches.append(self._batch(variables, index, given, size, progress))
        return np.concatenate(batches)

    def _batch(
        self, variables: Variables, index: np.ndarray, given: Any, count: int, progress: Progress
    ) -> np.ndarray:
        index, given, state = self._begin(index, given)
        steps, chunk = self.drawing.num_steps, self._steps_a_call
        for begin in range(0, steps, chunk):
            stop = min(begin + chunk, steps)
            state = self._advance(variables, state, index, given, jnp.int32(begin), jnp.int32(stop))
            jax.block_until_ready(state)
            progress(count * (stop - begin))
        return parallel.gather(self._finish(variables, state, given))[:count]

    def _numbered(self, first: int) -> tuple[np.ndarray, Any]:
        """Return the numbers of this process's images of a batch, and what is given of them."""
        index = np.arange(first, first + self.batch_size, dtype=np.int32)
        index = index[parallel.local_rows(self.batch_size)]
        return index, self._conditions.given(index)

    def _begin(self, index: np.ndarray, given: Any) -> tuple[jax.Array, Any, Any]:
        given, index = parallel.shard(given), parallel.shard(index)
        return index, given, self._start(index, given)
