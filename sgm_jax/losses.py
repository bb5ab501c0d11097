"""Denoising score matching: what the network is trained to minimise.

Pure functions. Random numbers are drawn per example, from the step's key and the example's
position in the global batch, so that a loss does not depend on how the batch is split.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from sgm_jax.score import Denoiser, NetworkFn, chain_noise
from sgm_jax.sde import SDE, VESDE, VPSDE, Array, ScoreFn, per_image

Batch = dict[str, Any]
LossFn = Callable[..., tuple[Array, dict[str, Array]]]
NetworkApply = Callable[..., Callable[[Array, Array], Array]]

Weight = Callable[[Array], Array]

_MIN_SNR = 5.0
# Half the distance between two numbers that are spread evenly: 0 is no normal quantile.
_HALF = 2.0**-25


def velocity_weight(noise_level: Array) -> Array:
    """Return what turns the squared error of the noise into that of the velocity."""
    return 1 + noise_level**2


def min_snr_weight(noise_level: Array) -> Array:
    """Return min(SNR, 5) / SNR: little noise counts less (arXiv:2303.09556, section 3.4)."""
    return jnp.minimum(1.0, _MIN_SNR * noise_level**2)


def balancing_weight(sigma: Array, sigma_data: float) -> Array:
    """Return about one over the EDM loss of a trained network, so that all levels count alike.

    EDM2 learns that loss beside the network (arXiv:2312.02696, section 2.2 and eq. 14). On images
    of mostly empty pixels it is near 1/16 where the noise is small, and rises to 1 around eight
    times the pixels' standard deviation, where the noise hides what an image shows.
    """
    hidden = sigma**2 / (sigma**2 + (8 * sigma_data) ** 2)
    return 1 / (1 / 16 + hidden)


# Factors on the squared error of the predicted noise.
WEIGHTS: dict[str, Weight | None] = {
    "noise": None,
    "velocity": velocity_weight,
    "min_snr": min_snr_weight,
}


def score_matching_loss(
    score_fn: ScoreFn,
    sde: SDE,
    x: Array,
    *,
    t: Array,
    z: Array,
    reduce_mean: bool = True,
    likelihood_weighting: bool = False,
    weight: Weight | None = None,
) -> Array:
    """Return the continuous denoising score matching loss of each image, ``[B]``.

    Song et al., eq. 7, with weight ``std^2`` (the objective the paper really runs: plain noise
    prediction), or ``g(t)^2`` for likelihood weighting (arXiv:2101.09258).

    Args:
        score_fn: score of x_t.
        sde: the forward process.
        x: images in model space, ``[B, H, W, C]``.
        t: times, ``[B]``.
        z: standard normal noise like x.
        reduce_mean: mean over pixels; otherwise half their sum, as in the original.
        likelihood_weighting: weight by the squared diffusion coefficient.
        weight: further factor, a function of the noise level ``std / a``, see :data:`WEIGHTS`.
    """
    mean, std = sde.marginal_prob(x, t)
    std = per_image(std, x)
    score = score_fn(mean + std * z, t)
    if likelihood_weighting:
        _, diffusion = sde.sde(x, t)
        square = (score + z / std) ** 2 * per_image(diffusion**2, x)
    else:
        square = (score * std + z) ** 2
    if weight is not None:
        square = square * per_image(weight(sde.noise_level(t)), x)
    axes = tuple(range(1, x.ndim))
    return square.mean(axes) if reduce_mean else 0.5 * square.sum(axes)


def chain_loss(
    noise: NetworkFn,
    sde: VPSDE | VESDE,
    x: Array,
    *,
    index: Array,
    z: Array,
    reduce_mean: bool = True,
) -> Array:
    """Return the loss of each image at a step of the Markov chain, ``[B]``.

    DDPM's simple loss (arXiv:2006.11239, eq. 14) or SMLD's with weight sigma^2 (arXiv:1907.05600,
    eq. 5): both compare predicted and added noise.

    Args:
        noise: predicts the noise, see :func:`sgm_jax.score.chain_noise`.
        sde: the process the chain belongs to.
        x: images in model space, ``[B, H, W, C]``.
        index: steps of the chain, ``[B]`` whole numbers from 0 to N - 1.
        z: standard normal noise like x.
        reduce_mean: mean over pixels; otherwise half their sum, as in the original.
    """
    scale, std = (per_image(values, x) for values in sde.chain(index))
    square = (noise(scale * x + std * z, index) - z) ** 2
    axes = tuple(range(1, x.ndim))
    return square.mean(axes) if reduce_mean else 0.5 * square.sum(axes)


def edm_loss(denoiser: Denoiser, x: Array, *, sigma: Array, z: Array, sigma_data: float) -> Array:
    """Return the weighted denoising loss of each image, ``[B]`` (Karras et al., eq. 2 and 8)."""
    error = denoiser(x + per_image(sigma, x) * z, sigma) - x
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * (error**2).mean(tuple(range(1, x.ndim)))


def example_noise(
    key: Array, index: Array, shape: tuple[int, ...], *, level: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Draw a number and a noise image per example, from (key, index) alone.

    Args:
        key: the step's key.
        index: positions in the global batch, ``[B]`` int32.
        shape: of one image, ``(H, W, C)``.
        level: draws the number that sets the noise level, such as ``jax.random.uniform``.

    Returns:
        Numbers ``[B]`` and standard normal images ``[B, H, W, C]``.
    """

    def draw(i: Array) -> tuple[Array, Array]:
        level_key, image_key = jax.random.split(jax.random.fold_in(key, i))
        return level(level_key), jax.random.normal(image_key, shape)

    return jax.vmap(draw)(index)


