"""Two networks that learn from each other: one draws, the other tells drawn from real images."""

from sgm_jax.generators.gan.config import build, check, check_new, free_fields
from sgm_jax.generators.gan.generator import Gan

__all__ = ["Gan", "build", "check", "check_new", "free_fields"]
