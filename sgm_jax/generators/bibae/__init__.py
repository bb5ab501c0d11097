"""An autoencoder with critics: images through few numbers, which are then drawn by themselves."""

from sgm_jax.generators.bibae.config import build, check, check_new, free_fields
from sgm_jax.generators.bibae.generator import BibAe

__all__ = ["BibAe", "build", "check", "check_new", "free_fields"]
