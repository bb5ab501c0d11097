"""Monotone rational-quadratic splines with linear tails (Durkan et al., arXiv:1906.04032).

Between -bound and bound a number goes through one of several bins, each a quotient of quadratic
polynomials that rises from a corner to the next; outside it stays what it is. Numbers of a network
give the widths and heights of the bins and the slopes in between; zeros give the identity.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

# softplus(_UNIT) is 1.
_UNIT = math.log(math.e - 1)


class _Bin(NamedTuple):
    """The bin that each number falls into: its lower left corner, its size, slopes at its ends."""

    left: Array
    bottom: Array
    width: Array
    height: Array
    first: Array
    last: Array


@dataclasses.dataclass(frozen=True)
class Spline:
    """A family of splines.

    Attributes:
        bins: between the tails.
        bound: where the tails begin.
        least: width and height of a bin, as a share of all, and slope between two, at least.
    """

    bins: int = 8
    bound: float = 6.0
    least: float = 1e-3

    @property
    def parameters(self) -> int:
        """How many numbers describe one spline."""
        return 3 * self.bins - 1

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """Map numbers.

        Args:
            x: of any shape.
            raw: of each number its spline ``[..., parameters]``.

        Returns:
            What they become, and the logarithms of the slopes there, both of the shape of ``x``.
        """
        inside, clipped = self._inside(x)
        edges, tops, slopes = self._corners(raw)
        at = _chosen(clipped, edges, edges, tops, slopes)
        theta = jnp.clip((clipped - at.left) / at.width, 0, 1)
        mean, both = _mean_slope(at), theta * (1 - theta)
        below = mean + (at.first + at.last - 2 * mean) * both
        y = at.bottom + at.height * (mean * theta**2 + at.first * both) / below
        log_slope = _log_slope(at, theta, mean, below)
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)

    def inverse(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Map numbers back; also return the logarithms of the slopes of the way forward there.

        Of the two roots of the quadratic equation the right one is taken in the form that subtracts
        no numbers of equal size (appendix A.1 of the paper).
        """
        inside, clipped = self._inside(y)
        edges, tops, slopes = self._corners(raw)
        at = _chosen(clipped, tops, edges, tops, slopes)
        mean, above = _mean_slope(at), clipped - at.bottom
        bend = at.first + at.last - 2 * mean
        a = at.height * (mean - at.first) + above * bend
        b = at.height * at.first - above * bend
        c = -mean * above
        root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0))
        theta = jnp.clip(2 * c / (-b - root), 0, 1)
        x = at.left + theta * at.width
        log_slope = _log_slope(at, theta, mean, mean + bend * theta * (1 - theta))
        return jnp.where(inside, x, y), jnp.where(inside, log_slope, 0.0)

    def _inside(self, x: Array) -> tuple[Array, Array]:
        return jnp.abs(x) < self.bound, jnp.clip(x, -self.bound, self.bound)

    def _corners(self, raw: Array) -> tuple[Array, Array, Array]:
        """Return edges ``[..., bins + 1]`` along both axes, and the slopes there."""
        widths, heights, between = jnp.split(raw, [self.bins, 2 * self.bins], axis=-1)
        slopes = self.least + (1 - self.least) * jax.nn.softplus(between + _UNIT)
        # The tails have a slope of 1, and the first and last bin meet it.
        slopes = jnp.pad(slopes, [(0, 0)] * (raw.ndim - 1) + [(1, 1)], constant_values=1.0)
        return self._edges(widths), self._edges(heights), slopes

    def _edges(self, raw: Array) -> Array:
        sizes = self.least + (1 - self.least * self.bins) * jax.nn.softmax(raw, axis=-1)
        inner = 2 * self.bound * jnp.cumsum(sizes, axis=-1)[..., :-1] - self.bound
        ends = jnp.full_like(raw[..., :1], self.bound)
        return jnp.concatenate([-ends, inner, ends], axis=-1)


def _chosen(x: Array, along: Array, edges: Array, tops: Array, slopes: Array) -> _Bin:
    """Return the bins that numbers fall into, by their edges along one of the axes."""
    number = (x[..., None] >= along[..., 1:-1]).sum(axis=-1)
    # A sum over few bins; picking by number is slow to differentiate.
    this = jax.nn.one_hot(number, edges.shape[-1] - 1, dtype=x.dtype)

    def pick(values: Array) -> Array:
        return (this * values).sum(axis=-1)

    return _Bin(
        left=pick(edges[..., :-1]),
        bottom=pick(tops[..., :-1]),
        width=pick(jnp.diff(edges, axis=-1)),
        height=pick(jnp.diff(tops, axis=-1)),
        first=pick(slopes[..., :-1]),
        last=pick(slopes[..., 1:]),
    )


def _mean_slope(at: _Bin) -> Array:
    return at.height / at.width


def _log_slope(at: _Bin, theta: Array, mean: Array, below: Array) -> Array:
    """Return the logarithm of the slope at a share ``theta`` of the width of a bin (equation 5)."""
    there = at.last * theta**2 + 2 * mean * theta * (1 - theta) + at.first * (1 - theta) ** 2
    return 2 * jnp.log(mean) + jnp.log(there) - 2 * jnp.log(below)
