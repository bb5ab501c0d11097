"""From the number that a network gives each pixel to an image with exact zeros.

A network of sparse images ends in a rectifier, as LAGAN's does (arXiv:1701.05927), and whoever
looks at its images cuts faint pixels away. Both are one here: what lies below the first level that
is looked at is 0. So a discriminator sees in training what will be drawn, and cannot tell images
apart by what nobody looks at.
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def rectified(outputs: Array, first: float) -> Array:
    """Return images, exactly 0 where outputs lie below ``first``.

    Their gradient is that of a rectifier: also through outputs between 0 and ``first``, so that a
    pixel that was just cut can come back.

    Args:
        outputs: of a network, any shape.
        first: the lowest value of a lit pixel.
    """
    positive = jax.nn.relu(outputs)
    cut = jnp.where(positive >= first, positive, 0.0)
    return positive + jax.lax.stop_gradient(cut - positive)
