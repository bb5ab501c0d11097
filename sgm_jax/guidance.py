"""Images under conditions without further training: each of these makes a new score function.

Every sampler takes these like the network's own score, and they can be nested. They change the
denoised image ``D = E[x_0 | x_t] = (x_t + std^2 score) / a``.

* :func:`known_pixels` puts the known pixels into D: dead wires, occluded regions (inpainting).
* :func:`tiled` averages D over overlapping tiles of a canvas larger than the network's images
  (outpainting).
* :func:`observable_guidance` moves D towards a given value of an observable, such as the charge.
* :func:`classifier_free` moves D, for a network that was trained with conditions, from what it is
  without one to what it is with it.
* :func:`autoguided` moves D away from that of a weaker network.
* :func:`classifier_guided` moves D, for a network that was trained without, to where a classifier
  of noised images finds a condition more probable.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sgm_jax.models.condition import Condition, anything
from sgm_jax.sde import SDE, Array, ScoreFn, per_image

ConditionalScoreFn = Callable[[Array, Array, Condition], Array]
Observable = Callable[[Array], Array]
LogPosterior = Callable[[Array, Array, Condition], Array]


def classifier_free(
    score_fn: ConditionalScoreFn,
    sde: SDE,
    *,
    condition: Condition,
    weight: float,
    interval: tuple[float, float] | None = None,
) -> ScoreFn:
    """Return the score of images under a condition that the network was trained with.

    With s the score without and s_c that with the condition it is ``s + weight (s_c - s)``
    (arXiv:2207.12598, eq. 6, whose weight is one less). With 1 it is the one that was learnt. More
    moves images to where the condition is more certain, and makes them more alike: of Gaussians the
    deviation shrinks, too.

    Args:
        score_fn: the network's, ``(x, t, condition) -> score``.
        sde: the forward process.
        condition: of the images ``[B]``.
        weight: 0 ignores the condition, 1 is plain, and each of them takes one evaluation; all
            others take one of twice as many images.
        interval: lowest and highest noise level with this weight; it is 1 at the others
            (arXiv:2404.07724).
    """
    nothing = anything(condition)
    if weight == 1 or (weight == 0 and interval is None):
        shown = condition if weight == 1 else nothing
        return lambda x, t: score_fn(x, t, shown)
    both = jax.tree.map(lambda *rows: jnp.concatenate(rows), condition, nothing)

    def score(x: Array, t: Array) -> Array:
        twice = score_fn(jnp.concatenate([x, x]), jnp.concatenate([t, t]), both)
        with_condition, without = jnp.split(twice, 2)
        beyond = jnp.full_like(t, weight - 1)
        if interval is not None:
            beyond = jnp.where(_within(interval, sde, t), beyond, 0.0)
        return with_condition + per_image(beyond, x) * (with_condition - without)

    return score


def autoguided(score_fn: ScoreFn, weaker_fn: ScoreFn, *, weight: float) -> ScoreFn:
    """Return the score beyond a network's, seen from a weaker one's: ``w + weight (s - w)``.

    That is autoguidance (arXiv:2406.02507, eq. 4). Where both agree nothing changes. It takes one
    evaluation of each.

    Args:
        score_fn: the network's.
        weaker_fn: of one that was trained for less, or is smaller, on the same images.
        weight: 1 is the network alone; more leads away from what both got wrong.
    """

    def score(x: Array, t: Array) -> Array:
        weaker = weaker_fn(x, t)
        return weaker + weight * (score_fn(x, t) - weaker)

    return score


def amplified(
    score_fn: ScoreFn, sde: SDE, *, gain: float, interval: tuple[float, float]
) -> ScoreFn:
    """Return the score of denoised images that are ``gain`` times as bright.

    Charge is lost along the drawn way: each step takes the error of the one before along, and sees
    fainter images than the network has learnt from at this level (exposure bias; arXiv:2308.15321
    weakens the noise that is taken away instead, which of sparse images makes specks). With
    ``D = (x + std^2 s) / a`` the denoised image, this is the score whose D is ``gain D``.

    Args:
        score_fn: the network's.
        sde: the forward process.
        gain: 1 changes nothing.
        interval: lowest and highest noise level with this gain; it is 1 at the others.
    """

    def score(x: Array, t: Array) -> Array:
        factor = per_image(jnp.where(_within(interval, sde, t), gain, 1.0), x)
        return factor * score_fn(x, t) + (factor - 1.0) * x / per_image(sde.std(t) ** 2, x)

    return score


def _within(interval: tuple[float, float], sde: SDE, t: Array) -> Array:
    """Tell at which times ``[B]`` the noise level lies in an interval."""
    low, high = interval
    level = sde.noise_level(t)
    return (low <= level) & (level <= high)


def classifier_guided(
    score_fn: ScoreFn, log_posterior: LogPosterior, *, condition: Condition, weight: float
) -> ScoreFn:
    """Return the score of images under a condition, by Bayes: ``s + weight d/dx log p_t(y | x)``.

    With 1 it is the original's (arXiv:2011.13456, eq. 14), and exact where both are. More follows
    the condition more strictly and makes images more alike (arXiv:2105.05233, section 4.3). It
    costs a gradient of the classifier; see :func:`observable_guidance` on gradients in loops.

    Args:
        score_fn: of images of which nothing is asked.
        log_posterior: ``(x, t, condition) -> [B]``, of what noised images show.
        condition: of the images ``[B]``.
        weight: 0 ignores the condition, and the classifier is not evaluated.
    """
    if weight == 0:
        return score_fn

    def score(x: Array, t: Array) -> Array:
        slope = jax.grad(lambda x: log_posterior(x, t, condition).sum())(x)
        return score_fn(x, t) + weight * slope

    return score


def known_pixels(score_fn: ScoreFn, sde: SDE, *, known: Array, mask: Array) -> ScoreFn:
    """Return a score that leads known pixels to their values, and the others along with them.

    The original overwrites known pixels with noised ones after each step, also in the mean that
    its last step returns: noise stays in the images. Here known pixels have the score of their own
    noise, ``(a known - x) / std^2``. Nothing is overwritten, the last step is as usual, and solvers
    with a memory or with adaptive steps work too.

    Args:
        score_fn: the network's.
        sde: the forward process.
        known: ``[B or 1, H, W, C]`` in model space.
        mask: True where pixels are known, ``[B or 1, H, W, C or 1]``.

    Raises:
        ValueError: if mask and images do not fit.
    """
    check_mask(mask, known)

    def score(x: Array, t: Array) -> Array:
        scale, variance = per_image(sde.mean_coeff(t), x), per_image(sde.std(t) ** 2, x)
        return jnp.where(mask, (scale * known - x) / variance, score_fn(x, t))

    return score


def check_mask(mask: Array, images: Array) -> None:
    """Refuse a mask that does not lie over images ``[B, H, W, C]``.

    Raises:
        ValueError: with both shapes, or the type.
    """
    if mask.dtype != jnp.bool_:
        raise ValueError(f"the mask has type {mask.dtype}; give booleans, True where known")
    fits = mask.ndim == images.ndim == 4 and mask.shape[1:3] == images.shape[1:3]
    if not fits or any(mask.shape[i] not in (1, images.shape[i]) for i in (0, 3)):
        raise ValueError(
            f"the mask has shape {mask.shape} and the images {images.shape}; "
            "it must be [B or 1, H, W, C or 1] of the images' [B, H, W, C]"
        )


def total_charge(images: Array) -> Array:
    """Return the sum over an image's pixels in model space, ``[B]``."""
    return images.sum(axis=(1, 2, 3))


