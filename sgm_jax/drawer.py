"""Images drawn with a compiled sampler, a batch over all devices at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.conditions import Conditions
from sgm_jax.generators import score
from sgm_jax.run import parallel
from sgm_jax.samplers.base import Sampler, image_keys

# Steps are made by a few compiled calls, between which progress is shown: so many of them, but no
# call of fewer steps. On CPU each call gets fresh memory, which costs it a tenth of a step.
CALLS, STEPS_A_CALL = 20, 5

Progress = Callable[[int], Any]


def device_functions(
    goal: score.Objective, sampler: Sampler, conditions: Conditions, *, seed: int
) -> tuple[Callable, Callable, Callable]:
    """Return what a device does with its images: ``start``, ``advance`` by steps, ``finish``.

    ``start(index)`` returns the state of images with these numbers; ``advance(params, state, index,
    given, first, stop)`` that after the steps from ``first`` to before ``stop``; ``finish(state,
    given)`` the images. ``given`` is that of :meth:`Conditions.given`.
    """
    root = jax.random.fold_in(jax.random.key(seed), score.SAMPLING)

    def start(index: jax.Array) -> Any:
        shape = (len(index), *conditions.size, goal.net.num_channels)
        return sampler.start(image_keys(root, index), shape)

    def advance(
        params: Any, state: Any, index: jax.Array, given: Any, first: int, stop: int
    ) -> Any:
        keys = image_keys(root, index)
        score = conditions.score(goal.score(params), goal.sde, given)
        if conditions.takes_gradients:
            # One step a call: on CPU a gradient is an order of magnitude slower in a loop.
            return sampler.step(first, state, keys, score)
        return sampler.advance(state, keys, score, first=first, stop=stop)

    def finish(state: Any, given: Any) -> jax.Array:
        return conditions.finish(sampler.finish(state), given)

    return start, advance, finish


# Of the arguments of ``advance``: parameters and numbers of steps are the same for all images.
ADVANCE_AXES = (None, 0, 0, 0, None, None)


class Drawer:
    """Draws images with a compiled sampler, a batch over all devices at a time."""

    def __init__(
        self,
        goal: score.Objective,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        conditions: Conditions | None = None,
    ):
        """Prepare the functions; they are compiled when first used.

        Raises:
            ValueError: if the devices cannot share the batch.
        """
        parallel.check_divisible(batch_size, "config.eval.batch_size")
        conditions = conditions or Conditions((goal.net.image_size,) * 2)
        sampler = conditions.sampler(sampler)
        self.batch_size = batch_size
        self.sampler = sampler
        self._conditions = conditions
        steps_a_call = max(STEPS_A_CALL, -(-sampler.num_steps // CALLS))
        self._steps_a_call = 1 if conditions.takes_gradients else steps_a_call
        start, advance, finish = device_functions(goal, sampler, conditions, seed=seed)
        self._start = parallel.batch_function(start, in_axes=(0,))
        self._advance = parallel.batch_function(advance, in_axes=ADVANCE_AXES)
        self._finish = parallel.batch_function(finish, in_axes=(0, 0))

    @property
    def nfe(self) -> int | None:
        """Network evaluations an image takes; None where it chooses its own steps."""
        return None if self.sampler.nfe is None else self.sampler.nfe * self._conditions.tiles

    def compile(self, params: Any) -> None:
        """Compile everything, by a run of no steps (or of one, where steps are called singly)."""
        index, given, state = self._begin(0)
        none = jnp.int32(0)
        state = self._advance(params, state, index, given, none, none)
        jax.block_until_ready(self._finish(state, given))

    def draw(self, params: Any, first: int, count: int, *, progress: Progress) -> np.ndarray:
        """Return images ``first`` to ``first + count``, ``[count, H, W, C]`` in model space.

        Args:
            params: network parameters.
            first: number of the first image.
            count: at most a batch; the devices always work on a whole one.
            progress: told how many steps of how many images were made, multiplied.
        """
        index, given, state = self._begin(first)
        steps, chunk = self.sampler.num_steps, self._steps_a_call
        for begin in range(0, steps, chunk):
            stop = min(begin + chunk, steps)
            state = self._advance(params, state, index, given, jnp.int32(begin), jnp.int32(stop))
            jax.block_until_ready(state)
            progress(count * (stop - begin))
        return parallel.gather(self._finish(state, given))[:count]

    def _begin(self, first: int) -> tuple[jax.Array, Any, Any]:
        index = np.arange(first, first + self.batch_size, dtype=np.int32)
        index = index[parallel.local_rows(self.batch_size)]
        given = parallel.shard(self._conditions.given(index))
        index = parallel.shard(index)
        return index, given, self._start(index)
