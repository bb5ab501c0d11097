"""NCSN++, the score network of Song et al. (arXiv:2011.13456), for images ``[B, H, W, C]``.

The parameters of layer ``i`` lie under ``f"{i:03d}_{kind}"``, where ``i`` is the layer's place in
the published network: the tree reads in the order of the computation, and old weights find their
place.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.models.blocks import (
    AttentionBlock,
    Combine,
    Conv,
    Dense,
    Resample,
    ResidualBlock,
    merge_gain,
    resample,
)
from sgm_jax.models.condition import PARAMETERS, Condition, ConditionEmbedding, of_images
from sgm_jax.models.embeddings import FourierEmbedding, positional_embedding
from sgm_jax.models.layers import GroupNorm, group_count
from sgm_jax.models.momentum_map import MAP, MomentumMap
from sgm_jax.models.overview import OVERVIEW, Overview
from sgm_jax.models.resampling import depth_to_space, space_to_depth

# The embedding of the time, whether the network trains, and the numbers of the images.
Context = tuple[jax.Array | None, bool, jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "swish": nn.swish,
    "relu": nn.relu,
    "elu": nn.elu,
    "lrelu": lambda x: nn.leaky_relu(x, 0.2),
}
OPTIONS = {
    "embedding_type": ("positional", "fourier"),
    "nonlinearity": tuple(ACTIVATIONS),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "progressive_input": ("none", "input_skip", "residual"),
    "resblock_type": ("biggan", "ddpm"),
}


class NCSNpp(nn.Module):
    """A U-Net that sees an image and its noise level; appendix H of the paper has its options.

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
        overview: look also at the means over so many times so many parts of the image, see
            :mod:`sgm_jax.models.overview`; 0, as published, does not.
        condition: fields of a condition that it sees, see :mod:`sgm_jax.models.condition`; with
            none it is the published network.
        num_particles: kinds of particle that a condition can name.
        momentum_scale: in MeV/c, a momentum of ordinary size.
        momentum_map: where a momentum is among the conditions, tell each place how it lies to it,
            see :mod:`sgm_jax.models.momentum_map`.
        dtype: type of the features, and so of nearly all the work. Always float32 are parameters,
            the layers that read or make an image, statistics, and the embedding of the time.
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
    overview: int = 0
    condition: Sequence[str] = ()
    num_particles: int = 0
    momentum_scale: float = 500.0
    momentum_map: bool = False
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        check_fields(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        time_cond: jax.Array,
        train: bool = False,
        example: jax.Array | None = None,
        condition: Condition | None = None,
    ) -> jax.Array:
        """Map images ``[B, H, W, C]`` to a field of the same shape.

        Args:
            x: noisy images.
            time_cond: ``[B]``; 999 t for the positional embedding, sigma for the Fourier one.
            train: drop features; needs ``rngs={"dropout": key}``.
            example: ``[B]`` whole numbers that choose, with the key, the dropout mask of each
                image; None means 0 to B - 1.
            condition: what the images are to show; None asks nothing.

        Raises:
            ValueError: if the images do not have the size and channels of the network.
        """
        size, channels = self.image_size, self.num_channels
        if x.ndim != 4 or x.shape[1:] != (size, size, channels):
            raise ValueError(
                f"NCSNpp: the images are {x.shape}, and the network was built for"
                f" (batch, {size}, {size}, {channels}); see --config.data.image_size and"
                " --config.data.num_channels"
            )
        example = jnp.arange(x.shape[0]) if example is None else example
        place = itertools.count()
        embedding = self._embed(time_cond, place)
        if self.overview:
            look = Overview(4 * self.nf, self.overview, self._activation, name=OVERVIEW)
            embedding = embedding + look(x)
        if self.condition:
            condition = of_images(self.condition, len(x)) if condition is None else condition
            embedding = embedding + self._embed_condition(condition)
        context = (embedding, train, example)
        folded = space_to_depth(x if self.centered else 2.0 * x - 1.0, self.space_to_depth)
        skips = self._descend(folded, context, place, self._map(condition, embedding))
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

    def _embed_condition(self, condition: Condition) -> jax.Array:
        embedding = ConditionEmbedding(
            4 * self.nf,
            self.condition,
            self.num_particles,
            self.momentum_scale,
            self._activation,
            name=PARAMETERS,
        )
        return embedding(condition)

    def _map(self, condition: Condition | None, embedding: jax.Array | None) -> jax.Array | None:
        if not (self.momentum_map and "momentum" in self.condition):
            return None
        side = resolutions(self)[0]
        momentum_map = MomentumMap(self.nf, side, self.momentum_scale, self._activation, name=MAP)
        return momentum_map(condition["momentum"], embedding)

    def _descend(
        self,
        x: jax.Array,
        context: Context,
        place: Iterator[int],
        momentum_map: jax.Array | None,
    ) -> list[jax.Array]:
        """Return every feature map that the way up concatenates, finest first."""
        pyramid = x
        # Late in sampling the noise is a hundredth of the background, where bfloat16 has two
        # digits, as have the products of float32 that accelerators take by default.
        with jax.default_matmul_precision("highest"):
            first = Conv(self.nf, name=layer_name(place, "conv"))(x)
        if momentum_map is not None:
            first = first + momentum_map
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


