"""From a configuration to flows of charges and layers, or a refusal at the door."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sgm_jax.config import Rules, check_sparse, check_unguided, flatten
from sgm_jax.data import Images, PixelScale
from sgm_jax.data.images import evenly_spaced
from sgm_jax.data.normalise import TRANSFORMS as CHARGE_TRANSFORMS
from sgm_jax.generators.flows import flow
from sgm_jax.generators.flows.charge import LogitScale, dequantise, log_transform
from sgm_jax.generators.flows.layered import Embedding, LayeredFlow
from sgm_jax.generators.flows.layers import COLUMNS, ROWS, Layers
from sgm_jax.generators.flows.postprocess import METHODS
from sgm_jax.generators.flows.spline import Spline

# On so many images, evenly spaced, the logits of charges are measured.
MEASURED_IMAGES = 500
# As many levels as a pixel can have.
LEVELS = 256

RULES = Rules(
    choices={
        "model.layers": (ROWS, COLUMNS),
        "model.share": (True, False),
        "model.transform": tuple(flow.TRANSFORMS),
        "model.permutation": (flow.PAIRED, flow.RANDOM, flow.REVERSE),
        "model.postprocess": tuple(METHODS),
    },
    at_least_one=(
        "model.strip",
        "model.context",
        "model.blocks",
        "model.hidden",
        "model.hidden_layers",
        "model.energy_blocks",
        "model.energy_hidden",
        "model.energy_hidden_layers",
        "model.embedding_hidden",
        "model.embedding_features",
        "model.bins",
        "model.asked_features",
        "training.layers",
        "sampling.at_once",
        "eval.num_probes",
    ),
    positive=("model.tail_bound", "model.least_bin"),
    lists=("model.standard",),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration of flows with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    check_unguided(fields)
    check_sparse(fields)
    _check_threshold(fields)
    _check_layers(fields)
    _check_scales(fields)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse couplings that leave some numbers as the noise they are drawn from.

    Runs from before there were pairs go on as they are.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    model = config.model
    if model.transform != flow.COUPLING:
        return
    if model.permutation == flow.RANDOM:
        raise ValueError(
            "--config.model.permutation=random leaves some pixels as they are with "
            f"--config.model.transform={flow.COUPLING}; take --config.model.permutation=paired"
        )
    for field in ("blocks", "energy_blocks"):
        if model[field] < 2:
            raise ValueError(
                f"--config.model.{field}={model[field]} must be at least 2 with "
                f"--config.model.transform={flow.COUPLING}: one coupling maps half of the numbers"
            )


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run: how drawn layers end."""
    del config
    return ("model.postprocess",)


def measure(config: ml_collections.ConfigDict, images: Images) -> dict[str, Any]:
    """Return mean and deviation of the logits of pixels of lit layers, and of layers' charges."""
    if config.model.standard:
        return {}
    flows = flows_from_config(config)
    rows = evenly_spaced(len(images), MEASURED_IMAGES)
    levels = np.rint(images[rows][..., 0].astype(np.float32)).clip(0, LEVELS - 1)
    layers = np.asarray(flows.layers.split(np.where(levels < flows.first, 0, levels)))
    totals = layers.sum(axis=2)
    measured: list[float] = []
    lit = layers[totals > 0]
    for values, scale in ((lit, flows.pixel_scale), (totals, flows.charge_scale)):

        def numbers(values: jax.Array, scale: LogitScale = scale) -> jax.Array:
            noised = dequantise(jax.random.key(0), values, flows.first).values
            return scale.to_network(noised)[0]

        logits = np.asarray(jax.jit(numbers)(jnp.asarray(values)), np.float64)
        measured += [float(logits.mean()), float(logits.std())]
    return {"model.standard": tuple(round(number, 6) for number in measured)}


def _check_threshold(fields: dict[str, Any]) -> None:
    threshold = fields["model.threshold"]
    if not isinstance(threshold, int) or not 0 <= threshold < LEVELS - 1:
        raise ValueError(
            f"--config.model.threshold is {threshold!r}; it must be a whole number from 0 to "
            f"{LEVELS - 2}: an image has {LEVELS} levels, those up to the threshold become 0, and "
            "some must be left"
        )


def _check_layers(fields: dict[str, Any]) -> None:
    side, strip, before = (
        fields[name] for name in ("data.image_size", "model.strip", "model.context")
    )
    if not isinstance(strip, int) or side % strip or side // strip < 2:
        fits = ", ".join(str(n) for n in range(1, side // 2 + 1) if side % n == 0)
        raise ValueError(
            f"--config.model.strip is {strip!r}; layers of so many {fields['model.layers']} must "
            f"divide --config.data.image_size {side} into two or more: take one of {fits}"
        )
    if not isinstance(before, int) or before >= side // strip:
        raise ValueError(
            f"--config.model.context is {before!r}; a layer sees so many before it, and an image "
            f"has {side // strip} layers: set --config.model.context={side // strip - 1} or less"
        )


def _check_scales(fields: dict[str, Any]) -> None:
    for name in ("model.alpha", "model.energy_alpha"):
        alpha = fields[name]
        if not isinstance(alpha, float) or not 1e-7 <= alpha < 0.5:
            raise ValueError(
                f"--config.{name} is {alpha!r}; it must lie between 1e-7, so that the logits of "
                "charges of 0 and of the maximum are finite, and 0.5; such as 0.01"
            )
    bins, least = fields["model.bins"], fields["model.least_bin"]
    if bins < 2 or bins * least >= 1:
        raise ValueError(
            f"--config.model.bins is {bins} and --config.model.least_bin {least}; a spline has 2 "
            "or more bins, and all of the smallest size must fit: lower model.least_bin"
        )
    if len(fields["model.standard"]) not in (0, 4):
        raise ValueError(
            f"--config.model.standard is {tuple(fields['model.standard'])}; these are four numbers "
            'that are measured when a run begins: leave it at "()"'
        )


def flows_from_config(config: ml_collections.ConfigDict) -> LayeredFlow:
    """Return the flows; before a run has measured their scales, these are 0 and 1."""
    model, side = config.model, config.data.image_size
    layers = Layers(side, model.layers, model.strip, model.context)
    first = model.threshold + 1
    pixel_mean, pixel_std, charge_mean, charge_std = model.standard or (0.0, 1.0, 0.0, 1.0)
    spline = Spline(model.bins, model.tail_bound, model.least_bin)
    asked = model.asked_features if model.condition else 0
    place = layers.places.shape[1] if model.share else 0
    options = {"permutation": model.permutation, "seed": model.permutation_seed, "spline": spline}
    energy = flow.flow(
        model.transform,
        size=layers.count,
        blocks=model.energy_blocks,
        hidden=model.energy_hidden,
        layers=model.energy_hidden_layers,
        context=asked,
        **options,
    )
    causal = flow.flow(
        model.transform,
        size=layers.size,
        blocks=model.blocks,
        hidden=model.hidden,
        layers=model.hidden_layers,
        context=model.embedding_features + 1 + place + asked,
        **options,
    )
    scale = PixelScale.from_config(config.data)
    pixels = CHARGE_TRANSFORMS[config.data.transform]
    top = float(LEVELS * layers.size)
    return LayeredFlow(
        layers,
        energy,
        causal,
        Embedding(model.embedding_hidden, model.embedding_features),
        LogitScale(float(LEVELS), pixels, model.alpha, pixel_mean, pixel_std),
        LogitScale(top, log_transform(top), model.energy_alpha, charge_mean, charge_std),
        first,
        model.share,
        scale.to_model,
        METHODS[model.postprocess],
    )
