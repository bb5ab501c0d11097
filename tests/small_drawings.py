"""Images of 8x8 pixels drawn by a generator in a test: many at once, or two on one device alone."""

import jax
import jax.numpy as jnp

from sgm_jax.conditions import Conditions
from sgm_jax.drawer import Drawer, device_functions

SEED = 3


def drawn_images(generator, variables, count, condition=None):
    conditions = Conditions((8, 8), condition=condition)
    drawer = Drawer(generator, batch_size=8, seed=SEED, conditions=conditions)
    return drawer.draw(variables, 0, count, progress=lambda done: None)


def drawn_alone(generator, variables):
    """Return images 4 and 5, drawn on one device without the others."""
    start, advance, finish = device_functions(
        generator.drawing(Conditions((8, 8))), generator.image_shape, seed=SEED
    )
    index = jnp.arange(4, 6, dtype=jnp.int32)

    def alone(variables):
        state = advance(variables, start(index, {}), index, {}, 0, 1)
        return finish(variables, state, {})

    return jax.jit(alone)(variables)