def log_normal_noise(
    key: Array,
    index: Array,
    shape: tuple[int, ...],
    *,
    p_mean: float,
    p_std: float,
    low_discrepancy: bool = False,
) -> tuple[Array, Array]:
    """Draw EDM's noise levels ``[B]`` and standard normal images ``[B, H, W, C]``.

    Args:
        key: the step's key.
        index: positions in the global batch, ``[B]`` int32.
        shape: of one image, ``(H, W, C)``.
        p_mean: mean of the logarithm of the noise level.
        p_std: its standard deviation.
        low_discrepancy: spread the noise levels of a batch evenly over their distribution.
    """
    normal, z = example_noise(key, index, shape, level=jax.random.normal)
    if low_discrepancy:
        normal = ndtri(spread_evenly(key, index) + _HALF)
    return jnp.exp(p_mean + p_std * normal), z


def _of_batch(network: NetworkApply, params: dict, key: Array, batch: Batch) -> NetworkFn:
    """Return the network of the images of a batch, which knows what they show if the batch does."""
    known = [batch["condition"]] if "condition" in batch else []
    return network(params, key, batch["index"], *known)


def noise_prediction(
    network: NetworkApply,
    score_of: Callable[[Callable], ScoreFn],
    sde: SDE,
    *,
    reduce_mean: bool = True,
    likelihood_weighting: bool = False,
    weighting: str = "noise",
    time_sampling: str = "uniform",
    low_discrepancy: bool = False,
) -> LossFn:
    """Return ``loss_fn(params, key, batch) -> (loss, aux)``: the paper's objective.

    Args:
        network: ``network(params, key, index)`` gives a function ``(x, labels) -> output``; where
            a batch has a condition, that is a fourth argument.
        score_of: turns that function into a score function.
        sde: the forward process.
        reduce_mean: see :func:`score_matching_loss`.
        likelihood_weighting: see :func:`score_matching_loss`.
        weighting: a name in :data:`WEIGHTS`.
        time_sampling: a name in :data:`sgm_jax.losses.TIMES`.
        low_discrepancy: spread the times of a batch evenly.
    """

    def loss_fn(params: dict, key: Array, batch: Batch) -> tuple[Array, dict[str, Array]]:
        x, index = batch["image"], batch["index"]
        noise_key, network_key = jax.random.split(key)
        u, z = example_noise(noise_key, index, x.shape[1:], level=jax.random.uniform)
        if low_discrepancy:
            u = spread_evenly(noise_key, index)
        t, factor = TIMES[time_sampling](sde, u)
        losses = score_matching_loss(
            score_of(_of_batch(network, params, network_key, batch)),
            sde,
            x,
            t=t,
            z=z,
            reduce_mean=reduce_mean,
            likelihood_weighting=likelihood_weighting,
            weight=WEIGHTS[weighting],
        )
        return (factor * losses).mean(), {}

    return loss_fn


def chain_prediction(
    network: NetworkApply, sde: VPSDE | VESDE, *, reduce_mean: bool = True
) -> LossFn:
    """Return ``loss_fn(params, key, batch) -> (loss, aux)``: the original's discrete objectives.

    Args:
        network: ``network(params, key, index)`` gives a function ``(x, labels) -> output``; where
            a batch has a condition, that is a fourth argument.
        sde: the process whose chain is learnt.
        reduce_mean: see :func:`chain_loss`.
    """

    def level(key: Array) -> Array:
        return jax.random.randint(key, (), 0, sde.num_scales)

    def loss_fn(params: dict, key: Array, batch: Batch) -> tuple[Array, dict[str, Array]]:
        x, index = batch["image"], batch["index"]
        noise_key, network_key = jax.random.split(key)
        step, z = example_noise(noise_key, index, x.shape[1:], level=level)
        noise = chain_noise(_of_batch(network, params, network_key, batch), sde)
        return chain_loss(noise, sde, x, index=step, z=z, reduce_mean=reduce_mean).mean(), {}

    return loss_fn


