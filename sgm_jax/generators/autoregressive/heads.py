"""What a pixel can be: the distribution of one value, of features that a network gives for it.

A head is a function of features both ways: the log-probability of a value, and a draw of one. All
of them are distributions of whole numbers, so their likelihoods compare. Those of pixels know the
levels 0 and ``first`` to ``last``; what lies between 0 and ``first`` was cut to 0.

* ``dc_logistic``: a gate, dark or lit, and of lit pixels a mixture of discretised logistics
  (arXiv:1701.05517): a point mass at zero and a continuous part, D+C of SARM (arXiv:2009.14017).
* ``dc_normal``: the same with SARM's truncated normal. Theirs is a density above 0; here it begins
  at the first lit level, and a level has its probability between the halves.
* ``dd``: a gate, and a softmax over the lit levels, SARM's D+D.
* ``ungated``: the mixture alone, which is PixelCNN++; 0 has all that lies below the first level.
* :class:`Categorical`: a softmax over numbers 0 to K - 1, such as those of a codebook.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from sgm_jax.data import PixelScale
from sgm_jax.data.normalise import TRUNCATION_SLACK

Array = jax.Array

# In network space, whose levels lie in 0..1: so far outside that nothing is beyond.
_FAR = 1e4
# A logistic narrower than this is within one level of 255 wherever it lies.
_LEAST_LOG_SCALE = -7.0
# What a fresh network begins with: a tenth of the range.
_FIRST_LOG_SCALE = -2.3
# The clamp of SARM's log s, in network space.
_NORMAL_LOG_SCALE = (math.log(1e-3), math.log(2.0))
# A fresh network finds one pixel in fifty lit.
_FIRST_GATE = math.log(0.02)
_TINY = 1e-12


class Head(Protocol):
    """The distribution of one value.

    Attributes:
        features: how many of them a network gives for a pixel.
        channels: how many numbers a network sees of a value.
        can_be_lit: that a value is not 0 may be known before it is drawn.
    """

    features: int
    channels: int
    can_be_lit: bool

    def embed(self, values: Array) -> Array:
        """Return what a network sees of whole numbers ``[...]``: float32 ``[..., channels]``."""

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm ``[...]`` of the probability of values ``[...]``."""

    def log_lit(self, features: Array) -> Array:
        """Return the logarithm ``[...]`` of the probability that a value is not 0."""

    def draw(self, key: Array, features: Array, lit: Array | bool = False) -> Array:
        """Draw the value of one pixel from features ``[features]``; not 0 where ``lit``."""


@dataclasses.dataclass(frozen=True)
class Levels:
    """The values that a pixel can have: 0, and ``first`` to ``last``; what a network sees of them.

    With ``saturated`` it is told where pixels are of the last level. In an image that is scaled by
    its largest pixel there is one of them, and a network that does not know whether there was one
    draws several or none.
    """

    first: int = 5
    last: int = 255
    scale: PixelScale = PixelScale(centered=False)  # noqa: RUF009 - it is frozen
    saturated: bool = False

    @property
    def lit(self) -> int:
        """How many values are not 0."""
        return self.last - self.first + 1

    @property
    def edges(self) -> np.ndarray:
        """Where lit levels begin and end in network space, ``[lit + 1]``, without an end."""
        halves = np.arange(self.first, self.last + 2, dtype=np.float32) - 0.5
        edges = self.scale.to_model(halves)
        edges[-1] = _FAR
        return edges

    def cut(self, images: Array) -> Array:
        """Return images on the scale 0..255 as whole levels, as the evaluator reads them.

        They are truncated, those below the first lit level become 0, and those above the last
        become that.
        """
        module = np if isinstance(images, np.ndarray) else jnp
        counts = module.floor(images.astype(np.float32) + TRUNCATION_SLACK).astype(np.int32)
        return module.where(counts < self.first, 0, module.minimum(counts, self.last))

    @property
    def channels(self) -> int:
        """How many numbers a network sees of a pixel."""
        return 3 if self.saturated else 2

    def embed(self, values: Array) -> Array:
        """Return what a network sees, ``[..., channels]``.

        Whether pixels are lit, their levels in network space, and whether they are saturated.
        """
        seen = [(values > 0).astype(jnp.float32), self.scale.to_model(values)]
        if self.saturated:
            seen.append((values == self.last).astype(jnp.float32))
        return jnp.stack(seen, axis=-1)

    def interval(self, values: Array, below: float = -_FAR) -> tuple[Array, Array]:
        """Return where lit levels begin and end; the first of them begins at ``below``."""
        edges = self.edges.copy()
        edges[0] = below
        table, place = jnp.asarray(edges), jnp.clip(values - self.first, 0, self.lit - 1)
        return table[place], table[place + 1]

    def level_at(self, x: Array) -> Array:
        """Return the lit level of a number in network space."""
        return self.first + jnp.searchsorted(jnp.asarray(self.edges[1:-1]), x, side="right")


# ------------------------------------------------------------------ the lit part of a pixel


