"""Not a generator but what improves one: how much likelier an image is to be real than drawn.

It is trained on real images and on those that a generator drew. The best answer to "which is it?"
is the ratio of both densities (arXiv:1406.2661, proposition 1), and drawn images that are kept in
proportion to that ratio are distributed as real ones: :mod:`sgm_jax.rejection`. It is trained as
generators are, with ``--config=configs/discriminator64.py``, and draws nothing.
"""

import dataclasses
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax.conditions import Conditions
from sgm_jax.config import Rules, check_halved, check_shift, check_threshold, flatten
from sgm_jax.data import PixelScale
from sgm_jax.data.normalise import TRUNCATION_SLACK
from sgm_jax.generator import Batch
from sgm_jax.models.augment import augmented
from sgm_jax.models.discriminator import Discriminator
from sgm_jax.models.draws import Draws
from sgm_jax.step import (
    Params,
    TrainState,
    Variables,
    gradient_step,
    initial_state,
    optimizer_from_config,
)

Array = jax.Array

RULES = Rules(at_least_one=("model.hidden",), lists=("model.channels", "model.line_channels"))
# Neighbours are then half a degree apart, which is less than a pixel anywhere in 64 x 64.
MOST_DIRECTIONS = 360
_SATURATED = 255


@dataclasses.dataclass(frozen=True, eq=False)
class RealOrDrawn:
    """A network and its loss: a :class:`sgm_jax.generator.Trainable`.

    Attributes:
        config: what it was built from.
        net: the network.
        scale: of network space.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    net: Discriminator
    scale: PixelScale
    optimizer: optax.GradientTransformation

    log_prob = None  # of images, which it has none of

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        data = self.config.data
        return (data.image_size, data.image_size, data.num_channels)

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of a fresh network."""
        seen = self._seen(jnp.zeros((1, *self.image_shape)))
        return initial_state(self.net.init(key, seen, seen)["params"], self.optimizer)

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update from real images and as many drawn ones, ``batch["drawn"]``."""
        return gradient_step(self._loss, self.optimizer, self.config.model.ema_rate)(
            state, key, batch
        )

    def eval_loss(
        self, variables: Variables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss; log 2, 0.693, is that of guessing."""
        return self._loss(variables.params, key, batch)

    def log_ratio(self, params: Params, images: Array) -> Array:
        """Return ``log(p_real / p_drawn)`` of images in network space, ``[B]`` in nats.

        Args:
            params: of the network.
            images: ``[B, H, W, C]``, of whole levels or not: they are seen as they are written.
        """
        seen = self._seen(images)
        return self.net.apply({"params": params}, seen, seen)

    def _judged(self, params: Params, keys: Array, images: Array) -> Array:
        """Return the same where images are shifted; how much there is in all stays known."""
        seen = self._seen(images)
        shifted = augmented(keys, seen, flip=0.0, shift=self.config.model.shift)
        return self.net.apply({"params": params}, shifted, seen)

    def _seen(self, images: Array) -> Array:
        """Return what the network sees ``[B, H, W, 3 C]``, the same of real and of drawn images.

        The charge, which pixels are lit, and which are saturated. Levels are truncated and cut as
        :func:`sgm_jax.data.to_uint8` does.
        """
        levels = jnp.clip(self.scale.from_model(images), 0, _SATURATED)
        levels = jnp.floor(levels + TRUNCATION_SLACK)
        lit = levels > self.config.model.threshold
        charge = self.scale.to_model(jnp.where(lit, levels, 0.0))
        marks = [mark.astype(jnp.float32) for mark in (lit, levels >= _SATURATED)]
        return jnp.concatenate([charge, *marks], axis=-1)

    def _loss(self, params: Params, key: Array, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Return the mean of ``-log`` of the probability of what images are, in nats."""
        draws = Draws(key, batch["index"])
        real, drawn = (
            self._judged(params, draws.keys(purpose), batch[name])
            for purpose, name in (("real", "image"), ("generated", "drawn"))
        )
        nats = jax.nn.softplus(-real).mean() + jax.nn.softplus(drawn).mean()
        right = jnp.mean(real > 0) + jnp.mean(drawn < 0)
        return nats / 2, {"accuracy": right / 2}

    def drawing(self, conditions: Conditions) -> NoReturn:
        """Refuse to draw.

        Raises:
            ValueError: always.
        """
        del conditions
        raise ValueError(
            "these weights are of a discriminator, which draws no images: give the --workdir of "
            "the generator that it is for, or --pretrained, and this one as "
            "--config.sampling.rejection"
        )


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration of a discriminator with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    if not fields["data.drawn_path"]:
        raise ValueError(
            "--config.data.drawn_path is '', and a discriminator learns from drawn images, too: "
            "give the folder or the file of 20,000 that --mode=sample wrote"
        )
    if fields["data.centered"]:
        raise ValueError(
            "--config.data.centered=True: a discriminator sees dark pixels as 0; set it to False, "
            "whatever the generator has: it is shown finished images"
        )
    if fields["training.snapshot_sampling"]:
        raise ValueError(
            "--config.training.snapshot_sampling=True: a discriminator draws nothing; set it to "
            "False"
        )
    if fields["model.condition"]:
        raise ValueError(
            f"--config.model.condition is {tuple(fields['model.condition'])}; a discriminator sees "
            'images alone: set it to "()"'
        )
    check_threshold(fields)
    check_shift(fields)
    check_halved(fields, 'fine ones first, such as "(24, 48, 96)"')
    _check_lines(fields)


def _check_lines(fields: dict[str, Any]) -> None:
    directions, channels = fields["model.directions"], fields["model.line_channels"]
    if not isinstance(directions, int) or not 0 <= directions <= MOST_DIRECTIONS:
        raise ValueError(
            f"--config.model.directions is {directions!r}; it is how many directions of straight "
            f"lines are looked at: a whole number from 0, for none, to {MOST_DIRECTIONS}"
        )
    whole = all(isinstance(n, int) and n >= 1 for n in channels)
    if directions and (len(channels) < 2 or not whole):
        raise ValueError(
            f"--config.model.line_channels is {tuple(channels)}; with lines it must have a whole "
            'number above 0 for each of at least two grids, fine ones first, such as "(16, 32, 48)"'
        )


def check_new(config: ml_collections.ConfigDict) -> None:
    """Accept every checked configuration."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run, beside the general ones."""
    del config
    return ("data.drawn_path",)


def purpose(config: ml_collections.ConfigDict) -> str:
    """Return what a discriminator is for, which draws nothing."""
    del config
    return (
        "to draw with it, beside the --workdir or --pretrained of its generator: --mode=sample "
        "--config.sampling.rejection={run}"
    )


def build(config: ml_collections.ConfigDict) -> RealOrDrawn:
    """Return the discriminator of a checked configuration."""
    return RealOrDrawn(
        config,
        Discriminator(
            tuple(config.model.channels),
            config.model.hidden,
            config.model.directions,
            tuple(config.model.line_channels),
        ),
        PixelScale.from_config(config.data),
        optimizer_from_config(config),
    )
