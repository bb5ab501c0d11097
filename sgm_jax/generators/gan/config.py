"""From a configuration to a GAN, or a refusal at the door."""

from typing import Any

import flax.linen as nn
import ml_collections

from sgm_jax.config import (
    Rules,
    check_grids,
    check_judged,
    check_shift,
    check_sparse,
    check_unguided,
    flatten,
)
from sgm_jax.data import PixelScale
from sgm_jax.data.visible import Visible
from sgm_jax.generators.gan.generator import Gan
from sgm_jax.generators.gan.lagan import Local, LocalJudge
from sgm_jax.models.adversarial import LOSSES
from sgm_jax.models.asked import Asked
from sgm_jax.models.dcgan import Convolutional, Judge
from sgm_jax.models.rectifier import rectified
from sgm_jax.step import optimizer_from_config

RULES = Rules(
    choices={
        "model.loss": tuple(LOSSES),
        "model.spectral_norm": (True, False),
        "model.lagan": (True, False),
    },
    at_least_one=(
        "model.latent",
        "model.features",
        "model.local_channels",
        "model.asked_features",
        "optim.discriminator_steps",
        "sampling.at_once",
    ),
    positive=("model.penalty", "optim.discriminator_lr"),
    lists=("model.channels",),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    check_sparse(fields)
    check_unguided(fields)
    _check_networks(fields)
    _check_augmentation(fields)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse nothing more where a run begins."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run: none but the general ones."""
    del config
    return ()


def _check_networks(fields: dict[str, Any]) -> None:
    if not fields["model.lagan"]:
        check_grids(fields)
        return
    check_judged(fields)
    channels, side = fields["model.channels"], fields["data.image_size"]
    if len(channels) != 2 or not all(isinstance(n, int) and n >= 1 for n in channels):
        raise ValueError(
            f"--config.model.channels is {tuple(channels)}; with --config.model.lagan=True it has "
            'the features of the coarse grid before and after a convolution: "(128, 64)"'
        )
    # The discriminator halves twice, and then takes a mean of four pixels.
    if side % 8:
        raise ValueError(
            f"--config.data.image_size is {side}; with --config.model.lagan=True it must be a "
            "multiple of 8"
        )


def _check_augmentation(fields: dict[str, Any]) -> None:
    flip = fields["model.flip"]
    if not 0 <= flip < 0.5:
        raise ValueError(
            f"--config.model.flip is {flip}; it is how often an image is flipped before the "
            "discriminator sees it, and must lie in [0, 0.5): with half of them flipped nobody can "
            "tell which way is up, and the generator draws both"
        )
    check_shift(fields)


def build(config: ml_collections.ConfigDict) -> Gan:
    """Return the GAN of a checked configuration."""
    model, side = config.model, config.data.image_size
    visible = Visible(model.threshold, PixelScale.from_config(config.data))
    generator, discriminator = _networks(config)
    every = config.optim.discriminator_steps
    return Gan(
        config,
        (side, side, 1),
        generator,
        discriminator,
        rectify=lambda outputs: rectified(outputs, visible.first),
        shown=visible.spread,
        asked=Asked.from_config(config, model.asked_features),
        told=Asked.from_config(config, model.features),
        optimizer=optimizer_from_config(config, updates=config.training.n_iters // every),
        discriminator_optimizer=optimizer_from_config(config, lr=config.optim.discriminator_lr),
    )


def _networks(config: ml_collections.ConfigDict) -> tuple[nn.Module, nn.Module]:
    model, size = config.model, (config.data.image_size,) * 2
    channels = tuple(model.channels)
    if model.lagan:
        last = LocalJudge(channels[1], model.local_channels, model.features, model.group)
        return Local(size, channels, model.local_channels), last
    return Convolutional(size, channels), Judge(channels, model.features, model.group)
