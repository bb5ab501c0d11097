"""From a configuration to a first stage or its prior, or a refusal at the door.

One configuration describes both. ``model`` has the autoencoder, ``prior`` the networks of its
codes, and ``first`` how the first stage is trained; ``training`` and ``optim`` are those of what
``model.stage`` names.
"""

from typing import Any

import flax.linen as nn
import ml_collections

from sgm_jax.config import Rules, check_unguided, flatten
from sgm_jax.generators.autoregressive import orders
from sgm_jax.generators.autoregressive.causal_conv import CausalConv
from sgm_jax.generators.autoregressive.config import (
    check_causal_conv,
    check_kernels,
    check_levels,
    levels_from_config,
)
from sgm_jax.generators.autoregressive.orders import Size
from sgm_jax.generators.autoregressive.stages import OneStage, Plan, Stage
from sgm_jax.generators.vqvae import two_levels
from sgm_jax.generators.vqvae.codes import Codes, Embedded
from sgm_jax.generators.vqvae.first_stage import FirstStage
from sgm_jax.generators.vqvae.gated_pixelcnn import GatedPixelCNN
from sgm_jax.generators.vqvae.networks import Autoencoder, OneLevel, TwoLevels
from sgm_jax.generators.vqvae.outputs import Hits, Output, SquaredError
from sgm_jax.generators.vqvae.prior import Prior
from sgm_jax.generators.vqvae.published import Published
from sgm_jax.models.asked import Asked
from sgm_jax.step import optimizer_from_config

FIRST, PRIOR = "first", "prior"
PIXELCNN, SNAIL = "gated_pixelcnn", "causal_conv"
# Published pixels are multiplied with this.
PUBLISHED_SCALE = 10.0

