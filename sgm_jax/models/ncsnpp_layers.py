"""The layers that NCSN++ is put together from, made by the network's options."""

from collections.abc import Callable, Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.blocks import AttentionBlock, Conv, Resample, ResidualBlock, resample
from sgm_jax.models.layers import GroupNorm
from sgm_jax.models.options import ACTIVATIONS, check_fields

Context = tuple[jax.Array | None, bool, jax.Array]


class NCSNppLayers(nn.Module):
    """The options of NCSN++, see the paper's appendix H, and a layer for each of its places.

    Attributes:
        image_size: height and width of the images in pixels.
        num_channels: channels of the images.
        nf: channels of the first level; a multiple of 4.
        ch_mult: channels of each level over ``nf``; the resolution halves between levels.
        num_res_blocks: residual blocks a level (one more on the way up).
        attn_resolutions: resolutions (after ``space_to_depth``) with attention; the middle of the
            network always has it, and a resolution that no level has changes nothing.
        dropout: probability of zeroing a feature in training.
        centered: whether images span [-1, 1]; if not, the network maps its input x to 2x - 1.
        space_to_depth: fold squares of this many pixels into channels first, unfold them last.
        scale_by_sigma: divide the output by the noise level.
        dtype: of the features, and so of nearly all the work. In float32 always: parameters, what
            reads or makes an image, statistics of features, the embedding of the time.
    """

    image_size: int
    num_channels: int
    nf: int
    ch_mult: Sequence[int]
    num_res_blocks: int
    attn_resolutions: Sequence[int]
    dropout: float = 0.1
    resblock_type: str = "biggan"
    fir: bool = True
    fir_kernel: Sequence[float] = (1, 3, 3, 1)
    resamp_with_conv: bool = True
    skip_rescale: bool = True
    progressive: str = "none"
    progressive_input: str = "residual"
    progressive_combine: str = "sum"
    embedding_type: str = "positional"
    fourier_scale: float = 16.0
    conditional: bool = True
    nonlinearity: str = "swish"
    init_scale: float = 0.0
    centered: bool = True
    scale_by_sigma: bool = False
    sigma_min: float = 0.01
    sigma_max: float = 50.0
    num_scales: int = 1000
    space_to_depth: int = 1
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        check_fields(self)
        super().__post_init__()

    def _head(
        self,
        h: jax.Array,
        place: Iterator[int],
        features: int | None = None,
        *,
        init_scale: float | None = None,
    ) -> jax.Array:
        """Normalise, activate and convolve, by default to the channels of the (folded) image."""
        dtype = self.dtype if features else jnp.float32
        features = features or self.num_channels * self.space_to_depth**2
        init_scale = self.init_scale if init_scale is None else init_scale
        h = GroupNorm(self._activation, dtype, name=layer_name(place, "norm"))(h)
        name = layer_name(place, "conv")
        return Conv(features, init_scale=init_scale, dtype=dtype, name=name)(h)

    def _block(
        self, place: Iterator[int], features: int | None = None, resample: str = "none"
    ) -> ResidualBlock:
        return ResidualBlock(
            self._activation,
            self.dropout,
            self.skip_rescale,
            self.init_scale,
            features=features,
            resample=resample,
            dense_shortcut=self.resblock_type == "ddpm",
            fir_kernel=self._fir_kernel,
            dtype=self.dtype,
            name=layer_name(place, "block"),
        )

    def _change_resolution(
        self, h: jax.Array, context: Context, place: Iterator[int], *, up: bool
    ) -> jax.Array:
        if self.resblock_type == "biggan":
            return self._block(place, resample="up" if up else "down")(h, *context)
        layer = Resample(
            up,
            self.resamp_with_conv,
            self._fir_kernel,
            dtype=self.dtype,
            name=layer_name(place, "resample"),
        )
        return layer(h)

    def _resample_pyramid(self, pyramid: jax.Array, *, up: bool) -> jax.Array:
        return resample(pyramid, up=up, fir_kernel=self._fir_kernel)

    def _pyramid_conv(
        self, place: Iterator[int], features: int, *, up: bool, dtype: jnp.dtype
    ) -> Resample:
        name = layer_name(place, "resample")
        return Resample(up, True, self._fir_kernel, features, dtype=dtype, name=name)

    def _attention(self, place: Iterator[int]) -> AttentionBlock:
        name = layer_name(place, "attention")
        return AttentionBlock(self.skip_rescale, self.init_scale, dtype=self.dtype, name=name)

    @property
    def _activation(self) -> Callable[[jax.Array], jax.Array]:
        return ACTIVATIONS[self.nonlinearity]

    @property
    def _fir_kernel(self) -> Sequence[float] | None:
        return self.fir_kernel if self.fir else None


def layer_name(place: Iterator[int], kind: str) -> str:
    """Return the name of the layer in the next place."""
    return f"{next(place):03d}_{kind}"
