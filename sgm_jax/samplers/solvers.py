"""Solvers that need tens of network evaluations where a predictor needs a thousand.

All of them follow the unscaled image ``y = x / a`` down a grid of noise levels ``sigma = std / a``
through the denoiser ``D(y, sigma)`` (Karras et al., arXiv:2206.00364), and so work with the score
of any SDE and any network behind it. Time does not appear: in ``y`` the probability flow is
``dy / dsigma = (y - D) / sigma`` for VP, sub-VP and VE alike. Its exponential integrator of first
order is Euler's method, and both are DDIM with eta 0.

A solver is a function ``(denoise, y, memory, *, levels, z)`` that returns y at the next level and
the memory for the next step. ``levels`` are the previous level (for solvers with a memory), the
current and the next one; ``z`` is standard normal noise. At level 0 the image is the denoised one.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sgm_jax.samplers.base import START, Sampler, State, step_noise
from sgm_jax.samplers.grids import Grid, edm_grid
from sgm_jax.score import score_denoiser
from sgm_jax.sde import Array, ScoreFn

Denoise = Callable[[Array, Array], Array]
Levels = tuple[Array, Array, Array]
Solver = Callable[..., tuple[Array, Array]]


def heun(
    denoise: Denoise, y: Array, memory: Array, *, levels: Levels, z: Array
) -> tuple[Array, Array]:
    """Take Heun's second-order step, with two evaluations (Karras et al., algorithm 1)."""
    del z
    _, here, there = levels
    first = (y - denoise(y, here)) / here
    euler = y + (there - here) * first

    def corrected() -> Array:
        second = (euler - denoise(euler, there)) / there
        return y + (there - here) * 0.5 * (first + second)

    return jax.lax.cond(there > 0, corrected, lambda: euler), memory


def ddim(
    denoise: Denoise, y: Array, memory: Array, *, levels: Levels, z: Array, eta: float = 0.0
) -> tuple[Array, Array]:
    """Take DDIM's step (arXiv:2010.02502, eq. 12 and 16).

    ``eta`` 0 is Euler's method on the probability flow, 1 is DDPM's ancestral sampling.
    """
    _, here, there = levels
    denoised = denoise(y, here)
    noise = eta * there / here * jnp.sqrt(here**2 - there**2)
    kept = jnp.sqrt(there**2 - noise**2) / here
    y = denoised + kept * (y - denoised)
    # Without fresh noise z is not used, and so not drawn.
    return (y if eta == 0 else y + noise * z), memory


def dpm_solver(
    denoise: Denoise, y: Array, memory: Array, *, levels: Levels, z: Array
) -> tuple[Array, Array]:
    """Take a second-order multistep step of DPM-Solver++ (arXiv:2211.01095, algorithm 2)."""
    del z
    denoised = denoise(y, levels[1])
    shrink = levels[2] / levels[1]
    return shrink * y + (1 - shrink) * _extrapolate(denoised, memory, levels), denoised


def dpm_solver_sde(
    denoise: Denoise, y: Array, memory: Array, *, levels: Levels, z: Array
) -> tuple[Array, Array]:
    """Take a step of SDE-DPM-Solver++, the same with fresh noise (arXiv:2211.01095, eq. 18)."""
    denoised = denoise(y, levels[1])
    shrink = (levels[2] / levels[1]) ** 2
    mean = shrink * y + (1 - shrink) * _extrapolate(denoised, memory, levels)
    return mean + levels[2] * jnp.sqrt(1 - shrink) * z, denoised


SOLVERS: dict[str, Solver] = {
    "heun": heun,
    "ddim": ddim,
    "dpm_solver": dpm_solver,
    "dpm_solver_sde": dpm_solver_sde,
}


def _extrapolate(denoised: Array, memory: Array, levels: Levels) -> Array:
    """Return D half a step ahead, on a line in log(sigma) through its last two values.

    The first step has no earlier value, and the last one, which is infinitely long, needs none.
    """
    before, here, there = levels
    usable = (before > here) & (there > 0)
    last = jnp.log(jnp.where(usable, before / here, 2.0))
    ahead = jnp.log(jnp.where(usable, here / there, 2.0))
    weight = jnp.where(usable, 0.5 * ahead / last, 0.0)
    return denoised + weight * (denoised - memory)


@dataclasses.dataclass(frozen=True)
class NoiseLevelSampler(Sampler):
    """Steps of a solver down a grid of noise levels.

    Attributes:
        solver: one step, from one level to the next.
        grid: where the levels lie.
        sigma_min: the last noise level before zero, in units of model space.
        sigma_max: the first one.
        rho: how much the levels of the EDM grid crowd at the low end.
        eta: how much of its noise DDIM draws afresh.
    """

    solver: Solver = heun
    grid: Grid = edm_grid
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    eta: float = 0.0

    def __post_init__(self):
        # The score is not known beyond time 1; a thousandth allows for rounding in float32.
        largest = float(self.sde.noise_level(jnp.ones(())))
        if self.sigma_max > 1.001 * largest:
            raise ValueError(
                f"sampling.sigma_max {self.sigma_max} is beyond the noise of the SDE at time 1, "
                f"{largest:.6g}; lower it"
            )

    @property
    def nfe(self) -> int:
        """One network evaluation a step; two for Heun's method, but one in the last step."""
        return 2 * self.num_steps - 1 if self.solver is heun else self.num_steps

    @property
    def levels(self) -> Array:
        """The noise levels ``[num_steps + 1]``, the last of them 0."""
        ends = {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max, "rho": self.rho}
        return self.grid(self.sde, self.num_steps, **ends)

    def marginal(self, i: Array) -> tuple[Array, Array]:
        """Return 1 and the noise level before step i: ``y = x / a`` is never scaled."""
        return jnp.ones(()), self.levels[i]

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return noise at the first level, and nothing remembered."""
        y = self.sigma_max * step_noise(keys, START, shape)
        return y, jnp.zeros_like(y)

    def step(
        self, i: Array, state: State, keys: Array, score_fn: ScoreFn, *, fresh: Array | bool = False
    ) -> State:
        """Return the image at the next noise level and what the solver remembers."""
        y, memory = state
        levels = self.levels
        of_level = score_denoiser(score_fn, self.sde)

        def denoise(y: Array, sigma: Array) -> Array:
            return of_level(y, jnp.broadcast_to(sigma, y.shape[:1]))

        # Where there is no previous level, the current one stands in for it.
        before = levels[jnp.where(fresh, i, jnp.maximum(i - 1, 0))]
        near = before, levels[i], levels[i + 1]
        solver = functools.partial(ddim, eta=self.eta) if self.solver is ddim else self.solver
        return solver(denoise, y, memory, levels=near, z=step_noise(keys, i, y.shape))

    def finish(self, state: State) -> Array:
        """Return the denoised image."""
        return state[0]