RULES = Rules(
    choices={
        "model.stage": (FIRST, PRIOR),
        "model.levels": (1, 2),
        "model.codebook": ("averages", "gradient"),
        "model.output": ("hit", "mse"),
        "model.as_published": (False, True),
        "prior.trunk": (PIXELCNN, SNAIL),
        "prior.mask": ("correct", "as_published"),
        "first.optimizer": ("Adam", "Muon"),
    },
    at_least_one=(
        "model.blocks",
        "model.code_size",
        "first.n_iters",
        "first.batch_size",
        "prior.embedding",
        "prior.channels",
        "prior.width",
        "prior.layers",
        "prior.kernel",
        "prior.first_kernel",
        "prior.heads",
        "prior.context",
        "prior.context_blocks",
        "prior.asked_features",
        "sampling.at_once",
    ),
    positive=("model.commitment", "model.charge_weight", "first.lr", "first.adam_lr"),
    fractions=("model.decay",),
    lists=("model.channels", "prior.dilations", "prior.attention", "sampling.temperatures"),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    check_levels(fields)
    check_unguided(fields)
    _check_autoencoder(fields)
    _check_temperatures(fields)
    if fields["model.stage"] == FIRST:
        if fields["training.snapshot_sampling"]:
            raise ValueError(
                "--config.training.snapshot_sampling=True: a first stage draws nothing; set it to "
                "False"
            )
        return
    steps, each = fields["first.n_iters"], fields["training.n_jitted_steps"]
    if steps % each:
        raise ValueError(
            f"--config.first.n_iters {steps} is not a multiple of "
            f"--config.training.n_jitted_steps {each}; try {max(steps // each, 1) * each}"
        )
    _check_prior(config, fields)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse nothing more where a run begins."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run.

    Where the first stage of a prior lies, and how it was trained, does not matter: which one it is
    is kept in ``model.first_stage_hash``. A first stage knows nothing of its priors.
    """
    sections = ("first", "prior") if config.model.stage == FIRST else ("first",)
    names = [f"{section}.{name}" for section in sections for name in sorted(config[section])]
    return ("model.first_stage", *names)


def first_stage(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict | None:
    """Return the configuration of what is trained before a prior; None for a first stage."""
    if config.model.stage == FIRST:
        return None
    before = config.copy_and_resolve_references().unlock()
    model, training, optim, first = before.model, before.training, before.optim, config.first
    model.stage, model.first_stage, model.first_stage_hash = FIRST, "", ""
    model.condition = ()
    # The codebook follows the network as it is, so an average must not lag far behind it; there is
    # none in the published one.
    model.ema_rate, model.ema_rates = 0.0 if model.as_published else model.decay, ()
    training.snapshot_sampling, training.initial_weights = False, ""
    training.n_iters, training.batch_size = first.n_iters, first.batch_size
    optim.optimizer, optim.lr, optim.adam_lr = first.optimizer, first.lr, first.adam_lr
    return before.lock()


def purpose(config: ml_collections.ConfigDict) -> str | None:
    """Return what a first stage is for; None for a prior, which draws."""
    if config.model.stage == PRIOR:
        return None
    return "for a prior of its codes: --config.model.stage=prior --config.model.first_stage={run}"


def build(config: ml_collections.ConfigDict) -> FirstStage | Prior:
    """Return the first stage or the prior of a checked configuration."""
    optimizer = optimizer_from_config(config)
    first = FirstStage(config, _network(config), _output(config), optimizer)
    if config.model.stage == FIRST:
        return first
    plan = _plan(config, first)
    names = ("pixels",) if config.model.levels == 1 else ("top", "bottom")
    sees_books = names if config.prior.mask == "as_published" else ()
    asked = Asked.from_config(config, config.prior.asked_features)
    return Prior(config, first, plan, sees_books, asked, optimizer)


# ------------------------------------------------------------------------------- the door


def _check_autoencoder(fields: dict[str, Any]) -> None:
    channels, codes = fields["model.channels"], fields["model.codes"]
    if not channels or not all(isinstance(n, int) and n >= 1 for n in channels):
        raise ValueError(
            f"--config.model.channels is {tuple(channels)}; it must have a whole number above 0 "
            'for each halving of the image, such as "(32, 64)"'
        )
    if not isinstance(codes, int) or codes < 2:
        raise ValueError(
            f"--config.model.codes is {codes!r}; a codebook needs 2 or more, such as 256"
        )
    side, by = fields["data.image_size"], 2 ** (len(channels) + fields["model.levels"] - 1)
    if side % by:
        raise ValueError(
            f"--config.data.image_size is {side}; with {len(channels)} halvings of model.channels "
            f"and model.levels={fields['model.levels']} it must be a multiple of {by}"
        )
    if not fields["model.as_published"]:
        return
    for name, value in (
        ("model.levels", 1),
        ("model.output", "mse"),
        ("model.codebook", "gradient"),
        ("data.transform", "linear"),
    ):
        if fields[name] != value:
            raise ValueError(
                f"--config.model.as_published=True has --config.{name}={value}, not "
                f"{fields[name]!r}; set it so, or --config.model.as_published=False"
            )


def _check_temperatures(fields: dict[str, Any]) -> None:
    temperatures, levels = fields["sampling.temperatures"], fields["model.levels"]
    if len(temperatures) != levels or not all(t > 0 for t in temperatures):
        example = ", ".join(["1.0"] * levels) + ("," if levels == 1 else "")
        raise ValueError(
            f"--config.sampling.temperatures is {tuple(temperatures)}; it must have a number above "
            f'0 for each of {levels} levels of codes: "({example})"'
        )


def _check_prior(config: ml_collections.ConfigDict, fields: dict[str, Any]) -> None:
    check_kernels(fields, section="prior")
    published = fields["prior.mask"] == "as_published"
    if fields["prior.trunk"] == PIXELCNN:
        if fields["prior.first_kernel"] < (5 if published else 3):
            raise ValueError(
                f"--config.prior.first_kernel is {fields['prior.first_kernel']}; it would see "
                "nothing: set --config.prior.first_kernel=7"
            )
        return
    if published:
        raise ValueError(
            "--config.prior.mask=as_published is of --config.prior.trunk=gated_pixelcnn; set that, "
            "or --config.prior.mask=correct"
        )
    side = _network(config).shrinks[0]
    check_causal_conv(fields, section="prior", side=fields["data.image_size"] // side)


# ------------------------------------------------------------------------------- the parts


def _output(config: ml_collections.ConfigDict) -> Output:
    model = config.model
    if model.as_published:
        return SquaredError(scale=PUBLISHED_SCALE)
    if model.output == "mse":
        return SquaredError(weight=model.charge_weight)
    return Hits(levels_from_config(config), model.charge_weight)


def _network(config: ml_collections.ConfigDict) -> Autoencoder:
    model, features = config.model, _output(config).features
    channels = tuple(model.channels)
    if model.as_published:
        return Published(channels, model.code_size, features)
    network = OneLevel if model.levels == 1 else TwoLevels
    return network(channels, model.blocks, model.code_size, features)


def _plan(config: ml_collections.ConfigDict, first: FirstStage) -> Plan:
    classes, prior = config.model.codes, config.prior
    heads = [Codes(classes, temperature=float(t)) for t in config.sampling.temperatures]
    if len(heads) == 1:
        return OneStage(_stage(config, first.grids[0], heads[0]))
    # Far codes are known from the coarse grid, so the fine one needs no attention.
    top, bottom = first.grids
    return two_levels.TwoLevels(
        _stage(config, top, heads[0]),
        _stage(config, bottom, heads[1], attention=(), told=True),
        two_levels.Context(prior.context, prior.context_blocks),
    )


def _stage(
    config: ml_collections.ConfigDict,
    size: Size,
    head: Codes,
    *,
    attention: tuple[int, ...] | None = None,
    told: bool = False,
) -> Stage:
    prior, published = config.prior, config.prior.mask == "as_published"
    options = {
        "features": head.features,
        "channels": prior.channels,
        "first_kernel": prior.first_kernel,
        "kernel": prior.kernel,
        "conditional": bool(config.model.condition),
    }
    order = orders.row(size)
    trunk: nn.Module
    if prior.trunk == PIXELCNN:
        options |= {"layers": prior.layers, "published": published, "told": told}
        trunk = GatedPixelCNN(order, size, **options)
    else:
        options |= {"width": prior.width, "dilations": tuple(prior.dilations)}
        options |= {"attention": tuple(prior.attention) if attention is None else attention}
        # Sums are of counts, and what is seen here are vectors.
        trunk = CausalConv(order, size, heads=prior.heads, sums=False, **options)
    embedding = config.model.code_size if published else prior.embedding
    return Stage(Embedded(trunk, embedding, frozen=published), head)
