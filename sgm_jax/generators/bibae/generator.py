"""An autoencoder that is told what is wrong by three critics, after BIB-AE.

The bounded information bottleneck autoencoder (arXiv:1912.00830) bounds what latents say of an
image, and what is left to tell an image and its reconstruction apart, each with a term for single
images and one for their distribution. For calorimeters it has critics of the image and of the
difference to its reconstruction, a critic of latents, and a post-processor (arXiv:2005.05334).

Each step improves the critics and then, in every ``optim.critic_steps``th, the autoencoder; after
``model.post_start`` steps the post-processor learns as well.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.data.visible import Visible
from sgm_jax.generator import AtOnce, Batch
from sgm_jax.generators.bibae import latents
from sgm_jax.generators.bibae.networks import Encoder, LatentCritic
from sgm_jax.generators.bibae.spectrum import PostProcessor, spectrum_discrepancy
from sgm_jax.models.adversarial import LOSSES, generator_loss, gradient_penalty
from sgm_jax.models.asked import Asked
from sgm_jax.models.condition import Condition
from sgm_jax.models.dcgan import Convolutional, Judge
from sgm_jax.models.draws import Draws
from sgm_jax.models.rectifier import rectified
from sgm_jax.models.sliced import sliced_wasserstein
from sgm_jax.models.spectral import first_vectors, iterated, normalised
from sgm_jax.run import parallel
from sgm_jax.step import Params, TrainState, Variables, ema_update, improved

Array = jax.Array
Metrics = dict[str, Array]
AUTOENCODER, CRITICS, POST = "autoencoder", "critics", "post"


@dataclasses.dataclass(frozen=True, eq=False)
class BibAe:
    """An autoencoder, its critics and a post-processor: a :class:`sgm_jax.generator.Generator`.

    ``Variables.params`` has one part for each of the three. ``Variables.extra`` has the ``latents``
    of recent images ``[M, N]``, and with spectral norms the ``vectors`` of their power iteration.

    Attributes:
        config: what it was built from.
        encoder: images to latents.
        decoder: latents, and numbers of noise, to the outputs of an image.
        critic: of an image, and of the difference to its reconstruction.
        latent_critic: of latents.
        post: mends the spectrum.
        visible: what of an image is looked at.
        asked: what the autoencoder is asked to show.
        told: what the critic of images is told of that.
        optimizers: of the three parts.
    """

    config: ml_collections.ConfigDict
    encoder: Encoder
    decoder: Convolutional
    critic: Judge
    latent_critic: LatentCritic
    post: PostProcessor
    visible: Visible
    asked: Asked
    told: Asked
    optimizers: dict[str, optax.GradientTransformation]

    log_prob = None  # the latents of an image are bounded, its probability is not

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and one channel."""
        return (*self.decoder.size, 1)

    # ------------------------------------------------------------------------------ training

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of fresh networks, with latents that are normal."""
        model, keys = self.config.model, iter(jax.random.split(key, 10))
        image = jnp.zeros((1, *self.image_shape))
        own, vector = self.asked.init(next(keys))
        own["encoder"] = self.encoder.init(next(keys), image, vector)["params"]
        z = jnp.zeros((1, model.latent + model.noise))
        own["decoder"] = self.decoder.init(next(keys), z, vector)["params"]
        critics, vector = self.told.init(next(keys))
        critics["networks"] = {
            "image": self.critic.init(next(keys), image, vector)["params"],
            "difference": self.critic.init(next(keys), image, None)["params"],
            "latent": self.latent_critic.init(next(keys), z[:, : model.latent])["params"],
        }
        post = self.post.init(next(keys), image)["params"]
        params = {AUTOENCODER: own, CRITICS: critics, POST: post}
        extra = {"latents": jax.random.normal(next(keys), (model.kept, model.latent))}
        if model.spectral_norm:
            extra["vectors"] = first_vectors(next(keys), critics["networks"])
        opt_state = {name: self.optimizers[name].init(part) for name, part in params.items()}
        copy = jax.tree.map(jnp.copy, params)
        return TrainState(jnp.zeros((), jnp.int32), params, copy, opt_state, extra)

    def train_step(self, state: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        """Improve the critics, then the autoencoder, then the post-processor."""
        model, every = self.config.model, self.config.optim.critic_steps
        draws = Draws(jax.random.fold_in(key, state.step), batch["index"])
        condition = self.asked.forgotten(draws.key("forgotten"), batch)
        real = self.visible.spread(draws.keys("levels"), batch["image"])
        extra = dict(state.extra)
        if "vectors" in extra:
            networks = state.params[CRITICS]["networks"]
            extra["vectors"] = iterated(networks, extra["vectors"])

        better, rebuilt, metrics = self._critics_step(state, extra, draws, real, condition)

        def autoencoder(state: TrainState) -> TrainState:
            return self._autoencoder_step(state, extra, draws, real, condition)

        def post(state: TrainState) -> TrainState:
            return self._post_step(state, rebuilt, real)

        def same(state: TrainState) -> TrainState:
            return state

        if every == 1:
            better = autoencoder(better)
        else:
            better = jax.lax.cond(state.step % every == 0, autoencoder, same, better)
        better = jax.lax.cond(state.step >= model.post_start, post, same, better)
        count = state.step + 1
        ema_params = ema_update(
            state.ema_params, better.params, count.astype(jnp.float32), model.ema_rate
        )
        z, _, _ = self.encoded(ema_params, real, draws.keys("seen"), condition)
        extra["latents"] = self._followed(extra["latents"], state.step, batch["index"], z)
        return better.replace(step=count, ema_params=ema_params, extra=extra), metrics

    def eval_loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return how far as many drawn images are from real ones, as a GAN's does.

        It is the sliced Wasserstein distance of this device's images in network space, see
        :func:`sgm_jax.models.sliced.sliced_wasserstein`. Two sets of real images have one, too.
        """
        draws = Draws(key, batch["index"])
        real = self.visible.spread(draws.keys("levels"), batch["image"])
        drawn = self.drawn(variables, draws.keys("generator"), batch.get("condition"))
        return sliced_wasserstein(draws.key("directions"), real, drawn), {}

    # ------------------------------------------------------------------------------- drawing

    def drawing(self, conditions: Conditions) -> AtOnce:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for all but what the networks were trained with.
        """
        conditions.check_learnt(self.asked.fields)
        return AtOnce(self.drawn, self.config.sampling.at_once)

    def drawn(self, variables: Variables, keys: Array, condition: Condition | None) -> Array:
        """Return an image for each key, in network space."""
        which, noise = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        z = latents.drawn(which, variables.extra["latents"])
        images = self._rectified(self.decoded(variables.params, z, noise, condition))
        return self.post.apply({"params": variables.params[POST]}, images)

    # ------------------------------------------------------------------- images, latents, images

    def encoded(
        self, params: Params, images: Array, keys: Array, condition: Condition | None
    ) -> tuple[Array, Array, Array]:
        """Return drawn latents of images, and the means and log-variances they are drawn with."""
        own = params[AUTOENCODER]
        vector = self.asked.vector(own, condition, len(images))
        mean, log_variance = self.encoder.apply({"params": own["encoder"]}, images, vector)
        z = mean + jnp.exp(log_variance / 2) * _normals(keys, self.config.model.latent)
        return z, mean, log_variance

    def decoded(self, params: Params, z: Array, keys: Array, condition: Condition | None) -> Array:
        """Return the outputs of latents ``[B, H, W, 1]``, before they are rectified."""
        own = params[AUTOENCODER]
        vector = self.asked.vector(own, condition, len(z))
        if self.config.model.noise:
            z = jnp.concatenate([z, _normals(keys, self.config.model.noise)], axis=-1)
        return self.decoder.apply({"params": own["decoder"]}, z, vector)

    def _rectified(self, outputs: Array) -> Array:
        return rectified(outputs, self.visible.first)

    # ----------------------------------------------------------------------------- the parts

    def _critics(
        self, critics: Params, extra: Any, condition: Condition | None
    ) -> dict[str, Callable[[Array], Array]]:
        """Return the critics by name, functions of what they see; one is told the condition."""
        networks = critics["networks"]
        if "vectors" in extra:
            networks = normalised(networks, extra["vectors"])

        def image(seen: Array) -> Array:
            vector = self.told.vector(critics, condition, len(seen))
            return self.critic.apply({"params": networks["image"]}, seen, vector)

        def difference(seen: Array) -> Array:
            return self.critic.apply({"params": networks["difference"]}, seen, None)

        def latent(seen: Array) -> Array:
            return self.latent_critic.apply({"params": networks["latent"]}, seen)

        return {"image": image, "difference": difference, "latent": latent}

    def _critics_step(
        self,
        state: TrainState,
        extra: Any,
        draws: Draws,
        real: Array,
        condition: Condition | None,
    ) -> tuple[TrainState, Array, Metrics]:
        """Return the state with better critics, the reconstructions, and what is measured."""
        model, kind = self.config.model, LOSSES[self.config.model.loss]
        z, mean, log_variance = self.encoded(state.params, real, draws.keys("generator"), condition)
        outputs = self.decoded(state.params, z, draws.keys("noise"), condition)
        rebuilt = self._rectified(outputs)
        # An image and itself, beside an image and its reconstruction.
        pairs = {
            "image": (real, rebuilt),
            "difference": (jnp.zeros_like(real), rebuilt - real),
            "latent": (_normals(draws.keys("prior"), model.latent), z),
        }
        share = jax.vmap(jax.random.uniform)(draws.keys("share"))

        def loss(critics: Params) -> tuple[Array, Metrics]:
            total, details = jnp.zeros(()), {}
            for name, critic in self._critics(critics, extra, condition).items():
                true, other = pairs[name]
                high, low = critic(true), critic(other)
                details[f"{name}_margin"] = high.mean() - low.mean()
                total += kind.discriminator(high, low)
                if kind.penalised:
                    total += model.penalty * gradient_penalty(critic, true, other, share)
            return total, details

        (total, details), grads = jax.value_and_grad(loss, has_aux=True)(state.params[CRITICS])
        details |= {
            "reconstruction": self._error(outputs, real),
            "divergence": latents.divergence(mean, log_variance).mean(),
            "lit": (real > 0).mean(),
            "lit_generated": (rebuilt > 0).mean(),
        }
        total, details, grads = parallel.mean((total, details, grads))
        state = improved(state, CRITICS, self.optimizers[CRITICS], grads)
        return state, rebuilt, {"loss": total, "gradient_norm": optax.tree.norm(grads)} | details

    def _autoencoder_step(
        self,
        state: TrainState,
        extra: Any,
        draws: Draws,
        real: Array,
        condition: Condition | None,
    ) -> TrainState:
        model = self.config.model

        def loss(own: Params) -> Array:
            params = {AUTOENCODER: own}
            z, mean, log_variance = self.encoded(params, real, draws.keys("generator"), condition)
            outputs = self.decoded(params, z, draws.keys("noise"), condition)
            rebuilt = self._rectified(outputs)
            normal = _normals(draws.keys("prior"), model.latent)
            weighted = [
                (model.divergence, latents.divergence(mean, log_variance).mean()),
                (model.discrepancy, latents.discrepancy(z, normal)),
                (model.reconstruction, self._error(outputs, real)),
            ]
            critics = self._critics(state.params[CRITICS], extra, condition)
            for name, seen, weight in (
                ("image", rebuilt, model.image_critic),
                ("difference", rebuilt - real, model.difference_critic),
                ("latent", z, model.latent_critic),
            ):
                weighted.append((weight, generator_loss(critics[name](seen))))
            return sum(weight * term for weight, term in weighted)

        grads = parallel.mean(jax.grad(loss)(state.params[AUTOENCODER]))
        return improved(state, AUTOENCODER, self.optimizers[AUTOENCODER], grads)

    @staticmethod
    def _error(outputs: Array, real: Array) -> Array:
        """Return the squared error of an image, the sum over pixels.

        Where a pixel is dark, any output below 0 is right. Where it is lit, also outputs that the
        rectifier would take away count: otherwise no slope would lead them back.
        """
        error = jnp.where(real > 0, outputs, jax.nn.relu(outputs)) - real
        return (error**2).sum(axis=(1, 2, 3)).mean()

    def _post_step(self, state: TrainState, rebuilt: Array, real: Array) -> TrainState:
        model = self.config.model

        def loss(post: Params) -> Array:
            mended = self.post.apply({"params": post}, rebuilt)
            wrong = spectrum_discrepancy(
                mended,
                real,
                window=model.window,
                stride=model.stride,
                pixels=model.pixels,
                sharpness=model.sharpness,
            )
            moved = ((mended - rebuilt) ** 2).sum(axis=(1, 2, 3)).mean()
            return wrong + model.post_error * moved

        grads = parallel.mean(jax.grad(loss)(state.params[POST]))
        return improved(state, POST, self.optimizers[POST], grads)

    def _followed(self, kept: Array, step: Array, index: Array, z: Array) -> Array:
        """Return the latents of recent images with new ones, those of the averaged encoder."""
        places = step * self.config.training.batch_size + index
        new = parallel.mean(latents.rolled(kept, places, z))
        return latents.updated(kept, *new)


def _normals(keys: Array, size: int) -> Array:
    """Return normal numbers for each key, ``[B, size]``."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
