"""From a configuration to an autoencoder with critics, or a refusal at the door."""

from typing import Any

import ml_collections

from sgm_jax.config import Rules, check_grids, check_sparse, check_unguided, flatten
from sgm_jax.data import PixelScale
from sgm_jax.data.visible import Visible
from sgm_jax.generators.bibae.generator import AUTOENCODER, CRITICS, POST, BibAe
from sgm_jax.generators.bibae.networks import Encoder, LatentCritic
from sgm_jax.generators.bibae.spectrum import PostProcessor
from sgm_jax.models.adversarial import LOSSES
from sgm_jax.models.asked import Asked
from sgm_jax.models.dcgan import Convolutional, Judge
from sgm_jax.step import optimizer_from_config

# Of the terms that the autoencoder loses.
WEIGHTS = (
    *("divergence", "discrepancy", "reconstruction"),
    *("image_critic", "difference_critic", "latent_critic"),
)
RULES = Rules(
    choices={"model.loss": tuple(LOSSES), "model.spectral_norm": (True, False)},
    at_least_one=(
        "model.latent",
        "model.features",
        "model.post_features",
        "model.window",
        "model.stride",
        "model.pixels",
        "model.asked_features",
        "optim.critic_steps",
        "sampling.at_once",
    ),
    positive=("model.penalty", "model.sharpness", "optim.critic_lr", "optim.post_lr"),
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
    check_grids(fields)
    for name in (*WEIGHTS, "noise", "post_start", "post_error"):
        if not fields[f"model.{name}"] >= 0:
            raise ValueError(
                f"--config.model.{name} is {fields[f'model.{name}']}; it must not be negative"
            )
    _check_latents(fields)
    _check_windows(fields)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse nothing more where a run begins."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run: none but the general ones."""
    del config
    return ()


def _check_latents(fields: dict[str, Any]) -> None:
    kept, least = fields["model.kept"], max(fields["training.batch_size"], 10)
    least = max(least, 2 * fields["model.latent"])
    if not isinstance(kept, int) or kept < least:
        raise ValueError(
            f"--config.model.kept is {kept!r}; it is of how many recent images the latents are "
            f"kept, to draw from: with --config.training.batch_size="
            f"{fields['training.batch_size']} and --config.model.latent={fields['model.latent']} "
            f"at least {least}"
        )


def _check_windows(fields: dict[str, Any]) -> None:
    window, pixels, side = (
        fields[name] for name in ("model.window", "model.pixels", "data.image_size")
    )
    if not window <= pixels <= side**2:
        raise ValueError(
            f"--config.model.window is {window} and --config.model.pixels {pixels}; so many of the "
            "brightest pixels are looked at, in windows of so many: window <= pixels <= "
            f"{side**2}, those of an image"
        )


def build(config: ml_collections.ConfigDict) -> BibAe:
    """Return the autoencoder of a checked configuration, with its critics and post-processor."""
    model, optim, size = config.model, config.optim, (config.data.image_size,) * 2
    visible = Visible(model.threshold, PixelScale.from_config(config.data))
    channels = tuple(model.channels)
    return BibAe(
        config,
        Encoder(channels, model.features, model.latent),
        Convolutional(size, channels),
        Judge(channels, model.features, model.group),
        LatentCritic(),
        PostProcessor(visible.first, model.post_features),
        visible,
        asked=Asked.from_config(config, model.asked_features),
        told=Asked.from_config(config, model.features),
        optimizers={
            AUTOENCODER: optimizer_from_config(
                config, updates=config.training.n_iters // optim.critic_steps
            ),
            CRITICS: optimizer_from_config(config, lr=optim.critic_lr),
            POST: optimizer_from_config(config, lr=optim.post_lr),
        },
    )
