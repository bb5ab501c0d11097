"""An autoregressive generator of sparse images: exact zeros, and an exact likelihood.

SARM (Lu et al., arXiv:2009.14017) with orders, heads and stages as there, and beside its masked
dense network one of locally masked convolutions. The loss is the code length of the images in bits
for each pixel; drawing costs about what one evaluation of the network does.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.config import flatten
from sgm_jax.data import PixelScale
from sgm_jax.generator import Batch, Given, LogProb
from sgm_jax.generators.autoregressive.config import (
    levels_from_config,
    order_of,
    plan_from_config,
)
from sgm_jax.generators.autoregressive.drawing import PlanDrawing
from sgm_jax.generators.autoregressive.heads import Levels
from sgm_jax.generators.autoregressive.stages import Params, Plan
from sgm_jax.models.asked import Asked
from sgm_jax.models.condition import Condition
from sgm_jax.step import (
    TrainState,
    Variables,
    gradient_step,
    initial_state,
    optimizer_from_config,
)

Array = jax.Array
Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True, eq=False)
class SarmGenerator:
    """A plan of stages and what they are asked to show: a :class:`sgm_jax.generator.Generator`.

    Attributes:
        config: what it was built from.
        plan: how an image of whole levels is made.
        levels: what a pixel can be.
        scale: of network space.
        asked: what the networks are asked to show.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    plan: Plan
    levels: Levels
    scale: PixelScale
    asked: Asked
    optimizer: optax.GradientTransformation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and one channel."""
        return (*self.plan.size, 1)

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of fresh networks."""
        own, asked = jax.random.split(key)
        params, vector = self.asked.init(asked)
        return initial_state(params | self.plan.init(own, vector), self.optimizer)

    def train_step(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Make one update."""
        update = gradient_step(self._train_loss, self.optimizer, self.config.model.ema_rate)
        return update(state, key, batch)

    def eval_loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the mean bits for each pixel."""
        del key
        return self._bits(variables.params, batch["image"], batch.get("condition")), {}

    def drawing(self, conditions: Conditions) -> PlanDrawing:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for all but what the networks were trained with.
        """
        conditions.check_learnt(self.asked.fields)

        def images(variables: Variables, values: Array) -> Array:
            del variables
            return self.scale.to_model(values).reshape(-1, *self.image_shape)

        return PlanDrawing(
            self.plan,
            self.asked,
            self.config.sampling.at_once,
            networks=lambda variables: variables.params,
            images=images,
        )

    def log_prob(self, variables: Variables, keys: Array, images: Array, given: Given) -> LogProb:
        """Return the logarithms of the probabilities of images, cut at the threshold."""
        del keys
        values = self.levels.cut(images[..., 0])
        vector = self.asked.vector(variables.params, given.get("condition"), len(images))
        nats = self.plan.log_prob(variables.params, values, vector)
        ones = jnp.ones(len(images), jnp.int32)
        return LogProb(nats, jnp.zeros(len(images)), ones, kind="exact")

    def _bits(self, params: Params, images: Array, condition: Condition | None) -> Array:
        values = self.levels.cut(self.scale.from_model(images[..., 0]))
        vector = self.asked.vector(params, condition, len(images))
        pixels = self.plan.size[0] * self.plan.size[1]
        return -self.plan.log_prob(params, values, vector).mean() / (pixels * np.log(2))

    def _train_loss(self, params: Params, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the loss, with some conditions forgotten."""
        condition = self.asked.forgotten(key, batch)
        return self._bits(params, batch["image"], condition), {}


def build(config: ml_collections.ConfigDict) -> SarmGenerator:
    """Return the generator of a checked configuration, whose order was measured if it must be."""
    fields, size = flatten(config), (config.data.image_size,) * 2
    return SarmGenerator(
        config,
        plan_from_config(config, order_of(fields, size)),
        levels_from_config(config),
        PixelScale.from_config(config.data),
        Asked.from_config(config, config.model.asked_features),
        optimizer_from_config(config),
    )
