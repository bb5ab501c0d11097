"""The encoder, and the critic of latents; decoder and critics of images are those of a GAN."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.dcgan import beside

Array = jax.Array
_SLOPE = 0.2
# Features of the latent critic, as published.
_LATENT_FEATURES = (50, 100, 50)


class Encoder(nn.Module):
    """Images to the means and the logarithms of the variances of their latents.

    Attributes:
        channels: of the grids, as of :class:`sgm_jax.models.dcgan.Convolutional`.
        features: numbers that it has seen at the end.
        latent: how many latents there are.
    """

    channels: tuple[int, ...]
    features: int
    latent: int

    @nn.compact
    def __call__(self, x: Array, vector: Array | None) -> tuple[Array, Array]:
        """Map ``[B, H, W, 1]``, and the condition's vector ``[B, E]``, to two of ``[B, N]``."""
        for channels in self.channels[::-1]:
            x = nn.leaky_relu(nn.Conv(channels, (4, 4), (2, 2))(x), _SLOPE)
        seen = beside(x.reshape(len(x), -1), vector)
        seen = nn.leaky_relu(nn.Dense(self.features, name="seen")(seen), _SLOPE)
        mean = nn.Dense(self.latent, name="mean")(seen)
        # Far from the data the exponential of it would be infinite.
        return mean, jnp.clip(nn.Dense(self.latent, name="log_variance")(seen), -10.0, 5.0)


class LatentCritic(nn.Module):
    """Latents to one number each; it looks at each of them alone, all in the same way."""

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Map ``[B, N]`` to ``[B]``."""
        h = z[..., None]
        for features in _LATENT_FEATURES:
            h = nn.leaky_relu(nn.Dense(features)(h), _SLOPE)
        return nn.Dense(1, name="output")(h)[..., 0].mean(axis=-1)