def observable_guidance(
    score_fn: ScoreFn,
    sde: SDE,
    observable: Observable,
    *,
    target: Array | float,
    spread: float,
) -> ScoreFn:
    """Return the score of images that are weighted by ``N(observable; target, spread^2)``.

    The observable of the denoised image is uncertain by ``C = Cov[x_0 | x_t]`` as well, and that is
    ``std^2 / a  dD / dx`` (Tweedie's second formula; arXiv:2310.06721). With the observable's
    gradient g, the score gains ``(dD / dx)^T g (target - observable) / (spread^2 + g C g)``: exact
    for Gaussian images and linear observables. It costs the network's gradient. On CPU the gradient
    is nine times slower inside the loop of ``Sampler.advance``, and as slow inside the conditional
    of Heun's step: call a jitted ``Sampler.step`` of another solver from Python there.

    Args:
        score_fn: the network's.
        sde: the forward process.
        observable: of denoised images ``[B, H, W, C]`` in model space, ``[B]``; differentiable.
        target: its value, one for all images or ``[B]``.
        spread: how far from it images may be, one standard deviation, in the observable's units.

    Raises:
        ValueError: if the spread is not positive.
    """
    if not spread > 0:
        raise ValueError(f"spread is {spread}; it must be above 0, in the observable's units")

    def score(x: Array, t: Array) -> Array:
        scale, variance = per_image(sde.mean_coeff(t), x), per_image(sde.std(t) ** 2, x)

        def denoise(x: Array) -> tuple[Array, Array]:
            plain = score_fn(x, t)
            return (x + variance * plain) / scale, plain

        denoised, pull, plain = jax.vjp(denoise, x, has_aux=True)
        value, of_value = jax.vjp(observable, denoised)
        (slope,) = of_value(jnp.ones_like(value))
        (pulled,) = pull(slope)
        uncertain = jnp.sum(variance / scale * slope * pulled, axis=(1, 2, 3))
        # A network's covariance need not be positive, as the exact one is. Where it is not, there
        # is no direction to go in, and to divide by the spread alone would lead far astray.
        gain = jnp.where(uncertain > 0, 1 / (spread**2 + uncertain), 0.0)
        force = gain * (target - value)
        return plain + per_image(force, x) * pulled

    return score


