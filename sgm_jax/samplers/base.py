"""The interface of samplers: a start, a number of steps, an end.

A sampler knows an SDE and a time grid. It never sees a config, a network or a checkpoint. The noise
of an image is drawn from its own key, so image i depends on the seed and on i only. A caller that
shows progress compiles ``step`` in chunks; a call of the sampler runs all steps.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sgm_jax.sde import SDE, Array, ScoreFn

State = tuple[Array, Array]


class Samples(NamedTuple):
    """Images ``[B, H, W, C]`` in model space, and the network evaluations for each of them.

    The evaluations are ``[B]`` if every image chooses its own steps.
    """

    images: Array
    nfe: int | Array


def image_keys(key: Array, index: Array) -> Array:
    """Return one key per image, ``[B]``, from the seed's key and the images' numbers.

    Args:
        key: of the seed.
        index: a number of each image, ``[B]``, or several ``[B, n]``, such as those of an event and
            of a particle in it.
    """

    def fold(numbers: Array) -> Array:
        folded = key
        for number in jnp.atleast_1d(numbers):
            folded = jax.random.fold_in(folded, number)
        return folded

    return jax.vmap(fold)(index)


def step_noise(keys: Array, step: Array, shape: tuple[int, ...]) -> Array:
    """Draw standard normal noise ``shape = [B, H, W, C]`` for one step, from each image's key."""

    def draw(key: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, step), shape[1:])

    return jax.vmap(draw)(keys)


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """Base of the samplers.

    Attributes:
        sde: the forward process whose score the sampler is given.
        num_steps: steps of the time grid.
    """

    sde: SDE
    num_steps: int

    @property
    @abc.abstractmethod
    def nfe(self) -> int | None:
        """Network evaluations for an image; None if every image chooses its own steps."""

    @abc.abstractmethod
    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return the state before the first step, from one key per image ``[B]``."""

    @abc.abstractmethod
    def step(
        self, i: Array, state: State, keys: Array, score_fn: ScoreFn, *, fresh: Array | bool = False
    ) -> State:
        """Return the state after step i.

        ``fresh`` says that the image does not come from step i - 1, whose memory is then useless.
        """

    @abc.abstractmethod
    def marginal(self, i: Array) -> tuple[Array, Array]:
        """Return the factor of the image and the deviation of the noise in the state before step i.

        ``i`` is below ``num_steps``; both are scalars.
        """

    @abc.abstractmethod
    def finish(self, state: State) -> Array:
        """Return the images ``[B, H, W, C]`` of the state after the last step."""

    def advance(
        self, state: State, keys: Array, score_fn: ScoreFn, *, first: Array, stop: Array
    ) -> State:
        """Run the steps from ``first`` to before ``stop``."""

        def body(i: Array, state: State) -> State:
            return self.step(i, state, keys, score_fn)

        return jax.lax.fori_loop(first, stop, body, state)

    def __call__(self, keys: Array, score_fn: ScoreFn, shape: tuple[int, ...]) -> Samples:
        """Draw ``shape = [B, H, W, C]`` images from ``B`` keys, one for each image."""
        state = self.start(keys, shape)
        state = self.advance(state, keys, score_fn, first=0, stop=self.num_steps)
        return Samples(self.finish(state), self.nfe)


StepNoise = Callable[[Array, Array, tuple[int, ...]], Array]
# The first noise of an image has a number that no step has.
START = 2**31 - 1
