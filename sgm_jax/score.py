"""From a network's output to a score function or a denoiser.

Three quantities say the same thing at a noise level sigma = std / a (see :mod:`sgm_jax.sde`):

* the score of x_t, ``s(x, t)``;
* the predicted noise, ``z = -std s``: what the paper's network gives out (arXiv:2307.13687);
* the denoised image, ``D(y, sigma)`` with ``y = x / a``: Karras et al. (arXiv:2206.00364).

Samplers take the score function; whatever the network was trained to predict is converted here.
"""

from collections.abc import Callable

import jax.numpy as jnp

from sgm_jax.sde import SDE, VESDE, VPSDE, Array, ScoreFn, per_image

NetworkFn = Callable[[Array, Array], Array]
Denoiser = Callable[[Array, Array], Array]


def noise_score(network: NetworkFn, sde: SDE) -> ScoreFn:
    """Return the score function of a network trained with the original's continuous loss.

    Under VP and sub-VP the network predicts the noise from the label ``999 t``; under VE it gives
    the score itself from the label sigma(t).
    """

    def score(x: Array, t: Array) -> Array:
        std = sde.std(t)
        if isinstance(sde, VESDE):
            return network(x, std)
        return -network(x, 999.0 * t) / per_image(std, x)

    return score


def velocity_score(network: NetworkFn, sde: SDE) -> ScoreFn:
    """Return the score function of a network that predicts velocity (arXiv:2202.00512, app. D).

    With ``x / c = a' x_0 + s' z``, where ``c`` makes ``a'^2 + s'^2 = 1``, the velocity is ``a' z -
    s' x_0``: noise where there is little of it, the image where there is little else. Under VP, c
    is 1. The label is ``999 t``.
    """

    def score(x: Array, t: Array) -> Array:
        a, std = sde.mean_coeff(t), sde.std(t)
        c = jnp.hypot(a, std)
        unit = x / per_image(c, x)
        noise = per_image(std / c, x) * unit + per_image(a / c, x) * network(unit, 999.0 * t)
        return -noise / per_image(std, x)

    return score


def chain_noise(network: NetworkFn, sde: VPSDE | VESDE) -> NetworkFn:
    """Return the noise ``(x, index) -> z`` that a network trained on a Markov chain predicts.

    Under VP that is DDPM: the label is the step of the chain. Under VE it is SMLD: the network
    gives the score, and its label counts noise levels from the largest.
    """

    def noise(x: Array, index: Array) -> Array:
        if isinstance(sde, VPSDE):
            return network(x, index)
        _, sigma = sde.chain(jnp.round(index).astype(jnp.int32))
        return -per_image(sigma, x) * network(x, sde.num_scales - 1 - jnp.round(index))

    return noise


def chain_score(network: NetworkFn, sde: VPSDE | VESDE) -> ScoreFn:
    """Return the score function of a network trained with DDPM's or SMLD's loss.

    As in the original, DDPM's label ``t (N - 1)`` is not rounded while its deviation is that of the
    grid point below, and SMLD's label is rounded.
    """
    noise = chain_noise(network, sde)

    def score(x: Array, t: Array) -> Array:
        index = t * (sde.num_scales - 1)
        below = sde.grid_index(t) if isinstance(sde, VPSDE) else jnp.round(index).astype(jnp.int32)
        _, std = sde.chain(below)
        return -noise(x, index) / per_image(std, x)

    return score


def edm_denoiser(network: NetworkFn, sigma_data: float, *, fourier: bool = False) -> Denoiser:
    """Return the denoiser ``D(y, sigma)`` of a preconditioned network (Karras et al., eq. 7).

    Args:
        network: ``(images [B, H, W, C], labels [B]) -> [B, H, W, C]``.
        sigma_data: standard deviation of the training images' pixels.
        fourier: whether the network takes the logarithm of its label itself. The positional
            embedding wants labels that span hundreds: it gets 1000 times Karras's log(sigma) / 4.
    """

    def denoise(y: Array, sigma: Array) -> Array:
        total = jnp.sqrt(sigma**2 + sigma_data**2)
        label = sigma if fourier else 250.0 * jnp.log(sigma)
        out = network(y / per_image(total, y), label)
        skip = per_image((sigma_data / total) ** 2, y)
        return skip * y + per_image(sigma * sigma_data / total, y) * out

    return denoise


def denoiser_score(denoiser: Denoiser, sde: SDE) -> ScoreFn:
    """Return the score of x_t under an SDE from a denoiser (Karras et al., eq. 3)."""

    def score(x: Array, t: Array) -> Array:
        scale = per_image(sde.mean_coeff(t), x)
        sigma = sde.noise_level(t)
        y = x / scale
        return (denoiser(y, sigma) - y) / (per_image(sigma**2, x) * scale)

    return score


def score_denoiser(score_fn: ScoreFn, sde: SDE) -> Denoiser:
    """Return the denoiser ``D(y, sigma)`` from the score of x_t: the inverse conversion."""

    def denoise(y: Array, sigma: Array) -> Array:
        t = sde.time_at(sigma)
        scale = per_image(sde.mean_coeff(t), y)
        return y + per_image(sigma**2, y) * scale * score_fn(scale * y, t)

    return denoise
