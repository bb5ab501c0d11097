"""Stochastic differential equations that turn images into noise (Song et al., arXiv:2011.13456).

Time runs from 0 (data) to 1 (noise). Images are ``[B, ...]`` (in practice ``[B, H, W, C]``) and
times ``[B]``. Every SDE has a Gaussian marginal ``x_t = a(t) x_0 + std(t) z``; ``noise_level`` is
``std / a``, the sigma of Karras et al. (arXiv:2206.00364), and ``time_at`` is its inverse.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
ScoreFn = Callable[[Array, Array], Array]


def per_image(values: Array, like: Array) -> Array:
    """Reshape ``[B]`` values to multiply images ``[B, ...]``."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


@dataclasses.dataclass(frozen=True)
class SDE(abc.ABC):
    """What all SDEs share; ``num_scales`` is N, the steps of the discretised process."""

    num_scales: int = 1000

    @abc.abstractmethod
    def sde(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return the drift ``[B, ...]`` and the diffusion coefficient ``[B]``."""

    @abc.abstractmethod
    def mean_coeff(self, t: Array) -> Array:
        """Return a(t), the factor on the image in the marginal's mean, ``[B]``."""

    @abc.abstractmethod
    def std(self, t: Array) -> Array:
        """Return the standard deviation of the marginal, ``[B]``."""

    @abc.abstractmethod
    def time_at(self, noise_level: Array) -> Array:
        """Return the time at which ``std / a`` has this value, ``[B]``."""

    def marginal_prob(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return mean ``[B, ...]`` and standard deviation ``[B]`` of x_t given x_0 = x."""
        return per_image(self.mean_coeff(t), x) * x, self.std(t)

    def noise_level(self, t: Array) -> Array:
        """Return ``std / a``, the sigma of Karras et al., ``[B]``."""
        return self.std(t) / self.mean_coeff(t)

    @property
    def prior_std(self) -> float:
        """Standard deviation of the noise at time 1."""
        return 1.0

    def prior_logp(self, z: Array) -> Array:
        """Return the log density of z ``[B, ...]`` under the noise at time 1, ``[B]``."""
        variance = self.prior_std**2
        pixels = z[0].size
        square = jnp.sum(z**2, axis=tuple(range(1, z.ndim)))
        return -0.5 * (pixels * jnp.log(2 * jnp.pi * variance) + square / variance)

    def discretize(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return f ``[B, ...]`` and G ``[B]`` of ``x_{i+1} = x_i + f + G z``: Euler-Maruyama."""
        drift, diffusion = self.sde(x, t)
        dt = 1.0 / self.num_scales
        return drift * dt, diffusion * dt**0.5

    def langevin_alpha(self, t: Array) -> Array:
        """Return the factor of a corrector's step size: 1 unless images are scaled, ``[B]``."""
        return jnp.ones_like(t)

    def reverse(self, score_fn: ScoreFn, probability_flow: bool = False) -> "ReverseSDE":
        """Return the reverse-time SDE (eq. 6), or its probability-flow ODE (eq. 13)."""
        return ReverseSDE(self, score_fn, probability_flow)

    def grid_index(self, t: Array) -> Array:
        """Return the number of the grid point below t, 0 to num_scales - 1, ``[B]``."""
        return jnp.floor(t * (self.num_scales - 1)).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class ReverseSDE:
    """The same process, run from noise to data with a score function."""

    forward: SDE
    score_fn: ScoreFn
    probability_flow: bool = False

    def sde(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return drift ``[B, ...]`` and diffusion ``[B]`` of the reverse process."""
        return self._reversed(self.forward.sde, x, t)

    def discretize(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return f ``[B, ...]`` and G ``[B]`` of ``x_{i-1} = x_i - f + G z``."""
        return self._reversed(self.forward.discretize, x, t)

    def _reversed(self, rule: Callable, x: Array, t: Array) -> tuple[Array, Array]:
        drift, diffusion = rule(x, t)
        half = 0.5 if self.probability_flow else 1.0
        drift = drift - half * per_image(diffusion**2, x) * self.score_fn(x, t)
        return drift, jnp.zeros_like(diffusion) if self.probability_flow else diffusion


@dataclasses.dataclass(frozen=True)
class _LinearBeta(SDE):
    """A process driven by beta(t), linear from ``beta_min`` to ``beta_max``."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t: Array) -> Array:
        """Return the rate of noising, ``[B]``."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_mean_coeff(self, t: Array) -> Array:
        """Return log a(t), minus half the integral of beta, ``[B]``."""
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def mean_coeff(self, t: Array) -> Array:
        """Return a(t), ``[B]``."""
        return jnp.exp(self.log_mean_coeff(t))

    def grid_beta(self, t: Array) -> Array:
        """Return DDPM's beta at the grid point below t, ``[B]``."""
        betas = jnp.linspace(self.beta_min, self.beta_max, self.num_scales) / self.num_scales
        return betas[self.grid_index(t)]

    def langevin_alpha(self, t: Array) -> Array:
        """Return DDPM's alpha, one minus beta, ``[B]``; sub-VP shares it (the original fails)."""
        return 1.0 - self.grid_beta(t)

    def _time_at_integral(self, integral: Array) -> Array:
        # The root of 0.5 slope t^2 + beta_min t = integral, in the form that does not cancel.
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + jnp.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclasses.dataclass(frozen=True)
class VPSDE(_LinearBeta):
    """Variance preserving: the paper's SDE, the continuous limit of DDPM (eq. 11)."""

    def sde(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return the drift ``-beta x / 2`` and the diffusion ``sqrt(beta)``."""
        beta = self.beta(t)
        return -0.5 * per_image(beta, x) * x, jnp.sqrt(beta)

    def std(self, t: Array) -> Array:
        """Return the marginal's standard deviation; expm1 keeps it exact near t = 0."""
        return jnp.sqrt(-jnp.expm1(2 * self.log_mean_coeff(t)))

    def time_at(self, noise_level: Array) -> Array:
        """Return the time of a noise level: ``std^2 / a^2 = exp(integral) - 1``."""
        return self._time_at_integral(jnp.log1p(noise_level**2))

    def discretize(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return DDPM's step (eq. 10) at the grid point below t."""
        beta = self.grid_beta(t)
        # sqrt(1 - beta) - 1, in the form that does not cancel.
        shrink = -beta / (1 + jnp.sqrt(1 - beta))
        return per_image(shrink, x) * x, jnp.sqrt(beta)

    def chain(self, index: Array) -> tuple[Array, Array]:
        """Return a and std ``[B]`` of DDPM's Markov chain after steps 0 to index."""
        betas = jnp.linspace(self.beta_min, self.beta_max, self.num_scales) / self.num_scales
        log_square = jnp.cumsum(jnp.log1p(-betas))[index]
        return jnp.exp(0.5 * log_square), jnp.sqrt(-jnp.expm1(log_square))


@dataclasses.dataclass(frozen=True)
class SubVPSDE(_LinearBeta):
    """Sub-variance preserving: the variance stays below VP's (eq. 14)."""

    def sde(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return VP's drift and the smaller diffusion."""
        beta = self.beta(t)
        discount = -jnp.expm1(4 * self.log_mean_coeff(t))
        return -0.5 * per_image(beta, x) * x, jnp.sqrt(beta * discount)

    def std(self, t: Array) -> Array:
        """Return the marginal's standard deviation, the square of VP's."""
        return -jnp.expm1(2 * self.log_mean_coeff(t))

    def time_at(self, noise_level: Array) -> Array:
        """Return the time of a noise level: ``std / a = 2 sinh(integral / 2)``."""
        return self._time_at_integral(2 * jnp.arcsinh(noise_level / 2))


@dataclasses.dataclass(frozen=True)
class VESDE(SDE):
    """Variance exploding: the continuous limit of SMLD (eq. 9)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def sde(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return a zero drift and the diffusion of a geometric noise schedule."""
        return jnp.zeros_like(x), self.std(t) * (2 * self._log_ratio()) ** 0.5

    def mean_coeff(self, t: Array) -> Array:
        """Return 1: the image is never scaled, ``[B]``."""
        return jnp.ones_like(t)

    def std(self, t: Array) -> Array:
        """Return ``sigma_min (sigma_max / sigma_min)^t``, ``[B]``."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def time_at(self, noise_level: Array) -> Array:
        """Return the time of a noise level on the geometric schedule."""
        return jnp.log(noise_level / self.sigma_min) / self._log_ratio()

    @property
    def prior_std(self) -> float:
        """Standard deviation of the noise at time 1."""
        return self.sigma_max

    def discretize(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Return SMLD's step (eq. 8) at the grid point below t."""
        sigma, below = self.grid_sigmas(t)
        return jnp.zeros_like(x), jnp.sqrt(sigma**2 - below**2)

    def grid_sigmas(self, t: Array) -> tuple[Array, Array]:
        """Return SMLD's noise level at the grid point below t and the one before, ``[B]`` each."""
        index = self.grid_index(t)
        _, sigma = self.chain(index)
        _, below = self.chain(jnp.maximum(index - 1, 0))
        return sigma, jnp.where(index == 0, 0.0, below)

    def chain(self, index: Array) -> tuple[Array, Array]:
        """Return a = 1 and SMLD's noise level number index, from the smallest, ``[B]`` each."""
        ends = jnp.log(jnp.array([self.sigma_min, self.sigma_max]))
        sigma = jnp.exp(jnp.linspace(ends[0], ends[1], self.num_scales))[index]
        return jnp.ones_like(sigma), sigma

    def _log_ratio(self) -> Array:
        return jnp.log(self.sigma_max / self.sigma_min)


SDES: dict[str, type[SDE]] = {"vpsde": VPSDE, "subvpsde": SubVPSDE, "vesde": VESDE}


def sde_from_config(config: Any) -> SDE:
    """Return the SDE that ``config.training.sde`` names, with its constants in ``config.model``."""
    model, kind = config.model, SDES[config.training.sde]
    if kind is VESDE:
        return VESDE(model.num_scales, sigma_min=model.sigma_min, sigma_max=model.sigma_max)
    return kind(model.num_scales, beta_min=model.beta_min, beta_max=model.beta_max)
