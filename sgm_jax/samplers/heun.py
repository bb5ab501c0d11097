"""Heun's second-order solver on the EDM noise levels (Karras et al., algorithm 1).

It follows the probability-flow ODE of the unscaled image ``y = x / a``: ``dy/dsigma =
(y - D(y, sigma)) / sigma``, and so works with the score of any SDE. N steps take 2 N - 1 network
evaluations: the step to zero noise is Euler's, which lands on the denoised image.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sgm_jax.samplers.base import START, Sampler, State, step_noise
from sgm_jax.score import score_denoiser
from sgm_jax.sde import Array, ScoreFn


def edm_noise_levels(
    num_steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Array:
    """Return ``[num_steps + 1]`` noise levels from sigma_max to sigma_min, then 0 (eq. 5)."""
    ramp = jnp.linspace(0.0, 1.0, num_steps)
    ends = jnp.array([sigma_max, sigma_min]) ** (1 / rho)
    return jnp.append((ends[0] + ramp * (ends[1] - ends[0])) ** rho, 0.0)


@dataclasses.dataclass(frozen=True)
class Heun(Sampler):
    """Deterministic second-order sampling.

    Attributes:
        sigma_min: the last noise level before zero, in units of model space.
        sigma_max: the first one.
        rho: how much the levels crowd at the low end.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    @property
    def nfe(self) -> int:
        """Two network evaluations a step, one for the last."""
        return 2 * self.num_steps - 1

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return noise at the first level; the second entry is not used."""
        y = self.sigma_max * step_noise(keys, START, shape)
        return y, y

    def step(self, i: Array, state: State, keys: Array, score_fn: ScoreFn) -> State:
        """Return the image at the next noise level."""
        del keys
        y, _ = state
        levels = edm_noise_levels(
            self.num_steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max, rho=self.rho
        )
        here, there = levels[i], levels[i + 1]
        denoise = score_denoiser(score_fn, self.sde)

        def slope(y: Array, sigma: Array) -> Array:
            return (y - denoise(y, jnp.broadcast_to(sigma, y.shape[:1]))) / sigma

        first = slope(y, here)
        euler = y + (there - here) * first

        def corrected() -> Array:
            return y + (there - here) * 0.5 * (first + slope(euler, there))

        y = jax.lax.cond(there > 0, corrected, lambda: euler)
        return y, y

    def finish(self, state: State) -> Array:
        """Return the denoised image."""
        return state[0]
