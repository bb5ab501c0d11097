"""Repeated stretches of a sampler's way, for images of which something is known (RePaint)."""

import dataclasses

import jax
import jax.numpy as jnp

from sgm_jax.samplers.base import Sampler, State, step_noise
from sgm_jax.sde import Array, ScoreFn

# Below it are the numbers that samplers draw their steps' noise with.
_JUMP = 2**30


@dataclasses.dataclass(frozen=True)
class Repeated(Sampler):
    """Go each stretch of another sampler's steps several times (arXiv:2201.09865, sec. 4.2).

    After a stretch the image is noised back to where the stretch began, and denoised again with
    fresh noise. What is unknown so gets time to agree with what is known. The last stretch ends
    without noise and is gone once.

    Attributes:
        num_steps: stretches; :func:`repeated` counts them.
        inner: the sampler.
        stretch: how many of its steps are one of this one's.
        repeats: how often each stretch is gone.
    """

    inner: Sampler
    stretch: int = 1
    repeats: int = 1

    @property
    def nfe(self) -> int | None:
        """Those of the sampler, and again those of all stretches but the last."""
        if self.inner.nfe is None:
            return None
        # Heun's method saves one evaluation, in the last stretch.
        per_step = -(-self.inner.nfe // self.inner.num_steps)
        again = (self.repeats - 1) * (self.num_steps - 1) * self.stretch
        return self.inner.nfe + again * per_step

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return the sampler's start."""
        return self.inner.start(keys, shape)

    def marginal(self, i: Array) -> tuple[Array, Array]:
        """Return those of the sampler where stretch i begins."""
        return self.inner.marginal(i * self.stretch)

    def step(
        self, i: Array, state: State, keys: Array, score_fn: ScoreFn, *, fresh: Array | bool = False
    ) -> State:
        """Return the state after stretch i was gone ``repeats`` times."""
        first = i * self.stretch
        stop = jnp.minimum(first + self.stretch, self.inner.num_steps)

        def stretch(state: State, keys: Array, fresh: Array | bool) -> State:
            def step(j: Array, state: State) -> State:
                new = fresh & (j == first)
                return self.inner.step(j, state, keys, score_fn, fresh=new)

            return jax.lax.fori_loop(first, stop, step, state)

        def again(repeat: Array, after: State) -> State:
            own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, repeat)
            image = self._back(after[0], first, stop, step_noise(own, _JUMP + i, after[0].shape))
            return stretch((image, after[1]), own, jnp.bool_(True))

        repeats = jnp.where(stop < self.inner.num_steps, self.repeats, 1)
        return jax.lax.fori_loop(1, repeats, again, stretch(state, keys, jnp.asarray(fresh)))

    def finish(self, state: State) -> Array:
        """Return the sampler's images."""
        return self.inner.finish(state)

    def _back(self, image: Array, first: Array, stop: Array, z: Array) -> Array:
        """Noise an image of step ``stop`` to what it was before step ``first``."""
        scale, std = self.inner.marginal(first)
        scale_here, std_here = self.inner.marginal(jnp.minimum(stop, self.inner.num_steps - 1))
        kept = scale / scale_here
        return kept * image + jnp.sqrt(jnp.maximum(std**2 - (kept * std_here) ** 2, 0)) * z


def repeated(inner: Sampler, *, repeats: int, stretch: int = 1) -> Sampler:
    """Return a sampler that goes each stretch of steps several times; see :class:`Repeated`.

    Raises:
        ValueError: for less than one repeat or step.
    """
    for name, value in (("repeats", repeats), ("stretch", stretch)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    count = -(-inner.num_steps // stretch)
    return Repeated(inner.sde, count, inner=inner, stretch=stretch, repeats=repeats)
