"""The prior of codes: what is trained after a first stage, and draws images through its decoder.

An autoregressive distribution of the codes of a finished autoencoder (arXiv:1711.00937, section
3.3), which lies frozen beside it in ``Variables.extra``: so whoever has the weights of a prior has
all that it takes to draw. In each step of the training the frozen encoder makes the codes.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.generator import Batch, Given, LogProb
from sgm_jax.generators.autoregressive.drawing import PlanDrawing
from sgm_jax.generators.autoregressive.stages import Params, Plan
from sgm_jax.generators.vqvae.codes import with_vectors, without_vectors
from sgm_jax.generators.vqvae.first_stage import FirstStage
from sgm_jax.generators.vqvae.outputs import Hits, spread
from sgm_jax.models.asked import Asked
from sgm_jax.models.condition import Condition
from sgm_jax.step import TrainState, Variables, gradient_step, initial_state

Array = jax.Array
Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """A plan of stages that draws codes, and what makes images of them.

    It is a :class:`sgm_jax.generator.Generator`. ``Variables.extra`` are those of the first stage.

    Attributes:
        config: what it was built from.
        first: the autoencoder.
        plan: how codes are drawn.
        sees_books: names of the stages that see the vectors of a codebook, coarse ones first.
        asked: what the networks are asked to show.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    first: FirstStage
    plan: Plan
    sees_books: tuple[str, ...]
    asked: Asked
    optimizer: optax.GradientTransformation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and one channel."""
        return self.first.image_shape

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of fresh networks, with zeros where the first stage is to be put."""
        own, asked = jax.random.split(key)
        params, vector = self.asked.init(asked)
        params |= without_vectors(self.plan.init(own, vector), self.sees_books)
        first = jax.eval_shape(lambda key: self.first.initial_state(key).averaged, key)
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
        return initial_state(params, self.optimizer).replace(extra=empty)

    def train_step(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Make one update; the first stage stays what it is."""

        def loss(params: Params, key: Array, batch: Batch) -> tuple[Array, Metrics]:
            condition = self.asked.forgotten(key, batch)
            return self._bits(Variables(params, state.extra), batch["image"], condition), {}

        return gradient_step(loss, self.optimizer, self.config.model.ema_rate)(state, key, batch)

    def eval_loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the mean bits for each code."""
        del key
        return self._bits(variables, batch["image"], batch.get("condition")), {}

    def drawing(self, conditions: Conditions) -> PlanDrawing:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for all but what the networks were trained with.
        """
        conditions.check_learnt(self.asked.fields)

        def images(variables: Variables, values: Array) -> Array:
            return self.first.decoded(variables.extra, self.split(values))

        return PlanDrawing(
            self.plan,
            self.asked,
            self.config.sampling.at_once,
            networks=self.networks,
            images=images,
        )

    def reconstructed(self, variables: Variables, images: Array) -> Array:
        """Return images as they come back from the first stage, in network space."""
        return self.first.reconstructed(variables.extra, images)

    @property
    def log_prob(self) -> Callable[..., LogProb] | None:
        """Return what gives a lower bound of the log-probability of images; None without hits."""
        return self._log_prob if self.first.output.likelihood else None

    def _log_prob(self, variables: Variables, keys: Array, images: Array, given: Given) -> LogProb:
        """Return bounds for images, cut at the threshold.

        The probability of an image is a sum over all codes that it could have come from; these are
        the nats of one of them, those that the encoder gives it.
        """
        del keys
        first, output = self.first, self.first.output
        assert isinstance(output, Hits)
        values = output.levels.cut(images[..., 0])
        codes = first.codes(variables.extra, output.levels.scale.to_model(values)[..., None])
        outputs = first.outputs(variables.extra, codes)
        deviation = spread(variables.extra.extra["error"])
        nats = self.nats(variables, codes, given.get("condition"))
        nats += output.log_prob(outputs, values, deviation)
        ones = jnp.ones(len(images), jnp.int32)
        return LogProb(nats, jnp.zeros(len(images)), ones, kind="bound")

    def nats(
        self, variables: Variables, codes: tuple[Array, ...], condition: Condition | None
    ) -> Array:
        """Return the log-probabilities ``[B]`` of codes ``[B, h, w]`` of each level."""
        vector = self.asked.vector(variables.params, condition, len(codes[0]))
        values = codes[0]
        if len(codes) > 1:
            values = jnp.concatenate([level.reshape(len(level), -1) for level in codes], axis=1)
        return self.plan.log_prob(self.networks(variables), values, vector)

    def networks(self, variables: Variables) -> Params:
        """Return the parameters of the plan, with the codebooks where they are seen."""
        books = dict(zip(self.sees_books, self.first.books(variables.extra), strict=False))
        return with_vectors(variables.params, books)

    def split(self, values: Array) -> tuple[Array, ...]:
        """Return the codes of each level of all in a row ``[B, N]``."""
        sizes = [height * width for height, width in self.first.grids]
        parts = jnp.split(values, np.cumsum(sizes)[:-1].tolist(), axis=1)
        grids = zip(parts, self.first.grids, strict=True)
        return tuple(part.reshape(-1, *grid) for part, grid in grids)

    def _bits(self, variables: Variables, images: Array, condition: Condition | None) -> Array:
        codes = self.first.codes(variables.extra, images)
        count = sum(level[0].size for level in codes)
        return -self.nats(variables, codes, condition).mean() / (count * np.log(2))
