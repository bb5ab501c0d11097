"""From a configuration to the parts of an autoregressive generator, or a refusal at the door."""

import dataclasses
from typing import Any

import flax.linen as nn
import ml_collections
import numpy as np

from sgm_jax.config import Rules, check_sparse, check_unguided, flatten
from sgm_jax.data import Images, PixelScale
from sgm_jax.data.images import evenly_spaced
from sgm_jax.generators.autoregressive import orders
from sgm_jax.generators.autoregressive.causal_conv import CausalConv
from sgm_jax.generators.autoregressive.heads import (
    HEADS,
    UNGATED,
    Categorical,
    Head,
    Levels,
    head_of,
)
from sgm_jax.generators.autoregressive.made import Made, made_parameters
from sgm_jax.generators.autoregressive.orders import Order, Size
from sgm_jax.generators.autoregressive.stages import Blocks, OneStage, Plan, Stage, Window

TRUNKS = ("causal_conv", "made")
ONE, WINDOW, BLOCKS = "one", "window", "blocks"
# Attention compares every pixel with every other one.
ATTENTION_SIDE = 16
# Adam keeps three numbers for each, and every image reads all of them: 1.4 GB.
MOST_PARAMETERS = 120_000_000
# On so many images, evenly spaced, the entropy of pixels is measured.
MEASURED_IMAGES = 10_000

RULES = Rules(
    choices={
        "model.trunk": TRUNKS,
        "model.head": tuple(HEADS),
        "model.order": orders.NAMES,
        "model.stages": (ONE, WINDOW, BLOCKS),
        "model.sums": (True, False),
        "model.saturated": (True, False),
        "sampling.one_saturated": (True, False),
    },
    at_least_one=(
        "model.components",
        "model.channels",
        "model.width",
        "model.kernel",
        "model.first_kernel",
        "model.heads",
        "model.hidden",
        "model.layers",
        "model.inner",
        "model.window",
        "model.block",
        "model.asked_features",
        "sampling.at_once",
    ),
    positive=("sampling.gate_temperature",),
    lists=("model.dilations", "model.attention", "model.order_places"),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse an autoregressive configuration with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    check_levels(fields)
    check_unguided(fields)
    _check_trunk(fields)
    temperature = fields["sampling.gate_temperature"]
    if fields["model.head"] == UNGATED and temperature != 1:
        raise ValueError(
            f"--config.sampling.gate_temperature is {temperature}, and --config.model.head="
            f"{UNGATED} has no gate; set it to 1"
        )
    if fields["sampling.one_saturated"]:
        _check_one_saturated(fields)
    size = (fields["data.image_size"],) * 2
    if fields["model.order"] != orders.ENTROPY or fields["model.stages"] == WINDOW:
        plan_from_config(config, order_of(fields, size))


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse nothing more where a run begins."""


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run: none but the general ones."""
    del config
    return ()


def measure(config: ml_collections.ConfigDict, images: Images) -> dict[str, Any]:
    """Return the fields that are measured on the training images, when a run begins."""
    if config.model.order != orders.ENTROPY or config.model.order_places:
        return {}
    rows = evenly_spaced(len(images), MEASURED_IMAGES)
    values = levels_from_config(config).cut(images[rows][..., 0])
    return {"model.order_places": orders.by_entropy(np.asarray(values))}


def check_levels(fields: dict[str, Any]) -> None:
    """Refuse levels that a pixel cannot have, or data of which there are none.

    Raises:
        ValueError: with the field, its value and the fix.
    """
    check_sparse(fields)
    first, last = fields["model.threshold"], fields["model.last_level"]
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first < last <= 255):
        raise ValueError(
            f"--config.model.threshold is {first!r} and --config.model.last_level {last!r}; they "
            "must be whole numbers with 0 <= threshold < last_level <= 255: an image has 256 "
            "levels, and those up to the threshold become 0"
        )


