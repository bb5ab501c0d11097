"""Images drawn in the order of a plan, one pixel or code a step."""

import dataclasses
from collections.abc import Callable

import jax

from sgm_jax.generator import Given
from sgm_jax.generators.autoregressive.stages import Params, Plan, State
from sgm_jax.models.asked import Asked
from sgm_jax.step import Variables

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class PlanDrawing:
    """A plan as a :class:`sgm_jax.generator.Drawing`.

    Always as many images at once: another program rounds differently, and where that decides about
    a pixel or a code, all later ones differ.

    Attributes:
        plan: how an image is drawn.
        asked: what the networks are asked to show.
        at_once: images that a device draws at once.
        networks: the parameters of the plan, of variables.
        images: of variables and drawn values ``[B, N]``, in network space ``[B, H, W, C]``.
    """

    plan: Plan
    asked: Asked
    at_once: int
    networks: Callable[[Variables], Params]
    images: Callable[[Variables, Array], Array]
    nfe = 1
    one_step_a_call = False

    @property
    def num_steps(self) -> int:
        """Those of the plan."""
        return self.plan.num_steps

    def start(self, keys: Array, shape: tuple[int, ...], given: Given) -> State:
        """Return the state of images of which nothing is drawn."""
        del keys, given
        return self.plan.start(shape[0])

    def step(
        self, variables: Variables, i: Array, state: State, keys: Array, given: Given
    ) -> State:
        """Return the state with one more pixel or code."""
        vector = self.asked.vector(variables.params, given.get("condition"), len(keys))
        return self.plan.step(self.networks(variables), i, state, keys, vector)

    def finish(self, variables: Variables, state: State, given: Given) -> Array:
        """Return the images in network space."""
        del given
        return self.images(variables, state["values"])
