"""The options of NCSN++, and which of them cannot work together."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax

from sgm_jax.models.layers import group_count

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "swish": nn.swish,
    "relu": nn.relu,
    "elu": nn.elu,
    "lrelu": lambda x: nn.leaky_relu(x, 0.2),
}
OPTIONS = {
    "embedding_type": ("positional", "fourier"),
    "nonlinearity": tuple(ACTIVATIONS),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "progressive_input": ("none", "input_skip", "residual"),
    "resblock_type": ("biggan", "ddpm"),
}


def check_fields(net: Any) -> None:
    """Refuse the fields of an ``NCSNpp`` that cannot work together.

    Done with numbers alone: tracing the network to find out would take a second of every start.

    Raises:
        ValueError: naming both numbers and the fix.
    """
    for field, known in OPTIONS.items():
        if getattr(net, field) not in known:
            raise ValueError(
                f"model.{field}={getattr(net, field)!r} is unknown; known: {', '.join(known)}"
            )
    if net.nf < 8 or net.nf % 4:
        raise ValueError(f"model.nf={net.nf} must be a multiple of 4, at least 8 (GroupNorm)")
    if not net.ch_mult or min(net.ch_mult) < 1 or net.num_res_blocks < 1:
        raise ValueError(
            f"model.ch_mult={tuple(net.ch_mult)}, model.num_res_blocks={net.num_res_blocks}:"
            " a network needs levels with at least one block and nf channels each"
        )
    if not 0.0 <= net.dropout < 1.0:
        raise ValueError(f"model.dropout={net.dropout} must lie in [0, 1)")
    if net.fir and len(net.fir_kernel) < 2:
        raise ValueError(f"model.fir_kernel={tuple(net.fir_kernel)} needs two taps or more")
    if net.fir and not sum(net.fir_kernel):
        raise ValueError(f"model.fir_kernel={tuple(net.fir_kernel)} sums to 0; no filter does")
    if net.space_to_depth < 1:
        raise ValueError(f"model.space_to_depth={net.space_to_depth} must be 1 (off) or more")
    halvings = len(net.ch_mult) - 1
    divisor = net.space_to_depth * 2**halvings
    if net.image_size < divisor or net.image_size % divisor:
        raise ValueError(
            f"data.image_size={net.image_size} must be a multiple of {divisor}"
            f" (space_to_depth {net.space_to_depth}, halved {halvings} times by"
            f" {len(net.ch_mult)} levels); crop or pad the images, or take fewer levels"
        )
    for channels in normalised_widths(net):
        group_count(channels)


def normalised_widths(net: Any) -> Iterator[int]:
    """Yield the channels of every ``GroupNorm`` input on the way down, through and up again."""
    appended = net.progressive_input == "input_skip" and net.progressive_combine == "cat"
    width = net.nf
    skips = [width]
    for level, mult in enumerate(net.ch_mult):
        for _ in range(net.num_res_blocks):
            yield width
            width = net.nf * mult
            skips.append(width)
        yield width
        if level < len(net.ch_mult) - 1:
            width *= 2 if appended else 1
            skips.append(width)
    yield width
    for mult in reversed(net.ch_mult):
        for _ in range(net.num_res_blocks + 1):
            yield width + skips.pop()
            width = net.nf * mult
            yield width
