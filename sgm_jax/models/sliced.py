"""How far two batches of images are apart, without a network: a sliced Wasserstein distance."""

import jax
import jax.numpy as jnp

Array = jax.Array

# Directions for each size of the details they look at.
DIRECTIONS = 64


def sliced_wasserstein(key: Array, first: Array, second: Array) -> Array:
    """Return the mean distance of two batches ``[B, H, W, C]`` seen along random directions.

    Along a direction an image is a number, and the distance of the two sets of numbers is that of
    the sorted ones (arXiv:1710.10196, section 5, looks at patches in this way). Directions are
    random images of unit length, of coarse pixels and of ever finer ones, with as many of each
    size, so that details count as well as where the charge is.
    """
    directions = _directions(key, first.shape[1:])
    # Sorted in one go, which is compiled once.
    seen = jnp.stack([x.reshape(len(x), -1) @ directions.T for x in (first, second)])
    below, above = jnp.sort(seen, axis=1)
    return jnp.abs(below - above).mean()


def _directions(key: Array, shape: tuple[int, int, int]) -> Array:
    """Return unit vectors ``[N, H * W * C]``: random images, of coarse and of fine pixels."""
    height, width, channels = shape
    drawn = []
    for number, size in enumerate(_sizes(height)):
        coarse = (DIRECTIONS, -(-height // size), -(-width // size), channels)
        values = jax.random.normal(jax.random.fold_in(key, number), coarse)
        values = values.repeat(size, axis=1)[:, :height].repeat(size, axis=2)[:, :, :width]
        drawn.append(values.reshape(DIRECTIONS, -1))
    directions = jnp.concatenate(drawn)
    return directions / jnp.linalg.norm(directions, axis=1, keepdims=True)


def _sizes(side: int) -> list[int]:
    """Return the sizes of pixels: 1, 2, 4 and so on, up to a quarter of the side."""
    sizes = [1]
    while 4 * 2 * sizes[-1] <= side:
        sizes.append(2 * sizes[-1])
    return sizes