def _check_one_saturated(fields: dict[str, Any]) -> None:
    fix = "set --config.sampling.one_saturated=False"
    if fields["model.stages"] != ONE:
        raise ValueError(
            "--config.sampling.one_saturated is for --config.model.stages=one, and this is "
            f"{fields['model.stages']}; {fix}"
        )
    if fields["model.threshold"] + 1 == fields["model.last_level"]:
        raise ValueError(
            f"--config.model.last_level {fields['model.last_level']} is the only lit level, and "
            f"--config.sampling.one_saturated needs another one below it; {fix}"
        )


def _check_trunk(fields: dict[str, Any]) -> None:
    if fields["model.trunk"] == "made":
        _check_made(fields)
        return
    check_kernels(fields, section="model")
    check_causal_conv(fields, section="model", side=fields["data.image_size"])
    if fields["model.attention"] and fields["model.stages"] == BLOCKS:
        raise ValueError(
            "--config.model.attention is for pixels drawn in one stage or with a window, not with "
            '--config.model.stages=blocks; set --config.model.attention="()"'
        )


def check_kernels(fields: dict[str, Any], *, section: str) -> None:
    """Refuse kernels without a middle.

    Raises:
        ValueError: with the field and its value.
    """
    for name in ("kernel", "first_kernel"):
        kernel = fields[f"{section}.{name}"]
        if kernel % 2 != 1:
            raise ValueError(f"--config.{section}.{name} is {kernel!r}; it must be an odd number")


