"""Flips and shifts of whole images, drawn for each, that a gradient passes through.

A discriminator sees real and generated images through the same ones, so that it learns of few
images less by heart (arXiv:2006.10738). If a flip were as frequent as none, nobody could tell which
way is up, and the generator would draw both (arXiv:2006.06676, section 2.2): so it is rarer.
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def augmented(keys: Array, images: Array, *, flip: float, shift: int) -> Array:
    """Return images flipped and shifted, with zeros where they are shifted from.

    Args:
        keys: one for each image ``[B]``.
        images: ``[B, H, W, C]``.
        flip: probability of a flip, along each axis on its own.
        shift: pixels by which they move at most, along each axis.
    """
    if not flip and not shift:
        return images
    _, height, width, _ = images.shape

    def maps(key: Array) -> tuple[Array, Array]:
        down, right = jax.random.split(key)
        return _map(down, height, flip, shift), _map(right, width, flip, shift)

    down, right = jax.vmap(maps)(keys)
    # Products with ones and zeros, which are exact as long as the images are not rounded before.
    return jnp.einsum(
        "bij,bjkc,blk->bilc", down, images, right, precision=jax.lax.Precision.HIGHEST
    )


def _map(key: Array, size: int, flip: float, shift: int) -> Array:
    """Return which pixel of a row each one comes from, as unit vectors ``[size, size]``."""
    flipping, shifting = jax.random.split(key)
    source = jnp.arange(size) - jax.random.randint(shifting, (), -shift, shift + 1)
    # Of a place outside the image there is no unit vector, but zeros.
    outside = (source < 0) | (source >= size)
    source = jnp.where(jax.random.bernoulli(flipping, flip), size - 1 - source, source)
    return jax.nn.one_hot(jnp.where(outside, -1, source), size)