def check_fields(net: NCSNpp) -> None:
    """Refuse fields of an ``NCSNpp`` that cannot work together.

    This needs numbers only: to trace the network instead would take a second of every start.

    Raises:
        ValueError: naming both numbers and the fix.
    """
    for field, known in OPTIONS.items():
        if getattr(net, field) not in known:
            raise ValueError(
                f"--config.model.{field}={getattr(net, field)!r} is unknown;"
                f" known: {', '.join(known)}"
            )
    if net.nf < 8 or net.nf % 4:
        raise ValueError(
            f"--config.model.nf={net.nf} must be a multiple of 4, at least 8 (GroupNorm)"
        )
    if not net.ch_mult or min(net.ch_mult) < 1 or net.num_res_blocks < 1:
        raise ValueError(
            f"--config.model.ch_mult={tuple(net.ch_mult)},"
            f" --config.model.num_res_blocks={net.num_res_blocks}:"
            " a network needs levels with at least one block and nf channels each"
        )
    for name, value in (("condition", tuple(net.condition)), ("overview", net.overview)):
        if value and not net.conditional:
            raise ValueError(
                f"--config.model.{name}={value} is added to the embedding of the time, which needs"
                " --config.model.conditional=True"
            )
    if not 0.0 <= net.dropout < 1.0:
        raise ValueError(f"--config.model.dropout={net.dropout} must lie in [0, 1)")
    if net.fir and len(net.fir_kernel) < 2:
        raise ValueError(
            f"--config.model.fir_kernel={tuple(net.fir_kernel)} needs two taps or more"
        )
    if net.fir and not sum(net.fir_kernel):
        raise ValueError(
            f"--config.model.fir_kernel={tuple(net.fir_kernel)} sums to 0; no filter does"
        )
    if net.space_to_depth < 1:
        raise ValueError(
            f"--config.model.space_to_depth={net.space_to_depth} must be 1 (off) or more"
        )
    check_size(net)
    if net.overview < 0 or (net.overview and net.image_size % net.overview):
        raise ValueError(
            f"--config.model.overview={net.overview} must be 0, or divide"
            f" --config.data.image_size={net.image_size}"
        )
    for channels in normalised_widths(net):
        group_count(channels)


def check_size(net: NCSNpp) -> None:
    """Refuse an image size that the levels of an ``NCSNpp`` do not divide.

    Raises:
        ValueError: with the sizes that they do, and how many levels this one allows.
    """
    size, halvings = net.image_size, len(net.ch_mult) - 1
    divisor = net.space_to_depth * 2**halvings
    if size >= divisor and size % divisor == 0:
        return
    below = size // divisor * divisor
    fits = " or ".join(f"--config.data.image_size={n}" for n in (below, below + divisor) if n)
    possible = [n for n in range(halvings) if size % (net.space_to_depth * 2**n) == 0]
    fewer = ""
    if possible:
        levels = tuple(net.ch_mult)[: possible[-1] + 1]
        fewer = f', or take fewer levels, --config.model.ch_mult="{levels}"'
    raise ValueError(
        f"--config.data.image_size={size} must be a multiple of {divisor}"
        f" (--config.model.space_to_depth={net.space_to_depth}, halved {halvings} times by"
        f" {len(net.ch_mult)} levels): crop or pad the images to {fits}{fewer}"
    )


def resolutions(net: NCSNpp) -> list[int]:
    """Return how many pixels wide the features of each level are, finest first."""
    side = net.image_size // net.space_to_depth
    return [side // 2**level for level in range(len(net.ch_mult))]


def normalised_widths(net: NCSNpp) -> Iterator[int]:
    """Yield the channels of every ``GroupNorm`` input on the way down, through and up again."""
    appended = net.progressive_input == "input_skip" and net.progressive_combine == "cat"
    width = net.nf
    skips = [width]
    for level, mult in enumerate(net.ch_mult):
        for _ in range(net.num_res_blocks):
            yield width
            width = net.nf * mult
            skips.append(width)
        yield width
        if level < len(net.ch_mult) - 1:
            width *= 2 if appended else 1
            skips.append(width)
    yield width
    for mult in reversed(net.ch_mult):
        for _ in range(net.num_res_blocks + 1):
            yield width + skips.pop()
            width = net.nf * mult
            yield width
