"""Images drawn layer by layer: first the charges of all layers, then a layer a step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sgm_jax.data import PixelScale
from sgm_jax.generator import Given
from sgm_jax.generators.flows.layered import LayeredFlow
from sgm_jax.models.asked import Asked
from sgm_jax.step import Variables

Array = jax.Array
State = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerDrawing:
    """Flows as a :class:`sgm_jax.generator.Drawing`.

    Always as many images at once: another program rounds differently, and where that decides about
    a pixel, all later layers differ.

    Attributes:
        flows: of charges and of layers.
        asked: what they are asked to show.
        scale: of network space.
        at_once: images that a device draws at once.
    """

    flows: LayeredFlow
    asked: Asked
    scale: PixelScale
    at_once: int
    nfe = 1
    one_step_a_call = False

    @property
    def num_steps(self) -> int:
        """One for the charges, and one for each layer."""
        return 1 + self.flows.layers.count

    def start(self, keys: Array, shape: tuple[int, ...], given: Given) -> State:
        """Return the state of images of which nothing is drawn."""
        del keys, given
        layers = self.flows.layers
        return {
            "levels": jnp.zeros((shape[0], layers.count, layers.size)),
            "charges": jnp.zeros((shape[0], layers.count)),
        }

    def step(
        self, variables: Variables, i: Array, state: State, keys: Array, given: Given
    ) -> State:
        """Return the state with the charges, or with one more layer."""
        vector = self.asked.vector(variables.params, given.get("condition"), len(keys))
        layers = self.flows.layers
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i)

        def noise(size: int) -> Array:
            return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)

        def charges(state: State) -> State:
            drawn = self.flows.draw_charges(variables.params, noise(layers.count), vector)
            return state | {"charges": drawn}

        def layer(state: State) -> State:
            parts = (noise(layers.size), state["levels"], state["charges"], vector)
            drawn = self.flows.draw_layer(variables.params, i - 1, *parts)
            levels = jax.lax.dynamic_update_slice_in_dim(
                state["levels"], drawn[:, None], i - 1, axis=1
            )
            return state | {"levels": levels}

        return jax.lax.cond(i == 0, charges, layer, state)

    def finish(self, variables: Variables, state: State, given: Given) -> Array:
        """Return the images in network space."""
        del variables, given
        return self.scale.to_model(self.flows.layers.join(state["levels"]))[..., None]
