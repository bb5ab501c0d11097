"""Images through codes: an autoencoder with a codebook, and a prior of the codes it finds."""

from sgm_jax.generators.vqvae.config import (
    build,
    check,
    check_new,
    first_stage,
    free_fields,
    purpose,
)

__all__ = ["build", "check", "check_new", "first_stage", "free_fields", "purpose"]
