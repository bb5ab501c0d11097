"""Predictor-corrector sampling of the reverse-time SDE (Song et al., algorithm 1).

The paper draws its images with the Euler-Maruyama predictor, no corrector, 1000 steps.
"""

import dataclasses

import jax.numpy as jnp

from sgm_jax.samplers.base import START, Sampler, State, StepNoise, step_noise
from sgm_jax.samplers.correctors import Corrector
from sgm_jax.samplers.predictors import Predictor, check_predictor, euler_maruyama, no_prediction
from sgm_jax.sde import Array, ScoreFn


@dataclasses.dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Corrections and a prediction at every time of a uniform grid from 1 to ``eps``.

    Attributes:
        predictor: one update of the reverse process.
        corrector: Langevin step at one time; None makes none.
        corrector_steps: how many of them come before each prediction.
        snr: how long a corrector's step is.
        eps: the last time; below it the score of the VP SDE diverges.
        noise_removal: return the mean of the last step, without the noise that step adds.
        probability_flow: follow the ODE instead of the SDE.
        noise: draws the noise of a step; tests put their own here.
    """

    predictor: Predictor = euler_maruyama
    corrector: Corrector | None = None
    corrector_steps: int = 1
    snr: float = 0.16
    eps: float = 1e-3
    noise_removal: bool = True
    probability_flow: bool = False
    noise: StepNoise = step_noise

    def __post_init__(self):
        check_predictor(self.predictor, type(self.sde), self.probability_flow)

    @property
    def nfe(self) -> int:
        """Evaluations that are made; the original also counts a corrector that does nothing."""
        corrections = 0 if self.corrector is None else self.corrector_steps
        predictions = 0 if self.predictor is no_prediction else 1
        return self.num_steps * (corrections + predictions)

    @property
    def times(self) -> Array:
        """The time of each step, ``[num_steps]``."""
        return jnp.linspace(1.0, self.eps, self.num_steps)

    def marginal(self, i: Array) -> tuple[Array, Array]:
        """Return factor and deviation of the SDE at the time of step i."""
        t = self.times[i]
        return self.sde.mean_coeff(t), self.sde.std(t)

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return noise at time 1."""
        x = self.sde.prior_std * self.noise(keys, START, shape)
        return x, x

    def step(
        self, i: Array, state: State, keys: Array, score_fn: ScoreFn, *, fresh: Array | bool = False
    ) -> State:
        """Return x and its mean one step nearer to the data."""
        del fresh
        x, _ = state
        t = jnp.broadcast_to(self.times[i], x.shape[:1])
        if self.corrector is not None:
            for j in range(self.corrector_steps):
                # Predictions use the numbers below num_steps.
                z = self.noise(keys, (1 + j) * self.num_steps + i, x.shape)
                x, _ = self.corrector(self.sde, score_fn, x, t, z=z, snr=self.snr)
        reverse = self.sde.reverse(score_fn, self.probability_flow)
        return self.predictor(
            reverse, x, t, z=self.noise(keys, i, x.shape), num_steps=self.num_steps
        )

    def finish(self, state: State) -> Array:
        """Return the last mean, or the last x where the noise is to stay."""
        x, x_mean = state
        return x_mean if self.noise_removal else x
