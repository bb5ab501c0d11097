"""Sums over all earlier pixels: of the image, of a row, of a column, of a block.

A mask that is local is blind where the order comes back to a place after a long way round, and a
network of few layers does not see far. How many pixels were lit so far, and how much charge they
hold, costs nothing and is known at every pixel.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.orders import Order, Size, ranks

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Sums:
    """Groups of pixels, in whose order each pixel is told the sum before it.

    Attributes:
        sorted: for each kind of group, the pixels of each group in their order ``[groups, n]``.
        groups: of which groups a pixel is, by numbers that count on from kind to kind ``[N, K]``.
    """

    sorted: tuple[np.ndarray, ...]
    groups: np.ndarray

    @property
    def kinds(self) -> int:
        """How many sums a pixel is told."""
        return len(self.sorted)

    def before(self, x: Array) -> Array:
        """Return what each pixel of ``[B, H, W, C]`` is told, ``[B, H, W, K * C]``."""
        batch, height, width, channels = x.shape
        flat = x.reshape(batch, height * width, channels)
        told = []
        for places in self.sorted:
            parts = flat[:, places.ravel()].reshape(batch, *places.shape, channels)
            # Without the pixel itself: of a difference a rounded trace of it would stay.
            earlier = jnp.pad(parts, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
            total = jnp.cumsum(earlier, axis=2).reshape(flat.shape)
            told.append(total[:, np.argsort(places.ravel())])
        return _seen(jnp.concatenate(told, axis=-1)).reshape(batch, height, width, -1)

    def empty(self, channels: int) -> Array:
        """Return the sums of one image of which nothing is drawn."""
        return jnp.zeros((int(self.groups.max()) + 1, channels))

    def at(self, totals: Array, pixel: Array) -> Array:
        """Return what one pixel is told, ``[K * C]``."""
        groups = jnp.asarray(self.groups)[pixel]
        return _seen(totals.at[groups].get(mode="promise_in_bounds").reshape(-1))

    def add(self, totals: Array, pixel: Array, x: Array) -> Array:
        """Return the sums with those of one more pixel ``[C]``."""
        groups = jnp.asarray(self.groups)[pixel]
        return totals.at[groups].add(x[None], mode="promise_in_bounds", unique_indices=True)


def _seen(total: Array) -> Array:
    """Return sums on a scale that a network can look at."""
    return 0.5 * jnp.log1p(jnp.maximum(total, 0.0))


@functools.lru_cache(maxsize=64)
def sums(order: Order, size: Size, *, block: int | None = None) -> Sums:
    """Return the sums over the image, the rows and the columns, and over blocks of such a side."""
    rows, columns = np.divmod(np.arange(len(order)), size[1])
    kinds = [np.zeros_like(rows), rows, columns]
    if block is not None:
        kinds.append(rows // block * (size[1] // block) + columns // block)
    when, first, ordered, groups = ranks(order), 0, [], []
    for kind in kinds:
        count = int(kind.max()) + 1
        ordered.append(np.lexsort((when, kind)).reshape(count, -1))
        groups.append(kind + first)
        first += count
    return Sums(tuple(ordered), np.stack(groups, axis=1))
