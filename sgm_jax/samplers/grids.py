"""Grids of noise levels ``sigma = std / a`` for a solver, from the largest down to zero.

A grid maps ``(sde, num_steps, *, sigma_min, sigma_max, rho)`` to ``[num_steps + 1]`` falling levels
that start at ``sigma_max``; the last is 0 and the one before ``sigma_min``.
"""

from collections.abc import Callable

import jax.numpy as jnp

from sgm_jax.sde import SDE, Array

Grid = Callable[..., Array]


def edm_grid(
    sde: SDE, num_steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Array:
    """Space ``sigma^(1 / rho)`` evenly (Karras et al., arXiv:2206.00364, eq. 5)."""
    del sde
    return _to_zero((_ramp(num_steps, sigma_max ** (1 / rho), sigma_min ** (1 / rho))) ** rho)


def log_snr_grid(
    sde: SDE, num_steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Array:
    """Space the log signal-to-noise ratio ``-2 log(sigma)`` evenly (arXiv:2206.00927)."""
    del sde, rho
    return _to_zero(jnp.exp(_ramp(num_steps, jnp.log(sigma_max), jnp.log(sigma_min))))


def time_grid(
    sde: SDE, num_steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Array:
    """Space the SDE's own time evenly, as the predictor-corrector samplers do."""
    del rho
    first, last = sde.time_at(jnp.array([sigma_max, sigma_min]))
    return _to_zero(sde.noise_level(_ramp(num_steps, first, last)))


def quadratic_grid(
    sde: SDE, num_steps: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Array:
    """Space the square root of time evenly: DDIM's quadratic steps (arXiv:2010.02502, D.2)."""
    del rho
    first, last = jnp.sqrt(sde.time_at(jnp.array([sigma_max, sigma_min])))
    return _to_zero(sde.noise_level(_ramp(num_steps, first, last) ** 2))


GRIDS: dict[str, Grid] = {
    "edm": edm_grid,
    "log_snr": log_snr_grid,
    "time": time_grid,
    "quadratic": quadratic_grid,
}


def _ramp(num_steps: int, first: Array | float, last: Array | float) -> Array:
    return first + jnp.linspace(0.0, 1.0, num_steps) * (last - first)


def _to_zero(levels: Array) -> Array:
    return jnp.append(levels, 0.0)
