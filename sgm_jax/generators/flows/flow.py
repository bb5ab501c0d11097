"""Normalising flows of vectors: a stack of permutations and transforms with an exact density.

Data go forward to noise. A coupling (arXiv:1605.08803) keeps half of the numbers and maps the
others as the first ask for: fast both ways. A masked autoregressive transform (arXiv:1705.07057)
maps each as those before it ask for: forward in one evaluation, back number by number. All blocks
have one shape; their parameters are stacked, so that a program does not grow with them.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.flows.conditioners import Conditioner, Made
from sgm_jax.generators.flows.spline import Spline

Array = jax.Array
Params = Any

COUPLING, MAF = "coupling", "maf"
PAIRED, RANDOM, REVERSE = "paired", "random", "reverse"


@dataclasses.dataclass(frozen=True)
class Coupling:
    """The second half of a vector through splines that the first half and a context choose.

    Attributes:
        size: of a vector, at least 2.
        spline: that each number goes through.
        hidden: units of a layer of the conditioner.
        layers: of them.
        context: length of the context; 0 for none.
    """

    size: int
    spline: Spline
    hidden: int
    layers: int
    context: int

    @property
    def _kept(self) -> int:
        return self.size // 2

    @property
    def _network(self) -> Conditioner:
        mapped = self.size - self._kept
        return Conditioner(mapped, self.spline.parameters, self.hidden, self.layers)

    def init(self, key: Array) -> Params:
        """Return the parameters of the identity."""
        context = jnp.zeros((1, self.context)) if self.context else None
        return self._network.init(key, jnp.zeros((1, self._kept)), context)["params"]

    def forward(self, params: Params, x: Array, context: Array | None) -> tuple[Array, Array]:
        """Return ``[B, size]`` and the logarithms of the determinants of the Jacobians ``[B]``."""
        kept, mapped = x[:, : self._kept], x[:, self._kept :]
        mapped, log_slope = self.spline.forward(mapped, self._splines(params, kept, context))
        return jnp.concatenate([kept, mapped], axis=1), log_slope.sum(1)

    def inverse(self, params: Params, z: Array, context: Array | None) -> Array:
        """Return what goes forward to ``z``."""
        kept, mapped = z[:, : self._kept], z[:, self._kept :]
        mapped, _ = self.spline.inverse(mapped, self._splines(params, kept, context))
        return jnp.concatenate([kept, mapped], axis=1)

    def _splines(self, params: Params, kept: Array, context: Array | None) -> Array:
        return self._network.apply({"params": params}, kept, context)


@dataclasses.dataclass(frozen=True)
class Autoregressive:
    """Each number through a spline that those before it and a context choose.

    The attributes are those of :class:`Coupling`.
    """

    size: int
    spline: Spline
    hidden: int
    layers: int
    context: int

    @property
    def _network(self) -> Made:
        return Made(self.size, self.spline, self.hidden, self.layers, self.context)

    def init(self, key: Array) -> Params:
        """Return the parameters of the identity."""
        context = jnp.zeros((1, self.context)) if self.context else None
        return self._network.init(key, jnp.zeros((1, self.size)), context)["params"]

    def forward(self, params: Params, x: Array, context: Array | None) -> tuple[Array, Array]:
        """Return ``[B, size]`` and the logarithms of the determinants of the Jacobians ``[B]``."""
        raw = self._network.apply({"params": params}, x, context)
        z, log_slope = self.spline.forward(x, raw)
        return z, log_slope.sum(1)

    def inverse(self, params: Params, z: Array, context: Array | None) -> Array:
        """Return what goes forward to ``z``."""
        return self._network.apply({"params": params}, z, context, method="inverse")


TRANSFORMS = {COUPLING: Coupling, MAF: Autoregressive}


@dataclasses.dataclass(frozen=True)
class Flow:
    """A density of vectors, given a context.

    Attributes:
        block: a transform; each block has parameters of its own.
        orders: in which each block takes the numbers of a vector.
    """

    block: Coupling | Autoregressive
    orders: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Of a vector."""
        return self.block.size

    def init(self, key: Array) -> Params:
        """Return the parameters of the identity, with a leading axis of the blocks."""
        return jax.vmap(self.block.init)(jax.random.split(key, len(self.orders)))

    def log_prob(self, params: Params, x: Array, context: Array | None = None) -> Array:
        """Return the logarithms of the density of vectors ``[B, size]``, ``[B]``."""
        z, log_slope = self.to_noise(params, x, context)
        return log_slope - 0.5 * (z**2).sum(1) - 0.5 * math.log(2 * math.pi) * self.size

    def to_noise(
        self, params: Params, x: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the noise of vectors and the logarithms of the Jacobians' determinants ``[B]``."""

        def step(state: tuple[Array, Array], block: tuple[Params, Array]) -> tuple[Any, None]:
            x, total = state
            own, order = block
            z, log_slope = self.block.forward(own, x[:, order], context)
            return (z, total + log_slope), None

        zeros = jnp.zeros(len(x), x.dtype)
        return jax.lax.scan(step, (x, zeros), (params, self._orders))[0]

    def from_noise(self, params: Params, z: Array, context: Array | None = None) -> Array:
        """Return the vectors of normal noise ``[B, size]``."""

        def step(z: Array, block: tuple[Params, Array]) -> tuple[Array, None]:
            own, back = block
            return self.block.inverse(own, z, context)[:, back], None

        back = jnp.argsort(self._orders, axis=1)
        return jax.lax.scan(step, z, (params, back), reverse=True)[0]

    @property
    def _orders(self) -> Array:
        return jnp.asarray(self.orders, jnp.int32)


def flow(kind: str, *, size: int, blocks: int, permutation: str, seed: int, **options: Any) -> Flow:
    """Return a flow of vectors.

    Args:
        kind: "coupling" or "maf".
        size: of a vector, at least 2.
        blocks: of the stack.
        permutation: before each block but the first: "random"; "reverse"; or "paired", of which
            every second one exchanges the halves and the others are random. So each pair of
            couplings maps all numbers, where random halves leave one in 2^blocks as it is.
        seed: of the random ones.
        options: of the blocks: ``spline``, ``hidden``, ``layers`` and ``context``.
    """
    orders = [np.arange(size)]
    for number in range(1, blocks):
        if permutation == REVERSE:
            order = np.arange(size)[::-1]
        elif permutation == PAIRED and number % 2 == 1:
            order = np.roll(np.arange(size), -(size // 2))
        else:
            # Sorted raw bits, which numpy keeps across its versions.
            bits = np.random.Philox(np.random.SeedSequence((seed, number))).random_raw(size)
            order = np.argsort(bits)
        orders.append(order)
    places = tuple(tuple(order.tolist()) for order in orders)
    return Flow(TRANSFORMS[kind](size, **options), places)
