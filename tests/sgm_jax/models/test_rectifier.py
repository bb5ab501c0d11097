"""Zeros are exact, and what was cut can come back."""

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.models.rectifier import rectified

OUTPUTS = jnp.array([-2.0, -0.1, 0.0, 0.1, 0.29, 0.3, 0.31, 5.0])


def test_below_the_first_level_there_is_nothing():
    np.testing.assert_array_equal(
        rectified(OUTPUTS, 0.3), np.float32([0, 0, 0, 0, 0, 0.3, 0.31, 5.0])
    )


def test_the_gradient_is_that_of_a_rectifier():
    slope = jax.grad(lambda x: (rectified(x, 0.3) * jnp.arange(8.0)).sum())(OUTPUTS)
    np.testing.assert_array_equal(slope, [0, 0, 0, 3, 4, 5, 6, 7])