def check_causal_conv(fields: dict[str, Any], *, section: str, side: int) -> None:
    """Refuse the fields of a :class:`~.causal_conv.CausalConv` that cannot work.

    Args:
        fields: of a configuration, flattened.
        section: that they lie in.
        side: of the grid, in pixels.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    dilations, attention = fields[f"{section}.dilations"], fields[f"{section}.attention"]
    if not dilations or not all(isinstance(d, int) and d >= 1 for d in dilations):
        raise ValueError(
            f"--config.{section}.dilations is {tuple(dilations)}; it must have a whole number "
            'above 0 for each block, such as "(1, 2, 4)"'
        )
    if not attention:
        return
    if not all(isinstance(n, int) and 0 <= n < len(dilations) for n in attention):
        raise ValueError(
            f"--config.{section}.attention is {tuple(attention)}; it lists blocks that attention "
            f"follows, from 0 to {len(dilations) - 1}, the last of --config.{section}.dilations"
        )
    if side > ATTENTION_SIDE:
        raise ValueError(
            f"--config.{section}.attention is for grids of up to {ATTENTION_SIDE} x "
            f"{ATTENTION_SIDE} pixels, and this one is {side} pixels wide; "
            f'set --config.{section}.attention="()"'
        )
    if fields[f"{section}.channels"] % fields[f"{section}.heads"]:
        raise ValueError(
            f"--config.{section}.channels {fields[f'{section}.channels']} cannot be divided among "
            f"--config.{section}.heads {fields[f'{section}.heads']}"
        )


def _check_made(fields: dict[str, Any]) -> None:
    side, hidden = fields["data.image_size"], fields["model.hidden"]
    if fields["model.stages"] == BLOCKS:
        raise ValueError(
            "--config.model.stages=blocks leaves out pixels, which a masked dense network cannot; "
            "set --config.model.trunk=causal_conv"
        )
    options = {name: fields[f"model.{name}"] for name in ("layers", "inner")}
    options["channels"] = Levels(saturated=fields["model.saturated"]).channels
    size = made_parameters(side**2, hidden=max(hidden, side**2), **options)
    if size > MOST_PARAMETERS:
        raise ValueError(
            f"--config.model.trunk=made has {size / 1e6:.0f} million parameters for "
            f"--config.data.image_size={side} with --config.model.inner={options['inner']} and "
            f"at least {side**2} hidden units, and {MOST_PARAMETERS / 1e6:.0f} million are the "
            "limit; take --config.model.trunk=causal_conv, or smaller images"
        )
    if hidden < side**2:
        raise ValueError(
            f"--config.model.hidden is {hidden}; with fewer units than the {side**2} pixels some "
            f"pixels would be seen by none: set --config.model.hidden={side**2}"
        )


# ------------------------------------------------------------------------------- the parts


def levels_from_config(config: ml_collections.ConfigDict) -> Levels:
    """Return the levels that a pixel can have. A VQ-VAE is told of no saturated ones."""
    model = config.model
    return Levels(
        model.threshold + 1,
        model.last_level,
        PixelScale.from_config(config.data),
        saturated=model.get("saturated", False),
    )


def order_of(fields: dict[str, Any], size: Size) -> Order:
    """Return the order that flattened fields name.

    Raises:
        ValueError: if it is that of the entropy, and was not measured.
    """
    name = fields["model.order"]
    if name == orders.RANDOM:
        return orders.shuffled(size, fields["model.order_seed"])
    if name != orders.ENTROPY:
        return orders.ORDERS[name](size)
    order = tuple(int(place) for place in fields["model.order_places"])
    if sorted(order) != list(range(size[0] * size[1])):
        raise ValueError(
            "--config.model.order=entropy is an order of the training images, measured when a run "
            "begins (--config.model.order_places); it cannot be had before, nor by hand"
        )
    return order


def plan_from_config(config: ml_collections.ConfigDict, order: Order) -> Plan:
    """Return how images are drawn in an order.

    Raises:
        ValueError: if the stages do not fit the order or the image.
    """
    model, size = config.model, (config.data.image_size,) * 2
    head = head_of(model.head, levels_from_config(config), components=model.components)
    if model.head != UNGATED:
        head = dataclasses.replace(head, temperature=float(config.sampling.gate_temperature))
    if model.stages == WINDOW:
        return _window(config, order, size, head)
    if model.stages == BLOCKS:
        return _blocks(config, order, size, head)
    stage = Stage(_trunk(config, order, size, head), head)
    return OneStage(stage, one_saturated=config.sampling.one_saturated)


def _trunk(
    config: ml_collections.ConfigDict, order: Order, size: Size, head: Head, **options: Any
) -> nn.Module:
    model = config.model
    options |= {"features": head.features, "conditional": bool(model.condition)}
    if model.trunk == "made":
        parts = {"hidden": model.hidden, "layers": model.layers, "inner": model.inner}
        return Made(order, size, **parts, **options)
    return CausalConv(
        order,
        size,
        channels=model.channels,
        width=model.width,
        first_kernel=model.first_kernel,
        kernel=model.kernel,
        dilations=tuple(model.dilations),
        attention=tuple(model.attention),
        heads=model.heads,
        sums=model.sums,
        **options,
    )


def _window(config: ml_collections.ConfigDict, order: Order, size: Size, head: Head) -> Window:
    side = config.model.window
    if side >= size[0]:
        raise ValueError(
            f"--config.model.window is {side}; the window must be smaller than the image, "
            f"{size[0]} pixels"
        )
    corner = orders.square(order, size, side)
    if corner is None:
        raise ValueError(
            f"--config.model.stages=window does not fit --config.model.order="
            f"{config.model.order}, whose first {side**2} pixels are no square; take "
            "--config.model.order=spiral_out_clockwise or spiral_out_counter_clockwise"
        )
    inner_order = orders.within(order, size, corner, side)
    inner = Stage(_trunk(config, inner_order, (side, side), head), head)
    known = {"known": side**2} if config.model.trunk == "made" else {}
    outer = Stage(_trunk(config, order, size, head, **known), head)
    return Window(inner, outer, corner)


def _blocks(config: ml_collections.ConfigDict, order: Order, size: Size, head: Head) -> Blocks:
    side = config.model.block
    if side > size[0] or size[0] % side:
        raise ValueError(
            f"--config.model.block is {side}; it must divide --config.data.image_size, {size[0]}"
        )
    grid = (size[0] // side, size[1] // side)
    rows, columns = (place // side for place in np.divmod(np.array(order), size[1]))
    # Blocks in the order of their first pixels.
    coarse_order = tuple(dict.fromkeys((rows * grid[1] + columns).tolist()))
    whether = Categorical(2)
    coarse = Stage(_trunk(config, coarse_order, grid, whether), whether)
    fine = Stage(_trunk(config, order, size, head, block=side), head)
    return Blocks(coarse, fine, side)
