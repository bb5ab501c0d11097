"""Predictor-corrector sampling of the reverse-time SDE (Song et al., algorithm 1).

The paper draws its images with the Euler-Maruyama predictor, no corrector, 1000 steps.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from sgm_jax.samplers.base import START, Sampler, State, StepNoise, step_noise
from sgm_jax.sde import Array, ReverseSDE, ScoreFn, per_image

Predictor = Callable[..., tuple[Array, Array]]


def euler_maruyama(
    reverse: ReverseSDE, x: Array, t: Array, *, z: Array, num_steps: int
) -> tuple[Array, Array]:
    """Return x and its mean after one Euler-Maruyama step from time t ``[B]`` with noise z.

    The step is ``1 / num_steps`` whatever the grid's end, as in the original.
    """
    drift, diffusion = reverse.sde(x, t)
    x_mean = x - drift / num_steps
    return x_mean + per_image(diffusion, x) * num_steps**-0.5 * z, x_mean


PREDICTORS: dict[str, Predictor] = {"euler_maruyama": euler_maruyama}


@dataclasses.dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Steps of a predictor on a uniform grid of times from 1 to ``eps``.

    Attributes:
        predictor: one update of the reverse process.
        eps: the last time; below it the score of the VP SDE diverges.
        noise_removal: return the mean of the last step, without the noise that step adds.
        probability_flow: follow the ODE instead of the SDE.
        noise: draws the noise of a step; tests put their own here.
    """

    predictor: Predictor = euler_maruyama
    eps: float = 1e-3
    noise_removal: bool = True
    probability_flow: bool = False
    noise: StepNoise = step_noise

    @property
    def nfe(self) -> int:
        """One network evaluation a step."""
        return self.num_steps

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return noise at time 1."""
        x = self.sde.prior_std * self.noise(keys, START, shape)
        return x, x

    def step(self, i: Array, state: State, keys: Array, score_fn: ScoreFn) -> State:
        """Return x and its mean one step nearer to the data."""
        x, _ = state
        t = jnp.broadcast_to(jnp.linspace(1.0, self.eps, self.num_steps)[i], x.shape[:1])
        reverse = self.sde.reverse(score_fn, self.probability_flow)
        return self.predictor(
            reverse, x, t, z=self.noise(keys, i, x.shape), num_steps=self.num_steps
        )

    def finish(self, state: State) -> Array:
        """Return the last mean, or the last x where the noise is to stay."""
        x, x_mean = state
        return x_mean if self.noise_removal else x
