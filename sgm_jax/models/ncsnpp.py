"""NCSN++, the score network of Song et al. (arXiv:2011.13456), for images ``[B, H, W, C]``.

The parameters of layer ``i`` lie under ``f"{i:03d}_{kind}"``, where ``i`` is the layer's place in
the published network: the tree reads in the order of the computation, and old weights find their
place.
"""

import itertools
import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.blocks import Combine, Conv, Dense, merge_gain
from sgm_jax.models.embeddings import FourierEmbedding, positional_embedding
from sgm_jax.models.ncsnpp_layers import Context, NCSNppLayers, layer_name
from sgm_jax.models.resampling import depth_to_space, space_to_depth


class NCSNpp(NCSNppLayers):
    """A U-Net that sees an image and its noise level; its options are those of the base class."""

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        time_cond: jax.Array,
        train: bool = False,
        example: jax.Array | None = None,
    ) -> jax.Array:
        """Map images ``[B, H, W, C]`` to a field of the same shape.

        Args:
            x: noisy images.
            time_cond: ``[B]``; 999 t for the positional embedding, sigma for the Fourier one.
            train: drop features; needs ``rngs={"dropout": key}``.
            example: ``[B]`` whole numbers that, with the key, choose each image's dropout mask;
                None means 0 to B - 1.

        Raises:
            ValueError: if the images do not have the size and channels of the network.
        """
        size, channels = self.image_size, self.num_channels
        if x.ndim != 4 or x.shape[1:] != (size, size, channels):
            raise ValueError(
                f"NCSNpp: the images are {x.shape}, and the network was built for"
                f" (batch, {size}, {size}, {channels}); see data.image_size, data.num_channels"
            )
        example = jnp.arange(x.shape[0]) if example is None else example
        place = itertools.count()
        context = (self._embed(time_cond, place), train, example)
        folded = space_to_depth(x if self.centered else 2.0 * x - 1.0, self.space_to_depth)
        skips = self._descend(folded, context, place)
        h = self._middle(skips[-1], context, place)
        h = self._ascend(h, skips, context, place)
        h = depth_to_space(h, self.space_to_depth)
        return h / self._sigma(time_cond)[:, None, None, None] if self.scale_by_sigma else h

    def _embed(self, time_cond: jax.Array, place: Iterator[int]) -> jax.Array | None:
        if self.embedding_type == "fourier":
            fourier = FourierEmbedding(
                self.nf, self.fourier_scale, name=layer_name(place, "fourier")
            )
            h = fourier(jnp.log(time_cond))
        else:
            h = positional_embedding(time_cond, self.nf)
        if not self.conditional:
            return None
        for _ in range(2):
            h = self._activation(Dense(4 * self.nf, name=layer_name(place, "dense"))(h))
        return h

    def _descend(self, x: jax.Array, context: Context, place: Iterator[int]) -> list[jax.Array]:
        """Return every feature map that the way up will see again, finest first."""
        pyramid = x
        # Late in sampling the noise is a hundredth of the background, where bfloat16 has two
        # digits, as have the products of float32 that accelerators take by default.
        with jax.default_matmul_precision("highest"):
            first = Conv(self.nf, name=layer_name(place, "conv"))(x)
        skips = [first.astype(self.dtype)]
        for level, mult in enumerate(self.ch_mult):
            for _ in range(self.num_res_blocks):
                h = self._block(place, self.nf * mult)(skips[-1], *context)
                skips.append(self._attend(h, place))
            if level < len(self.ch_mult) - 1:
                h = self._change_resolution(skips[-1], context, place, up=False)
                pyramid, h = self._feed_pyramid(pyramid, h, place)
                skips.append(h)
        return skips

    def _feed_pyramid(
        self, pyramid: jax.Array, h: jax.Array, place: Iterator[int]
    ) -> tuple[jax.Array, jax.Array]:
        """Bring the input pyramid down one level and join it with the features."""
        if self.progressive_input == "none":
            return pyramid, h
        if self.progressive_input == "input_skip":
            pyramid = self._resample_pyramid(pyramid, up=False)
            combine = Combine(self.progressive_combine, name=layer_name(place, "combine"))
            return pyramid, combine(pyramid, h)
        # It is an image at first, then features.
        down = self._pyramid_conv(place, h.shape[-1], up=False, dtype=pyramid.dtype)
        joined = (down(pyramid).astype(self.dtype) + h) * merge_gain(self.skip_rescale)
        return joined, joined

    def _middle(self, h: jax.Array, context: Context, place: Iterator[int]) -> jax.Array:
        h = self._block(place)(h, *context)
        h = self._attention(place)(h)
        return self._block(place)(h, *context)

    def _ascend(
        self, h: jax.Array, skips: list[jax.Array], context: Context, place: Iterator[int]
    ) -> jax.Array:
        pyramid = None
        for level, mult in reversed(list(enumerate(self.ch_mult))):
            for _ in range(self.num_res_blocks + 1):
                joined = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(place, self.nf * mult)(joined, *context)
            h = self._attend(h, place)
            pyramid, h = self._grow_pyramid(pyramid, h, place)
            if level > 0:
                h = self._change_resolution(h, context, place, up=True)
        return pyramid if self.progressive == "output_skip" else self._head(h, place)

    def _grow_pyramid(
        self, pyramid: jax.Array | None, h: jax.Array, place: Iterator[int]
    ) -> tuple[jax.Array | None, jax.Array]:
        """Bring the output pyramid up one level and join it with the features."""
        if self.progressive == "none":
            return None, h
        if self.progressive == "output_skip":
            if pyramid is None:
                return self._head(h, place), h
            return self._resample_pyramid(pyramid, up=True) + self._head(h, place), h
        if pyramid is None:
            return self._head(h, place, h.shape[-1], init_scale=1.0), h
        pyramid = self._pyramid_conv(place, h.shape[-1], up=True, dtype=self.dtype)(pyramid)
        joined = (pyramid + h) * merge_gain(self.skip_rescale)
        return joined, joined

    def _attend(self, h: jax.Array, place: Iterator[int]) -> jax.Array:
        return self._attention(place)(h) if h.shape[1] in self.attn_resolutions else h

    def _sigma(self, time_cond: jax.Array) -> jax.Array:
        """Return the noise level ``[B]``; a positional label counts levels from the largest."""
        if self.embedding_type == "fourier":
            return time_cond
        log_max, log_min = math.log(self.sigma_max), math.log(self.sigma_min)
        sigmas = jnp.exp(jnp.linspace(log_max, log_min, self.num_scales))
        return sigmas[time_cond.astype(jnp.int32)]
