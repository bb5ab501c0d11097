"""Score-based diffusion models for liquid-argon detector images, in JAX and Flax."""

__version__ = "0.1.0"
