"""Two networks in one run: each step improves the discriminator, and then the generator.

Real images are seen as drawn ones would be: cut at the threshold of the evaluation, lit pixels
anywhere within their level, flipped and shifted at random. So all that is left to tell them apart
by is what matters.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.generator import AtOnce, Batch
from sgm_jax.models.adversarial import LOSSES, generator_loss, gradient_penalty
from sgm_jax.models.asked import Asked
from sgm_jax.models.augment import augmented
from sgm_jax.models.condition import Condition
from sgm_jax.models.draws import Draws
from sgm_jax.models.sliced import sliced_wasserstein
from sgm_jax.models.spectral import first_vectors, iterated, normalised
from sgm_jax.run import parallel
from sgm_jax.step import Params, TrainState, Variables, ema_update, improved

Array = jax.Array
Metrics = dict[str, Array]

NETWORK = "network"


@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """A generator and its discriminator: a :class:`sgm_jax.generator.Generator`.

    ``Variables.params`` has one part for each of them, and ``Variables.extra`` the vectors of the
    power iteration of the spectral norms of the discriminator.

    Attributes:
        config: what it was built from.
        image_shape: height, width and channels.
        generator: a module ``(z [B, N], vector) -> outputs [B, H, W, C]``.
        discriminator: a module ``(images, vector) -> [B]``.
        rectify: from outputs to images in network space.
        shown: ``(keys, images)``: what is shown of real images.
        asked: what the generator is asked to show.
        told: what the discriminator is told of that.
        optimizer: moves the generator.
        discriminator_optimizer: moves the discriminator.
    """

    config: ml_collections.ConfigDict
    image_shape: tuple[int, int, int]
    generator: nn.Module
    discriminator: nn.Module
    rectify: Callable[[Array], Array]
    shown: Callable[[Array, Array], Array]
    asked: Asked
    told: Asked
    optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation

    log_prob = None  # an image that is drawn says nothing of how probable it is

    # ------------------------------------------------------------------------------ training

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of two fresh networks."""
        own, other, asking, telling, vectors = jax.random.split(key, 5)
        params, vector = self.asked.init(asking)
        z = jnp.zeros((1, self.config.model.latent))
        params[NETWORK] = self.generator.init(own, z, vector)["params"]
        judging, vector = self.told.init(telling)
        image = jnp.zeros((1, *self.image_shape))
        judging[NETWORK] = self.discriminator.init(other, image, vector)["params"]
        both = {"generator": params, "discriminator": judging}
        extra = {}
        if self.config.model.spectral_norm:
            extra["vectors"] = first_vectors(vectors, judging[NETWORK])
        opt_state = {
            "generator": self.optimizer.init(params),
            "discriminator": self.discriminator_optimizer.init(judging),
        }
        copy = jax.tree.map(jnp.copy, both)
        return TrainState(jnp.zeros((), jnp.int32), both, copy, opt_state, extra)

    def train_step(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Improve the discriminator, and in every ``optim.discriminator_steps``th step both."""
        draws = Draws(jax.random.fold_in(key, state.step), batch["index"])
        condition = self.asked.forgotten(draws.key("forgotten"), batch)
        real = self.shown(draws.keys("levels"), batch["image"])
        # Vectors follow the kernels as they are before the step.
        extra = dict(state.extra)
        if "vectors" in extra:
            judging = state.params["discriminator"][NETWORK]
            extra["vectors"] = iterated(judging, extra["vectors"])

        better, metrics = self._discriminator_step(state, extra, draws, real, condition)

        def both(state: TrainState) -> TrainState:
            return self._generator_step(state, extra, draws, condition)

        every = self.config.optim.discriminator_steps
        if every == 1:
            moved = both(better)
        else:
            moved = jax.lax.cond(state.step % every == 0, both, lambda state: state, better)
        count = state.step + 1
        ema_params = ema_update(
            state.ema_params,
            moved.params,
            count.astype(jnp.float32),
            self.config.model.ema_rate,
        )
        return moved.replace(step=count, ema_params=ema_params, extra=extra), metrics

    def eval_loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return how far as many drawn images are from real ones, which no discriminator decides.

        It is the sliced Wasserstein distance of this device's images in network space, see
        :func:`sgm_jax.models.sliced.sliced_wasserstein`. Two sets of real images have one, too.
        """
        draws = Draws(key, batch["index"])
        real = self.shown(draws.keys("levels"), batch["image"])
        z = self.latents(draws.keys("generator"))
        drawn = self.images(variables.params, z, batch.get("condition"))
        return sliced_wasserstein(draws.key("directions"), real, drawn), {}

    # ------------------------------------------------------------------------------- drawing

    def drawing(self, conditions: Conditions) -> AtOnce:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for all but what the networks were trained with.
        """
        conditions.check_learnt(self.asked.fields)

        def images(variables: Variables, keys: Array, condition: Condition | None) -> Array:
            return self.images(variables.params, self.latents(keys), condition)

        return AtOnce(images, self.config.sampling.at_once)

    def latents(self, keys: Array) -> Array:
        """Return a random vector for each key, ``[B, N]``."""
        shape = (self.config.model.latent,)
        return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)

    def images(self, params: Params, z: Array, condition: Condition | None) -> Array:
        """Return the images of random vectors, in network space."""
        own = params["generator"]
        vector = self.asked.vector(own, condition, len(z))
        return self.rectify(self.generator.apply({"params": own[NETWORK]}, z, vector))

    # ----------------------------------------------------------------------------- the parts

    def judge(
        self, params: Params, extra: Any, images: Array, condition: Condition | None
    ) -> Array:
        """Return what the discriminator says of images, ``[B]``."""
        judging = params["discriminator"]
        network = judging[NETWORK]
        if "vectors" in extra:
            network = normalised(network, extra["vectors"])
        vector = self.told.vector(judging, condition, len(images))
        return self.discriminator.apply({"params": network}, images, vector)

    def _discriminator_step(
        self,
        state: TrainState,
        extra: Any,
        draws: Draws,
        real: Array,
        condition: Condition | None,
    ) -> tuple[TrainState, Metrics]:
        model, kind = self.config.model, LOSSES[self.config.model.loss]
        z = self.latents(draws.keys("discriminator"))
        generated = self.images(state.params, z, condition)
        lit = {"lit": (real > 0).mean(), "lit_generated": (generated > 0).mean()}
        real = self._augmented(draws.keys("real"), real)
        generated = self._augmented(draws.keys("generated"), generated)

        def loss(judging: Params) -> tuple[Array, Metrics]:
            params = {"discriminator": judging}

            def critic(images: Array) -> Array:
                return self.judge(params, extra, images, condition)

            outputs, others = critic(real), critic(generated)
            details = {"real_output": outputs.mean(), "generated_output": others.mean()}
            total = kind.discriminator(outputs, others)
            if kind.penalised:
                share = jax.vmap(jax.random.uniform)(draws.keys("share"))
                details["penalty"] = gradient_penalty(critic, real, generated, share)
                total += model.penalty * details["penalty"]
            return total, details | {"generator_loss": generator_loss(others)}

        judging = state.params["discriminator"]
        (total, details), grads = jax.value_and_grad(loss, has_aux=True)(judging)
        total, details, lit, grads = parallel.mean((total, details, lit, grads))
        state = improved(state, "discriminator", self.discriminator_optimizer, grads)
        metrics = {"loss": total, "gradient_norm": optax.tree.norm(grads)}
        return state, metrics | details | lit

    def _generator_step(
        self, state: TrainState, extra: Any, draws: Draws, condition: Condition | None
    ) -> TrainState:
        z = self.latents(draws.keys("generator"))
        judging = jax.lax.stop_gradient(state.params["discriminator"])

        def loss(own: Params) -> Array:
            params = {"generator": own, "discriminator": judging}
            seen = self._augmented(draws.keys("seen"), self.images(params, z, condition))
            return generator_loss(self.judge(params, extra, seen, condition))

        grads = parallel.mean(jax.grad(loss)(state.params["generator"]))
        return improved(state, "generator", self.optimizer, grads)

    def _augmented(self, keys: Array, images: Array) -> Array:
        model = self.config.model
        return augmented(keys, images, flip=model.flip, shift=model.shift)