def tiled(score_fn: ScoreFn, *, tile: int, stride: int) -> ScoreFn:
    """Return a score for canvases larger than the network's images.

    The canvas is covered with overlapping tiles, and where they overlap their scores are averaged
    (MultiDiffusion, arXiv:2302.08113), the less the nearer to a tile's border. All tiles are
    evaluated at once, as a larger batch. Give the sampler the canvas as its shape.

    Args:
        score_fn: for images ``[B, tile, tile, C]``.
        tile: pixels along a side of the network's images.
        stride: pixels from one tile to the next.

    Raises:
        ValueError: if tiles leave gaps, or (when called) do not end where the canvas does.
    """
    tile_corners(tile, tile, stride)
    ramp = jnp.minimum(jnp.arange(1.0, tile + 1), jnp.arange(float(tile), 0, -1))
    weight = (ramp[:, None] * ramp[None, :])[None, :, :, None]

    def score(x: Array, t: Array) -> Array:
        corners = [
            (row, column)
            for row in tile_corners(x.shape[1], tile, stride)
            for column in tile_corners(x.shape[2], tile, stride)
        ]
        tiles = jnp.stack([x[:, i : i + tile, j : j + tile] for i, j in corners], axis=1)
        times = jnp.repeat(t, len(corners))
        parts = score_fn(tiles.reshape(-1, *tiles.shape[2:]), times).reshape(tiles.shape)
        total, weights = jnp.zeros_like(x), jnp.zeros((1, *x.shape[1:3], 1))
        for k, (i, j) in enumerate(corners):
            total = total.at[:, i : i + tile, j : j + tile].add(weight * parts[:, k])
            weights = weights.at[:, i : i + tile, j : j + tile].add(weight)
        return total / weights

    return score


def tile_corners(length: int, tile: int, stride: int) -> range:
    """Return where tiles begin along a side of a canvas.

    Raises:
        ValueError: if they leave gaps, or do not end where the canvas does.
    """
    if not 1 <= stride <= tile:
        raise ValueError(f"stride is {stride}; it must be 1 to the tile's size, {tile}")
    if length < tile or (length - tile) % stride:
        above = tile + -(-max(length - tile, 0) // stride) * stride
        raise ValueError(
            f"tiles of {tile} pixels every {stride} do not cover a canvas of {length}; "
            f"make it {above}, or change the stride"
        )
    return range(0, length - tile + 1, stride)
