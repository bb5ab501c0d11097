"""From a configuration to a network, or a refusal."""

from typing import Any

import jax.numpy as jnp

from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.models.options import OPTIONS

# Options of the original that NCSN++ accepts and never reads, with the one value that is true.
_FIXED = {"name": "ncsnpp", "normalization": "groupnorm", "attention_type": "ddpm", "conv_size": 3}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def ncsnpp_from_config(config: Any) -> NCSNpp:
    """Build the network that ``config.model``, ``data`` and ``training.dtype`` describe.

    Raises:
        ValueError: if an option is unknown, the sizes do not fit or the channels do not divide into
            groups, naming the fix; nothing is compiled.
    """
    model, data = config.model, config.data
    for field, value in _FIXED.items():
        given = model.get(field, value)
        if (given.lower() if isinstance(given, str) else given) != value:
            raise ValueError(f"model.{field}={given!r} is unknown; known: {value}")
    dtype = config.get("training", {}).get("dtype", "float32")
    if dtype not in DTYPES:
        raise ValueError(f"training.dtype={dtype!r} is unknown; known: {', '.join(DTYPES)}")
    return NCSNpp(
        image_size=data.image_size,
        num_channels=data.num_channels,
        centered=data.centered,
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        attn_resolutions=tuple(model.attn_resolutions),
        dropout=model.dropout,
        fir=model.fir,
        fir_kernel=tuple(model.fir_kernel),
        resamp_with_conv=model.resamp_with_conv,
        skip_rescale=model.skip_rescale,
        fourier_scale=model.fourier_scale,
        conditional=model.conditional,
        init_scale=model.init_scale,
        scale_by_sigma=model.scale_by_sigma,
        sigma_min=model.sigma_min,
        sigma_max=model.sigma_max,
        num_scales=model.num_scales,
        space_to_depth=model.get("space_to_depth", 1),
        dtype=DTYPES[dtype],
        **{field: getattr(model, field).lower() for field in OPTIONS},
    )
