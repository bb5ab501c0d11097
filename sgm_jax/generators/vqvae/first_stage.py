"""The first stage: images to codes and back. It is trained, and draws nothing by itself.

The loss is that of the reconstruction in nats for each pixel; with it go the commitment of the
encodings to their vectors, and with a codebook learnt by gradient the vectors' to them
(arXiv:1711.00937, eq. 3).
"""

import dataclasses
from typing import Any, NoReturn

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.generator import Batch
from sgm_jax.generators.vqvae import codebook
from sgm_jax.generators.vqvae.codebook import Quantised
from sgm_jax.generators.vqvae.networks import Autoencoder
from sgm_jax.generators.vqvae.outputs import Output
from sgm_jax.step import (
    Params,
    TrainState,
    Variables,
    gradient_step,
    initial_state,
)

Array = jax.Array
Metrics = dict[str, Any]
Books = tuple[Array, ...]

# How vectors are learnt by gradient begin, as in Keras; those of averages begin with the data.
_FIRST_VECTORS = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True, eq=False)
class FirstStage:
    """An autoencoder and its codebooks: a :class:`sgm_jax.generator.Trainable`.

    ``Variables.params`` are those of the ``network`` and of ``books`` learnt by gradient;
    ``Variables.extra`` has the averages that ``books`` follow, that of the ``error`` of lit pixels,
    and the ``statistics`` of the network, as far as there are any.

    Attributes:
        config: what it was built from.
        network: between images and vectors.
        output: between the network's numbers and images.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    network: Autoencoder
    output: Output
    optimizer: optax.GradientTransformation

    log_prob = None  # of images, of which it gives none without a prior

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and one channel."""
        return (self.config.data.image_size, self.config.data.image_size, 1)

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the codes of each level, coarse ones first."""
        height, width, _ = self.image_shape
        return tuple((height // by, width // by) for by in self.network.shrinks)

    # ------------------------------------------------------------------------------ training

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of a fresh network, and of codebooks that know nothing."""
        model, own = self.config.model, jax.random.split(key, 1 + len(self.network.shrinks))
        shape = (model.codes, model.code_size)
        seen = self.output.seen(jnp.zeros((1, *self.image_shape)))
        zeros = jnp.zeros(shape)
        variables = self.network.init(own[0], seen, lambda _, z: codebook.quantise(z, zeros))
        params, extra = {"network": variables["params"]}, {}
        if self._learns_books:
            params["books"] = tuple(_FIRST_VECTORS(key, shape) for key in own[1:])
        else:
            extra["books"] = tuple(codebook.empty(*shape) for _ in own[1:])
        if self.output.likelihood:
            extra["error"] = {"square": jnp.zeros(()), "lit": jnp.zeros(())}
        if "batch_stats" in variables:
            extra["statistics"] = variables["batch_stats"]
        return initial_state(params, self.optimizer).replace(extra=extra)

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update of the network, then let the averages follow it."""

        def loss(params: Params, key: Array, batch: Batch) -> tuple[Array, Metrics]:
            return self._loss(Variables(params, state.extra), key, batch)

        update = gradient_step(loss, self.optimizer, self.config.model.ema_rate)
        moved, metrics = update(state, key, batch)
        # Like all details of a loss it was averaged over the devices.
        measured = metrics.pop("measured")
        return moved.replace(extra=self._followed(state.extra, measured)), metrics | self._told(
            measured
        )

    def eval_loss(
        self, variables: Variables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss, with the statistics of the training."""
        del key
        x = batch["image"]
        quantised, outputs, _ = self.passed(variables, x, train=False)
        rebuilt, _ = self.output.loss(outputs, x)
        return self._total(rebuilt, quantised), {}

    def drawing(self, conditions: Conditions) -> NoReturn:
        """Refuse to draw.

        Raises:
            ValueError: always.
        """
        del conditions
        raise ValueError(
            "these weights are of a first stage, which draws no images: train its prior, with "
            "--config.model.stage=prior and --config.model.first_stage=WORKDIR of this one"
        )

    # -------------------------------------------------------------------- images, codes, images

    def books(self, variables: Variables) -> Books:
        """Return the codebooks ``[K, D]`` of each level."""
        if self._learns_books:
            return variables.params["books"]
        return tuple(averages.book for averages in variables.extra["books"])

    def codes(self, variables: Variables, images: Array) -> tuple[Array, ...]:
        """Return the codes ``[B, h, w]`` of each level of images in network space."""
        quantised, _ = self._encoded(variables, images, train=False)
        return tuple(q.codes for q in quantised)

    def outputs(self, variables: Variables, codes: tuple[Array, ...]) -> Array:
        """Return what the decoder says of codes, ``[B, H, W, features]``."""
        vectors = tuple(
            book[level] for book, level in zip(self.books(variables), codes, strict=True)
        )
        return self.network.apply(self._network(variables), vectors, method="decode")

    def decoded(self, variables: Variables, codes: tuple[Array, ...]) -> Array:
        """Return the images of codes, in network space ``[B, H, W, 1]``."""
        return self.output.images(self.outputs(variables, codes))

    def reconstructed(self, variables: Variables, images: Array) -> Array:
        """Return images as they come back from their codes, in network space."""
        return self.decoded(variables, self.codes(variables, images))

    def passed(
        self, variables: Variables, images: Array, *, train: bool
    ) -> tuple[tuple[Quantised, ...], Array, Any]:
        """Return what becomes of images, the decoder's outputs, and new statistics."""
        quantised, statistics = self._encoded(variables, images, train=train)
        vectors = tuple(q.passed for q in quantised)
        outputs = self.network.apply(self._network(variables), vectors, method="decode")
        return quantised, outputs, statistics

    # ----------------------------------------------------------------------------- the parts

    @property
    def _learns_books(self) -> bool:
        return self.config.model.codebook == "gradient"

    @staticmethod
    def _network(variables: Variables) -> dict[str, Any]:
        """Return what the network is applied with."""
        own = {"params": variables.params["network"]}
        if "statistics" in variables.extra:
            own["batch_stats"] = variables.extra["statistics"]
        return own

    def _encoded(
        self, variables: Variables, images: Array, *, train: bool
    ) -> tuple[tuple[Quantised, ...], Any]:
        """Return what becomes of images, and the network's new statistics if it has some."""
        books, seen = self.books(variables), self.output.seen(images)

        def quantise(level: int, z: Array) -> Quantised:
            return codebook.quantise(z, books[level])

        own = self._network(variables)
        quantised, changed = self.network.apply(
            own, seen, quantise, train, method="encode", mutable=["batch_stats"] if train else []
        )
        return quantised, changed.get("batch_stats")

    def _loss(self, variables: Variables, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the loss, and under ``measured`` what averages follow."""
        x, model = batch["image"], self.config.model
        quantised, outputs, statistics = self.passed(variables, x, train=True)
        rebuilt, error = self.output.loss(outputs, x)
        usual = [codebook.of_batch(q, model.codes) for q in quantised]
        measured = {"books": usual, "error": error}
        if not self._learns_books:
            keys = jax.random.split(key, len(quantised))
            options = {"classes": model.codes, "images": self.config.training.batch_size}
            measured["proposals"] = [
                codebook.propose(own, batch["index"], q, **options)
                for own, q in zip(keys, quantised, strict=True)
            ]
        if statistics is not None:
            measured["statistics"] = statistics
        details = {"reconstruction": rebuilt.mean() / self._pixels, "measured": measured}
        return self._total(rebuilt, quantised), details

    @property
    def _pixels(self) -> int:
        height, width, _ = self.image_shape
        return height * width

    def _total(self, rebuilt: Array, quantised: tuple[Quantised, ...]) -> Array:
        """Return the loss of reconstructions that cost so much ``[B]``, for each pixel."""
        total = rebuilt.mean() / self._pixels
        for q in quantised:
            commitment = jnp.mean((q.encodings - jax.lax.stop_gradient(q.vectors)) ** 2)
            term = self.config.model.commitment * commitment
            if self._learns_books:
                term += jnp.mean((jax.lax.stop_gradient(q.encodings) - q.vectors) ** 2)
            # Of all numbers of an encoding, for each pixel, as the error of the image is; the
            # published loss takes the mean of both.
            share = 1.0 if self.config.model.as_published else q.encodings[0].size / self._pixels
            total += share * term
        return total

    def _followed(self, extra: dict[str, Any], measured: Metrics) -> dict[str, Any]:
        """Return the averages after a step."""
        decay, extra = self.config.model.decay, dict(extra)
        if not self._learns_books:
            usual = zip(extra["books"], measured["books"], measured["proposals"], strict=True)
            extra["books"] = tuple(
                codebook.revived(codebook.moved(book, batch, decay), proposals)
                for book, batch, proposals in usual
            )
        if "error" in extra:
            extra["error"] = {
                name: decay * average + (1 - decay) * measured["error"][name]
                for name, average in extra["error"].items()
            }
        if "statistics" in extra:
            extra["statistics"] = measured["statistics"]
        return extra

    def _told(self, measured: Metrics) -> dict[str, Array]:
        """Return what is said of the codes of a step, and of its hits."""
        told: dict[str, Array] = {}
        names = ("_top", "") if len(measured["books"]) > 1 else ("",)
        for name, usual in zip(names, measured["books"], strict=True):
            told[f"perplexity{name}"] = codebook.perplexity(usual.shares)
            told[f"used_codes{name}"] = (usual.shares > 0).sum().astype(jnp.float32)
        if measured["error"]:
            lit = jnp.maximum(measured["error"]["lit"], 1e-6)
            told["wrong_hits"] = measured["error"]["wrong"] / lit
        return told