def edm(
    network: NetworkApply,
    denoiser_of: Callable[[Callable], Denoiser],
    *,
    sigma_data: float,
    p_mean: float,
    p_std: float,
    balanced: bool = False,
    low_discrepancy: bool = False,
) -> LossFn:
    """Return ``loss_fn(params, key, batch) -> (loss, aux)`` with EDM preconditioning.

    Args:
        network: ``network(params, key, index)`` gives a function ``(x, labels) -> output``; where
            a batch has a condition, that is a fourth argument.
        denoiser_of: turns that function into a denoiser.
        sigma_data: standard deviation of the training images' pixels.
        p_mean: mean of log(sigma) over training examples.
        p_std: its standard deviation.
        balanced: weight with :func:`balancing_weight`.
        low_discrepancy: spread the noise levels of a batch evenly over their distribution.
    """

    def loss_fn(params: dict, key: Array, batch: Batch) -> tuple[Array, dict[str, Array]]:
        x, index = batch["image"], batch["index"]
        noise_key, network_key = jax.random.split(key)
        sigma, z = log_normal_noise(
            noise_key,
            index,
            x.shape[1:],
            p_mean=p_mean,
            p_std=p_std,
            low_discrepancy=low_discrepancy,
        )
        denoiser = denoiser_of(_of_batch(network, params, network_key, batch))
        losses = edm_loss(denoiser, x, sigma=sigma, z=z, sigma_data=sigma_data)
        if balanced:
            losses = losses * balancing_weight(sigma, sigma_data)
        return losses.mean(), {}

    return loss_fn


# Which noise levels a batch is trained on: the same loss on average, with less variance.
#
# A distribution of times maps ``(sde, u)``, with ``u`` uniform in [0, 1), to times and to the
# factors on the losses that make their mean the one over uniform times.

Times = Callable[[SDE, Array], tuple[Array, Array]]

# Below it the score diverges; the original's.
SMALLEST_TIME = 1e-5
# The whole number nearest to 2^32 over the golden ratio: its multiples, modulo 2^32, fill the range
# evenly however many there are.
_GOLDEN = 2654435769
_NO_EXAMPLE = 2**31 - 1


def uniform_times(sde: SDE, u: Array) -> tuple[Array, Array]:
    """Return times uniform from 1e-5 to 1, as the original draws them, and factors 1."""
    del sde
    return SMALLEST_TIME + u * (1.0 - SMALLEST_TIME), jnp.ones_like(u)


def importance_times(sde: SDE, u: Array) -> tuple[Array, Array]:
    """Return times with a density in proportion to ``g^2 / std^2`` (arXiv:2101.09258, sec. 5.1).

    Likelihood weighting multiplies the squared error of the noise with that ratio, which varies by
    orders of magnitude and so makes the loss vary; here all times count the same instead. For every
    SDE with a linear drift ``g^2 / std^2`` is twice the rate at which the logarithm of the noise
    level ``std / a`` grows: its logarithm is drawn uniformly.
    """
    ends = sde.noise_level(jnp.array([SMALLEST_TIME, 1.0]))
    low, high = jnp.log(ends)
    t = sde.time_at(jnp.exp(low + u * (high - low)))
    _, diffusion = sde.sde(jnp.zeros_like(t), t)
    density = (diffusion / sde.std(t)) ** 2 / (2 * (high - low))
    return t, 1 / ((1.0 - SMALLEST_TIME) * density)


TIMES: dict[str, Times] = {"uniform": uniform_times, "importance": importance_times}


def spread_evenly(key: Array, index: Array) -> Array:
    """Return numbers that are uniform one by one, and together fill [0, 1) evenly, ``[B]``.

    Number i is ``(u + i / golden ratio) mod 1`` with one u for the step. Kingma et al. take
    ``(u + i / B) mod 1`` (arXiv:2107.00630, I.1); this is nearly as even, and does not ask how many
    examples there are.

    Args:
        key: the step's.
        index: positions in the global batch, whole numbers ``[B]``.
    """
    first = jax.random.bits(jax.random.fold_in(key, _NO_EXAMPLE))
    # Whole numbers wrap around exactly; their upper 24 bits are what a float holds.
    bits = first + index.astype(jnp.uint32) * jnp.uint32(_GOLDEN)
    return (bits >> 8).astype(jnp.float32) * 2.0**-24