class Tail(Protocol):
    """The distribution of the level of a lit pixel."""

    features: int

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of lit levels."""

    def draw(self, key: Array, features: Array) -> Array:
        """Draw a lit level."""


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """Logistics in network space; a level has what lies between its halves."""

    levels: Levels
    components: int = 5

    @property
    def features(self) -> int:
        """A weight, a mean and a width for each component."""
        return 3 * self.components

    def _parts(self, features: Array) -> tuple[Array, Array, Array]:
        """Return log-weights, means and log-widths ``[..., components]``."""
        weights, means, widths = jnp.split(features, 3, axis=-1)
        # Spread, for components that begin alike stay alike.
        spread = (np.arange(self.components, dtype=np.float32) + 0.5) / self.components
        means = means + jnp.broadcast_to(spread, means.shape)
        return (
            jax.nn.log_softmax(weights),
            means,
            jnp.maximum(widths + _FIRST_LOG_SCALE, _LEAST_LOG_SCALE),
        )

    def between(self, features: Array, low: Array, high: Array) -> Array:
        """Return the logarithm of the probability of an interval."""
        weights, means, widths = self._parts(features)
        narrow = jnp.exp(-widths)
        low, high = ((end[..., None] - means) * narrow for end in (low, high))
        # s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)): no difference of numbers that are alike.
        rest = jnp.log(jnp.maximum(-jnp.expm1(low - high), _TINY))
        logs = weights + jax.nn.log_sigmoid(high) + jax.nn.log_sigmoid(-low) + rest
        return jax.nn.logsumexp(logs, axis=-1)

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of lit levels."""
        return self.between(features, *self.levels.interval(values))

    def draw(self, key: Array, features: Array) -> Array:
        """Draw a lit level."""
        return self.levels.level_at(self.above(key, features, -_FAR))

    def above(self, key: Array, features: Array, low: Array | float) -> Array:
        """Draw a number above ``low`` in network space."""
        weights, means, widths = self._parts(features)
        which, where = jax.random.split(key)
        survive = jax.nn.log_sigmoid((means - low) * jnp.exp(-widths))
        k = jax.random.categorical(which, weights + survive)
        uniform = jax.random.uniform(where, minval=_TINY)
        log_above = survive[k] + jnp.log(uniform)
        # Its probability to be exceeded is a uniform share of that of the bound.
        logit = log_above - jnp.log(jnp.maximum(-jnp.expm1(log_above), _TINY))
        return means[k] - jnp.exp(widths[k]) * logit


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """A normal above the half level under the first lit one; its mean is not negative."""

    levels: Levels
    features: int = 2

    def _parts(self, features: Array) -> tuple[Array, Array]:
        """Return the mean and the deviation."""
        mean, log_scale = features[..., 0], features[..., 1] + _FIRST_LOG_SCALE
        return jax.nn.relu(mean), jnp.exp(jnp.clip(log_scale, *_NORMAL_LOG_SCALE))

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of lit levels."""
        mean, scale = self._parts(features)
        bottom = float(self.levels.edges[0])
        low, high = self.levels.interval(values, below=bottom)
        whole = log_ndtr((mean - bottom) / scale)
        return _log_normal_between((low - mean) / scale, (high - mean) / scale) - whole

    def draw(self, key: Array, features: Array) -> Array:
        """Draw a lit level."""
        mean, scale = self._parts(features)
        bottom = (float(self.levels.edges[0]) - mean) / scale
        # The share of what lies above the bound, from the tail that is the smaller one.
        log_above = log_ndtr(-bottom) + jnp.log(jax.random.uniform(key, minval=_TINY))
        above = jnp.exp(log_above)
        z = -jax.scipy.special.ndtri(jnp.clip(above, 1e-30, 1 - 6e-8))
        return self.levels.level_at(mean + scale * jnp.maximum(z, bottom))


@dataclasses.dataclass(frozen=True)
class Softmax:
    """A probability of its own for each lit level."""

    levels: Levels

    @property
    def features(self) -> int:
        """One for each lit level."""
        return self.levels.lit

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of lit levels."""
        place = jnp.clip(values - self.levels.first, 0, self.levels.lit - 1)
        chosen = jnp.take_along_axis(features, place[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(features, axis=-1)

    def draw(self, key: Array, features: Array) -> Array:
        """Draw a lit level."""
        return self.levels.first + jax.random.categorical(key, features)


# -------------------------------------------------------------------------------- the heads


@dataclasses.dataclass(frozen=True)
class Gated:
    """A pixel is dark, or it is lit and its level is drawn.

    Attributes:
        levels: that a pixel can have.
        tail: the distribution of lit ones.
        temperature: what the log-odds of the gate are divided by when a pixel is drawn, not in its
            probability. Below 1 lit pixels rather go on, and dark ones stay dark.
    """

    levels: Levels
    tail: Tail
    temperature: float = 1.0
    can_be_lit: bool = True

    @property
    def features(self) -> int:
        """Those of the lit part, after one for the gate."""
        return 1 + self.tail.features

    @property
    def channels(self) -> int:
        """Those of a level."""
        return self.levels.channels

    def embed(self, values: Array) -> Array:
        """Return what a network sees of levels."""
        return self.levels.embed(values)

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of levels."""
        lit = values > 0
        # Of dark pixels the tail is not asked, and has no gradient.
        tail = self.tail.log_prob(features[..., 1:], jnp.where(lit, values, self.levels.first))
        dark = jax.nn.log_sigmoid(-self.logit(features))
        return jnp.where(lit, self.log_lit(features) + tail, dark)

    def log_lit(self, features: Array) -> Array:
        """Return the logarithm of the probability that a pixel is lit."""
        return jax.nn.log_sigmoid(self.logit(features))

    def draw(self, key: Array, features: Array, lit: Array | bool = False) -> Array:
        """Draw the level of one pixel."""
        gate, tail = jax.random.split(key)
        odds = self.logit(features) / self.temperature
        opened = jax.random.uniform(gate) < jax.nn.sigmoid(odds)
        return jnp.where(opened | lit, self.tail.draw(tail, features[1:]), 0)

    @staticmethod
    def logit(features: Array) -> Array:
        """Return the log-odds ``[...]`` that a pixel is lit."""
        return features[..., 0] + _FIRST_GATE


@dataclasses.dataclass(frozen=True)
class Ungated:
    """A mixture of logistics over all levels; 0 has what lies below the first lit one."""

    levels: Levels
    mixture: LogisticMixture
    can_be_lit: bool = True

    @property
    def features(self) -> int:
        """Those of the mixture."""
        return self.mixture.features

    @property
    def channels(self) -> int:
        """Those of a level."""
        return self.levels.channels

    def embed(self, values: Array) -> Array:
        """Return what a network sees of levels."""
        return self.levels.embed(values)

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of levels."""
        bottom = float(self.levels.edges[0])
        low, high = self.levels.interval(values, below=bottom)
        lit = values > 0
        return self.mixture.between(
            features, jnp.where(lit, low, -_FAR), jnp.where(lit, high, bottom)
        )

    def log_lit(self, features: Array) -> Array:
        """Return the logarithm of the probability that a pixel is lit."""
        bottom = jnp.full(features.shape[:-1], float(self.levels.edges[0]))
        return self.mixture.between(features, bottom, jnp.full_like(bottom, _FAR))

    def draw(self, key: Array, features: Array, lit: Array | bool = False) -> Array:
        """Draw the level of one pixel."""
        bottom = float(self.levels.edges[0])
        x = self.mixture.above(key, features, jnp.where(jnp.asarray(lit), bottom, -_FAR))
        return jnp.where((x < bottom) & ~jnp.asarray(lit), 0, self.levels.level_at(x))


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A softmax over the numbers 0 to ``classes - 1``, which a network sees one by one."""

    classes: int
    can_be_lit: bool = False

    @property
    def features(self) -> int:
        """One for each number."""
        return self.classes

    @property
    def channels(self) -> int:
        """One for each number."""
        return self.classes

    def embed(self, values: Array) -> Array:
        """Return unit vectors."""
        return jax.nn.one_hot(values, self.classes)

    def log_prob(self, features: Array, values: Array) -> Array:
        """Return the logarithm of the probabilities of numbers."""
        chosen = jnp.take_along_axis(features, values[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(features, axis=-1)

    def log_lit(self, features: Array) -> Array:
        """Return the logarithm of the probability of all numbers but 0."""
        rest = jax.nn.logsumexp(features[..., 1:], axis=-1)
        return rest - jax.nn.logsumexp(features, axis=-1)

    def draw(self, key: Array, features: Array, lit: Array | bool = False) -> Array:
        """Draw a number."""
        allowed = (jnp.arange(self.classes) > 0) | ~jnp.asarray(lit)
        return jax.random.categorical(key, jnp.where(allowed, features, -jnp.inf))


def _log_normal_between(low: Array, high: Array) -> Array:
    """Return the logarithm of a normal's probability between two numbers, from the nearer tail."""
    upper = low + high > 0
    low, high = jnp.where(upper, -high, low), jnp.where(upper, -low, high)
    below = log_ndtr(high)
    share = jnp.maximum(-jnp.expm1(jnp.minimum(log_ndtr(low) - below, 0.0)), _TINY)
    return below + jnp.log(share)


def _gated(tail: Callable[[Levels], Tail]) -> Callable[..., Head]:
    return lambda levels, components: Gated(levels, tail(levels))


UNGATED = "ungated"
HEADS: dict[str, Callable[[Levels, int], Head]] = {
    "dc_logistic": lambda levels, components: Gated(levels, LogisticMixture(levels, components)),
    "dc_normal": _gated(TruncatedNormal),
    "dd": _gated(Softmax),
    UNGATED: lambda levels, components: Ungated(levels, LogisticMixture(levels, components)),
}


def head_of(name: str, levels: Levels, *, components: int) -> Head:
    """Return a head by its name in :data:`HEADS`."""
    return HEADS[name](levels, components)
