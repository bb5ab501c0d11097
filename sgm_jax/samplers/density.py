"""Exact log-likelihood through the probability-flow ODE (Song et al., arXiv:2011.13456, sec. 4.3).

The log density of an image is that of its latent plus the integral of the drift's divergence along
the path. Random probes ``e`` estimate the divergence without bias as ``e . (J e)`` (Hutchinson;
arXiv:1810.01367). Each probe is kept for the whole path, and several of them give the error. Here
forward differentiation gives ``J e``, where the original has ``e J`` from backward differentiation:
the number is the same, but on CPU the gradient of a convolution inside a loop is an order of
magnitude slower.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.data import PixelScale
from sgm_jax.samplers.ode import solve
from sgm_jax.sde import SDE, Array, ScoreFn

Probe = Callable[[Array, tuple[int, ...]], Array]

LEVELS = 256
# Numbers that the keys of an image are folded with.
_DEQUANTISATION, _PROBES = range(2)


class Density(NamedTuple):
    """Log densities in nats ``[B, P]``, one for each probe; latents; evaluations ``[B]``."""

    log_density: Array
    latents: Array
    nfe: Array


class LevelProbability(NamedTuple):
    """Bounds in nats, their errors from the probes, evaluations (all ``[B]``), and latents."""

    nats: Array
    stderr: Array
    latents: Array
    nfe: Array


def rademacher(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw signs: the probe of least variance."""
    return jax.random.rademacher(key, shape, jnp.float32)


PROBES: dict[str, Probe] = {"rademacher": rademacher, "gaussian": jax.random.normal}


def log_probability(
    sde: SDE,
    score_fn: ScoreFn,
    images: Array,
    *,
    keys: Array,
    scale: PixelScale,
    num_probes: int = 4,
    probe: str = "rademacher",
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> LevelProbability:
    """Return a bound on the log-probability of images of 256 levels.

    Uniform noise fills the gaps between the levels, so that the model's density bounds the
    probability of the levels from below (arXiv:1511.01844). It and the probes depend on an image's
    key only.

    Args:
        sde: the forward process.
        score_fn: its score.
        images: whole numbers 0..255, ``[B, H, W, C]``.
        keys: one for each image, ``[B]``.
        scale: how the network sees pixels.
        num_probes: with 1, the error is NaN.
        probe: "rademacher" or "gaussian".
        eps: the time at which the images are put in; the score diverges at 0.
        rtol: relative tolerance of a step of the solver.
        atol: absolute tolerance.

    Raises:
        ValueError: for an unknown kind of probe, or no probes.
    """
    check_probes(probe, num_probes)
    filled = dequantise(images, keys)
    x = scale.to_model(filled)
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, _PROBES)
    probes = jax.vmap(lambda key: PROBES[probe](key, (num_probes, *images.shape[1:])))(keys)
    density = log_density(sde, score_fn, x, probes=probes, eps=eps, rtol=rtol, atol=atol)
    nats = level_nats(density.log_density, filled, scale)
    ddof = min(num_probes - 1, 1)
    stderr = nats.std(1, ddof=ddof) / num_probes**0.5 if ddof else jnp.full(len(images), jnp.nan)
    return LevelProbability(nats.mean(1), stderr, density.latents, density.nfe)


def level_nats(log_density: Array, charge: Array, scale: PixelScale) -> Array:
    """Return log-probabilities of 256 levels from a log density in network space.

    Args:
        log_density: in nats, ``[B, P]``.
        charge: where it was measured, on the scale 0..255 ``[B, H, W, C]``.
        scale: from there to network space.
    """
    slope = scale.log_slope(charge).sum(axis=(1, 2, 3))
    # A level is 255 / 256 wide on the scale 0..255.
    return log_density + slope[:, None] + charge[0].size * np.log(255 / LEVELS)


def check_probes(probe: str, num_probes: int) -> None:
    """Refuse an unknown kind of probe, or no probes.

    Raises:
        ValueError: with the known kinds.
    """
    if probe not in PROBES:
        raise ValueError(f"probe is {probe!r}; it can be: {', '.join(map(repr, PROBES))}")
    if num_probes < 1:
        raise ValueError(f"num_probes is {num_probes}; it must be at least 1")


def dequantise(images: Array, keys: Array) -> Array:
    """Spread each level k of 0..255 evenly over ``[k, k + 1) 255 / 256``."""

    def uniform(key: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, _DEQUANTISATION), images.shape[1:])

    return (images.astype(jnp.float32) + jax.vmap(uniform)(keys)) * (255 / LEVELS)


def log_density(
    sde: SDE,
    score_fn: ScoreFn,
    x: Array,
    *,
    probes: Array,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Density:
    """Return the log density of images at time ``eps`` (eq. 39), once for each probe.

    Args:
        sde: the forward process.
        score_fn: its score.
        x: images in model space, ``[B, H, W, C]``.
        probes: of mean 0 and variance 1, independent, ``[B, P, H, W, C]``.
        eps: the time of the images.
        rtol: relative tolerance of a step of the solver.
        atol: absolute tolerance.
    """
    reverse = sde.reverse(score_fn, probability_flow=True)

    def field(state: tuple[Array, Array], t: Array) -> tuple[Array, Array]:
        x, _ = state

        def along(probe: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda x: reverse.sde(x, t)[0], (x,), (probe,))

        # The drift itself is the same for all probes and computed once.
        drift, changes = jax.vmap(along, in_axes=1, out_axes=(None, 1))(probes)
        return drift, jnp.sum(probes * changes, axis=tuple(range(2, probes.ndim)))

    start = x, jnp.zeros(probes.shape[:2])
    (latents, gained), nfe = solve(field, start, first=eps, last=1.0, rtol=rtol, atol=atol)
    return Density(sde.prior_logp(latents)[:, None] + gained, latents, nfe)
