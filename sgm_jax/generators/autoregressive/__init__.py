"""Autoregressive generators of sparse images: SARM, PixelCNN++ and their relatives."""

from sgm_jax.generators.autoregressive.config import check, check_new, free_fields, measure
from sgm_jax.generators.autoregressive.generator import SarmGenerator, build

__all__ = [
    "SarmGenerator",
    "build",
    "check",
    "check_new",
    "free_fields",
    "measure",
]
