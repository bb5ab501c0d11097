"""The numbers between encoder and decoder: how they are bounded, kept and drawn.

They are bounded in three ways, which look at different things: a divergence of each image's
distribution from a normal, a discrepancy of a whole batch from one, and a critic (see
:mod:`.networks`). Still they end up a little different from a normal, so to draw an image they are
drawn from what the encoder made of training images, by kernel density.

Latents of recent images are kept with the weights, in a buffer that rolls on. So whoever has the
weights can draw, a run that ends anywhere has latents of the encoder that it ends with, and no
second look at the training images is needed.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

# Of the squared distance, in the two kernels of the discrepancy: near and far.
_SHARPNESS = (1.0, 0.01)


def divergence(mean: Array, log_variance: Array) -> Array:
    """Return the Kullback-Leibler divergence of normals ``[B, N]`` from the unit one, ``[B]``.

    arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean**2 + jnp.exp(log_variance) - log_variance - 1).sum(axis=-1)


def discrepancy(first: Array, second: Array) -> Array:
    """Return the squared maximum mean discrepancy of two sets ``[B, N]`` (JMLR 13, 723, eq. 5).

    All pairs count, those of a vector with itself too, so that it is never negative.
    """

    def kernel(x: Array, y: Array) -> Array:
        squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
        return sum(jnp.exp(-sharp * jnp.maximum(squares, 0)).mean() for sharp in _SHARPNESS)

    return kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)


def rolled(kept: Array, places: Array, latents: Array) -> tuple[Array, Array]:
    """Return this device's latents at their places in a buffer, and which places those are.

    Summed over all devices they are what is new, see :func:`updated`.

    Args:
        kept: the buffer ``[M, N]``.
        places: of each image ``[B]``, numbers that go round.
        latents: of each image ``[B, N]``.
    """
    places = places % len(kept)
    there = jnp.zeros(len(kept)).at[places].set(1.0)
    return jnp.zeros_like(kept).at[places].set(latents), there


def updated(kept: Array, latents: Array, there: Array) -> Array:
    """Return the buffer with new latents, of averages over devices of what :func:`rolled` gave."""
    share = jnp.maximum(there, 1e-12)[:, None]
    return jnp.where(there[:, None] > 0, latents / share, kept)


def drawn(keys: Array, kept: Array) -> Array:
    """Draw from the kernel density of latents ``[M, N]``, one vector for each key.

    The kernel is a normal with the covariance of the latents, times the square of Scott's factor
    ``M^(-1 / (N + 4))`` (Scott 1992, section 6.3.2), as in ``scipy.stats.gaussian_kde``.
    """
    count, size = kept.shape
    away = kept - kept.mean(axis=0)[None]
    covariance = away.T @ away / (count - 1) + 1e-8 * jnp.eye(size)
    root = count ** (-1 / (size + 4)) * jnp.linalg.cholesky(covariance)

    def draw(key: Array) -> Array:
        which, how_far = jax.random.split(key)
        centre = kept[jax.random.randint(which, (), 0, count)]
        return centre + root @ jax.random.normal(how_far, (size,))

    return jax.vmap(draw)(keys)
