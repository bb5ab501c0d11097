"""Normalising flows: L2LFlows, which draw an image layer by layer."""

from sgm_jax.generators.flows.config import check, check_new, free_fields, measure
from sgm_jax.generators.flows.generator import FlowGenerator, build

__all__ = [
    "FlowGenerator",
    "build",
    "check",
    "check_new",
    "free_fields",
    "measure",
]
