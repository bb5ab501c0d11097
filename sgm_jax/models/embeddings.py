"""Turn a time or a noise level ``[B]`` into a vector ``[B, D]``."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


def positional_embedding(labels: jax.Array, dim: int, max_positions: float = 10000.0) -> jax.Array:
    """Return sines, then cosines, of ``labels`` ``[B]`` at ``dim // 2`` frequencies each.

    The frequencies fall geometrically from 1 to 1 / ``max_positions`` (Vaswani et al.,
    arXiv:1706.03762, in the layout of DDPM); an odd ``dim`` ends with a zero.
    """
    half = dim // 2
    step = -math.log(max_positions) / (half - 1)
    frequencies = jnp.exp(jnp.arange(half, dtype=jnp.float32) * step)
    angles = labels.astype(jnp.float32)[:, None] * frequencies[None, :]
    embedding = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.pad(embedding, ((0, 0), (0, dim % 2)))


class FourierEmbedding(nn.Module):
    """Sines, then cosines, at random fixed frequencies (Tancik et al., arXiv:2006.10739).

    Attributes:
        features: number of frequencies; the embedding is twice as long.
        scale: standard deviation of the frequencies, in turns per unit of the input.
    """

    features: int
    scale: float

    @nn.compact
    def __call__(self, log_sigma: jax.Array) -> jax.Array:
        """Embed ``[B]`` as ``[B, 2 * features]``."""
        frequencies = self.param("W", nn.initializers.normal(self.scale), (self.features,))
        # Drawn once and never trained; it lives with the parameters so that checkpoints hold it.
        frequencies = jax.lax.stop_gradient(frequencies)
        angles = log_sigma[:, None] * frequencies[None, :] * (2.0 * math.pi)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
