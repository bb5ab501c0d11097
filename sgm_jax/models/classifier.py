"""A network that says something about an image under noise, such as what it shows."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.blocks import Conv, Dense, ResidualBlock
from sgm_jax.models.embeddings import positional_embedding
from sgm_jax.models.resampling import space_to_depth


class NoisyClassifier(nn.Module):
    """Half a U-Net: NCSN++'s blocks on the way down, then two dense layers (arXiv:2105.05233).

    The last pixels are not averaged, for where charge lies says where a particle went. Nor are they
    normalised, for how much there is says how fast it was. The last layer begins with zeros: at
    first nothing depends on the image.

    Attributes:
        num_outputs: numbers that it gives for an image.
        nf: channels of the first level; a multiple of 4.
        ch_mult: channels of each level over ``nf``; the resolution halves between levels.
        num_res_blocks: residual blocks a level.
        dropout: probability of zeroing a feature in training.
        space_to_depth: fold squares of this many pixels into channels first.
        activation: between the layers.
    """

    num_outputs: int
    nf: int
    ch_mult: Sequence[int]
    num_res_blocks: int
    dropout: float = 0.0
    space_to_depth: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.swish

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        train: bool = False,
        example: jax.Array | None = None,
    ) -> jax.Array:
        """Map images ``[B, H, W, C]`` of pixels around 1 to ``[B, num_outputs]``.

        Args:
            x: noisy images.
            label: of the noise level, ``[B]``, for the positional embedding.
            train: drop features; needs ``rngs={"dropout": key}``.
            example: ``[B]`` whole numbers that choose the dropout mask of each image, with the key.
        """
        example = jnp.arange(x.shape[0]) if example is None else example
        width = 4 * self.nf
        noise = positional_embedding(label, self.nf)
        noise = self.activation(Dense(width, name="noise")(noise))
        h = Conv(self.nf, name="first")(space_to_depth(x, self.space_to_depth))
        for level, mult in enumerate(self.ch_mult):
            if level > 0:
                h = self._block(f"down_{level}", None, resample="down")(h, noise, train, example)
            for i in range(self.num_res_blocks):
                block = self._block(f"block_{level}_{i}", self.nf * mult)
                h = block(h, noise, train, example)
        h = Dense(width, name="pixels")(h.reshape(h.shape[0], -1)) + Dense(width, name="hidden")(
            noise
        )
        last = nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros, name="last")
        return last(self.activation(h))

    def _block(self, name: str, features: int | None, **options) -> ResidualBlock:
        return ResidualBlock(
            self.activation,
            self.dropout,
            skip_rescale=True,
            init_scale=0.0,
            features=features,
            name=name,
            **options,
        )
