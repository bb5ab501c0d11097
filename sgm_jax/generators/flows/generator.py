"""L2LFlows (arXiv:2302.11594) as a generator of the contract: its loss, drawing and likelihood.

The loss is a bound of the code length of the images in bits for each pixel. In training it is
estimated from a few lit layers of each image, which costs less than all of them; the estimate has
the right mean.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.generator import Batch, Given, LogProb
from sgm_jax.generators.flows.config import flows_from_config
from sgm_jax.generators.flows.drawing import LayerDrawing
from sgm_jax.generators.flows.layered import Drawn, LayeredFlow, Params
from sgm_jax.models.asked import Asked
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
class FlowGenerator:
    """Flows of charges and of layers: a :class:`sgm_jax.generator.Generator`.

    Attributes:
        config: what it was built from.
        flows: that draw images.
        scale: of network space.
        asked: what the flows are asked to show.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    flows: LayeredFlow
    scale: PixelScale
    asked: Asked
    optimizer: optax.GradientTransformation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and one channel."""
        side = self.flows.layers.side
        return side, side, 1

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of fresh networks, whose flows are the identity."""
        own, asked = jax.random.split(key)
        params, _ = self.asked.init(asked)
        return initial_state(params | self.flows.init(own), self.optimizer)

    def train_step(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Make one update."""
        update = gradient_step(self._train_loss, self.optimizer, self.config.model.ema_rate)
        return update(state, key, batch)

    def eval_loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the mean bits for each pixel, with one noise for each image."""
        drawn = self._noised(_keys(key, batch), self._cut(self.scale.from_model(batch["image"])))
        vector = self.asked.vector(variables.params, batch.get("condition"), len(drawn.levels))
        return self._bits(self.flows.log_prob(variables.params, drawn, vector)), {}

    def drawing(self, conditions: Conditions) -> LayerDrawing:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for all but what the networks were trained with.
        """
        conditions.check_learnt(self.asked.fields)
        return LayerDrawing(self.flows, self.asked, self.scale, self.config.sampling.at_once)

    def log_prob(self, variables: Variables, keys: Array, images: Array, given: Given) -> LogProb:
        """Return bounds of the log-probabilities of images, cut at the threshold.

        They are means over ``eval.num_probes`` noises for each image.
        """
        levels, probes = self._cut(images), self.config.eval.num_probes
        vector = self.asked.vector(variables.params, given.get("condition"), len(images))

        def of_noise(number: Array) -> Array:
            own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
            return self.flows.log_prob(variables.params, self._noised(own, levels), vector)

        nats = jax.lax.map(of_noise, jnp.arange(probes))
        several = probes > 1
        stderr = nats.std(0, ddof=1) / probes**0.5 if several else jnp.full(len(images), jnp.nan)
        nfe = jnp.full(len(images), probes, jnp.int32)
        return LogProb(nats.mean(0), stderr, nfe, kind="dequantised")

    def _train_loss(self, params: Params, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the loss with some layers of each image, and some conditions forgotten."""
        drawn = self._noised(_keys(key, batch), self._cut(self.scale.from_model(batch["image"])))
        vector = self.asked.vector(params, self.asked.forgotten(key, batch), len(drawn.levels))
        places, weights = self._some(key, batch, drawn)
        causal = (weights * self.flows.layer_nats(params, drawn, places, vector)).sum(axis=1)
        energy = self.flows.energy_nats(params, drawn, vector)
        parts = {"charge_bits": self._bits(energy), "layer_bits": self._bits(causal)}
        return parts["charge_bits"] + parts["layer_bits"], parts

    def _some(self, key: Array, batch: Batch, drawn: Drawn) -> tuple[Array, Array]:
        """Return random layers ``[B, m]``, and what each stands for of all that are lit.

        With one flow for all layers they are lit ones of each image. With one a layer, all images
        of a batch have the same.
        """
        count = self.flows.layers.count
        some = min(self.config.training.layers, count)
        if not self.flows.share:
            places = jax.random.permutation(jax.random.fold_in(key, count), count)[:some]
            shape = (len(drawn.levels), some)
            return jnp.broadcast_to(places[None], shape), jnp.full(shape, count / some)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(_keys(key, batch), 1)
        chance = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
        _, places = jax.lax.top_k(jnp.where(drawn.lit, chance, -1.0), some)
        lit = drawn.lit.sum(axis=1).astype(jnp.float32)
        # Of the places after the lit ones the densities are 0.
        each = lit / jnp.clip(lit, 1, some)
        return places, jnp.broadcast_to(each[:, None], places.shape)

    def _cut(self, images: Array) -> Array:
        """Return the whole levels ``[B, H, W]`` of images on 0..255, without those too faint."""
        levels = jnp.clip(jnp.round(images[..., 0].astype(jnp.float32)), 0, 255)
        return jnp.where(levels < self.flows.first, 0.0, levels)

    def _noised(self, keys: Array, levels: Array) -> Drawn:
        return self.flows.noised(keys, levels)

    def _bits(self, nats: Array) -> Array:
        return -nats.mean() / (self.flows.layers.side**2 * np.log(2))


def _keys(key: Array, batch: Batch) -> Array:
    """Return a key for each image of a batch."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])


def build(config: ml_collections.ConfigDict) -> FlowGenerator:
    """Return the generator of a checked configuration, whose scales were measured."""
    return FlowGenerator(
        config,
        flows_from_config(config),
        PixelScale.from_config(config.data),
        Asked.from_config(config, config.model.asked_features),
        optimizer_from_config(config),
    )
