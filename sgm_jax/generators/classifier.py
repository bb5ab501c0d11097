"""Not a generator but what leads one: p(particle, momentum | x_t, t), learnt on noised images.

By Bayes its gradient is what the score of images lacks to become that of images of a condition
(Song et al., arXiv:2011.13456, eq. 14; :func:`sgm_jax.guidance.classifier_guided`). It is trained
as generators are, with ``--config=configs/classifier64.py``, and draws nothing.
"""

import dataclasses
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.config import Rules, flatten
from sgm_jax.generator import Batch
from sgm_jax.generators.classifier_density import Density
from sgm_jax.losses import SMALLEST_TIME, log_normal_noise
from sgm_jax.models.classifier import NoisyClassifier
from sgm_jax.models.condition import Condition, of_images
from sgm_jax.models.layers import group_count
from sgm_jax.models.ncsnpp import ACTIVATIONS
from sgm_jax.sde import SDE, SDES, Array, per_image, sde_from_config
from sgm_jax.step import (
    Params,
    TrainState,
    Variables,
    gradient_step,
    initial_state,
    optimizer_from_config,
)

RULES = Rules(
    choices={
        "training.sde": tuple(SDES),
        "training.low_discrepancy": (True, False),
        "model.nonlinearity": tuple(ACTIVATIONS),
    },
    at_least_one=("model.nf", "model.num_res_blocks", "model.space_to_depth"),
    positive=("training.p_std", "model.beta_min"),
    fractions=("model.dropout",),
    lists=("model.ch_mult",),
    ascending=(("model.beta_min", "model.beta_max"), ("model.sigma_min", "model.sigma_max")),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network, and the density that it gives: a :class:`sgm_jax.generator.Trainable`.

    Attributes:
        config: what it was built from.
        net: the network.
        density: of conditions.
        sde: the forward process of the generator that it is for.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    net: NoisyClassifier
    density: Density
    sde: SDE
    optimizer: optax.GradientTransformation

    log_prob = None  # of images, which it has none of

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        data = self.config.data
        return (data.image_size, data.image_size, data.num_channels)

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of a fresh network."""
        params = self.net.init(key, jnp.zeros((1, *self.image_shape)), jnp.ones(1))["params"]
        return initial_state(params, self.optimizer)

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update."""

        def loss(params: Params, key: Array, batch: Batch) -> tuple[Array, dict[str, Array]]:
            return self._loss(params, key, batch, train=True)

        return gradient_step(loss, self.optimizer, self.config.model.ema_rate)(state, key, batch)

    def eval_loss(
        self, variables: Variables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss without dropout."""
        return self._loss(variables.params, key, batch)

    def log_posterior(
        self, params: Params, x: Array, t: Array, condition: Condition, **options: Any
    ) -> Array:
        """Return ``log p_t(condition | x_t)`` of noised images, ``[B]`` in nats.

        Args:
            params: of the network.
            x: images at times t, ``[B, H, W, C]``.
            t: ``[B]``.
            condition: of them; fields that are not there ask nothing.
            **options: ``train``, ``example`` and ``rngs`` of the network.
        """
        sigma = self.sde.noise_level(t)
        # A background of -1 is as large as the noise, or larger.
        spread = 1.0 if self.config.data.centered else self.config.data.std
        total = self.sde.mean_coeff(t) * jnp.sqrt(sigma**2 + spread**2)
        # EDM's label, see sgm_jax.score.
        label = 250.0 * jnp.log(sigma)
        outputs = self.net.apply({"params": params}, x / per_image(total, x), label, **options)
        asked = {n: values for n, values in condition.items() if n in self.density.fields}
        return self.density.log_prob(outputs, of_images(self.density.fields, len(x)) | asked)

    def _loss(
        self, params: Params, key: Array, batch: Batch, *, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Return the mean of ``-log p_t`` of what noised images show, in nats."""
        x, index, training = batch["image"], batch["index"], self.config.training
        noise_key, network_key = jax.random.split(key)
        sigma, z = log_normal_noise(
            noise_key,
            index,
            x.shape[1:],
            p_mean=training.p_mean,
            p_std=training.p_std,
            low_discrepancy=training.low_discrepancy,
        )
        t = jnp.clip(self.sde.time_at(sigma), SMALLEST_TIME, 1.0)
        mean, std = self.sde.marginal_prob(x, t)
        options = {"train": True, "example": index, "rngs": {"dropout": network_key}}
        noised, shown = mean + per_image(std, x) * z, batch.get("condition", {})
        nats = self.log_posterior(params, noised, t, shown, **(options if train else {}))
        return -nats.mean(), {}

    def drawing(self, conditions: Conditions) -> NoReturn:
        """Refuse to draw.

        Raises:
            ValueError: always.
        """
        del conditions
        raise ValueError(
            "these weights are of a classifier, which draws no images: give the --workdir of a "
            "generator, or --pretrained, and this one as --classifier"
        )


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration of a classifier with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    if not fields["model.condition"]:
        raise ValueError(
            "--config.model.condition is (), and it says what a classifier tells of an image: "
            "\"('particle', 'momentum')\" or one of them"
        )
    if fields["training.snapshot_sampling"]:
        raise ValueError(
            "--config.training.snapshot_sampling=True: a classifier draws nothing; set it to False"
        )
    multiples = fields["model.ch_mult"]
    if not multiples:
        raise ValueError("--config.model.ch_mult is (); give one number for each level")
    smallest = fields["model.space_to_depth"] * 2 ** (len(multiples) - 1)
    if fields["data.image_size"] % smallest:
        raise ValueError(
            f"--config.data.image_size is {fields['data.image_size']}; with model.space_to_depth="
            f"{fields['model.space_to_depth']} and {len(multiples)} levels of model.ch_mult it "
            f"must be a multiple of {smallest}"
        )
    for multiple in multiples:
        group_count(fields["model.nf"] * multiple)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Accept every checked configuration."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return no fields that may change between two starts of a run, beside the general ones."""
    del config
    return ()


def purpose(config: ml_collections.ConfigDict) -> str:
    """Return what a classifier is for, which draws nothing."""
    del config
    return "to draw with it: --mode=sample --classifier={run} --particle=..."


def build(config: ml_collections.ConfigDict) -> Classifier:
    """Return the classifier of a checked configuration, whose ``data.std`` is known."""
    model = config.model
    density = Density(tuple(model.condition), len(config.data.particles), model.momentum_scale)
    net = NoisyClassifier(
        density.num_outputs,
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        dropout=model.dropout,
        space_to_depth=model.space_to_depth,
        activation=ACTIVATIONS[model.nonlinearity],
    )
    return Classifier(config, net, density, sde_from_config(config), optimizer_from_config(config))
