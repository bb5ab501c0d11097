"""A codebook: encodings become the number of the nearest of K vectors (arXiv:1711.00937).

Vectors are learnt by gradient, or follow moving averages of the encodings that are nearest to them
(its appendix A.1), which is k-means with a memory. A vector that nobody uses any more begins again
at an encoding of the batch, rather at one that the codebook does badly.

Averages are kept as shares of all encodings, so that they do not depend on the number of devices.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

Array = jax.Array

# A code is dead if it is used less often than this share of the mean.
DEAD = 1e-2
# One that begins again has so much of the mean: unless it is used it is dead again soon, for while
# the encodings move fast they leave a code behind before it is found.
REVIVED = 2e-2
# Added to every share, so that none is 0 (Laplace smoothing).
_SMOOTHING = 1e-7
_TINY = 1e-12


class Quantised(NamedTuple):
    """Encodings and what became of them.

    Attributes:
        encodings: ``[B, h, w, D]``.
        codes: numbers of the nearest vectors ``[B, h, w]``.
        vectors: those vectors ``[B, h, w, D]``.
    """

    encodings: Array
    codes: Array
    vectors: Array

    @property
    def passed(self) -> Array:
        """The vectors, whose gradient is handed to the encodings (straight through)."""
        return self.encodings + jax.lax.stop_gradient(self.vectors - self.encodings)

    @property
    def distances(self) -> Array:
        """Squared distances of encodings and their vectors ``[B, h, w]``, without a gradient."""
        apart = jax.lax.stop_gradient(self.encodings - self.vectors)
        return (apart**2).sum(-1)


def quantise(encodings: Array, book: Array) -> Quantised:
    """Return the nearest vectors of a codebook ``[K, D]``; of equally near ones the first."""
    codes = nearest(encodings, book)
    return Quantised(encodings, codes, book[codes])


def nearest(encodings: Array, book: Array) -> Array:
    """Return the numbers ``[...]`` of the vectors that are nearest to encodings ``[..., D]``."""
    # |z|^2 is the same for all of them.
    squares = (book**2).sum(-1)
    distances = jnp.expand_dims(squares, range(encodings.ndim - 1)) - 2 * encodings @ book.T
    return jnp.argmin(distances, axis=-1).astype(jnp.int32)


@flax.struct.dataclass
class Averages:
    """Moving averages of what is nearest to each vector.

    Attributes:
        shares: of all encodings, that each has ``[K]``.
        sums: of the encodings that each has, divided by the number of all of them ``[K, D]``.
    """

    shares: Array
    sums: Array

    @property
    def book(self) -> Array:
        """The vectors ``[K, D]``."""
        total = self.shares.sum()
        smoothed = self.shares + _SMOOTHING * total[None]
        smoothed = smoothed / (1 + _SMOOTHING * len(self.shares))
        return self.sums / jnp.maximum(smoothed, _TINY)[:, None]


def empty(classes: int, size: int) -> Averages:
    """Return averages of nothing; all vectors are 0."""
    return Averages(jnp.zeros(classes), jnp.zeros((classes, size)))


def of_batch(quantised: Quantised, classes: int) -> Averages:
    """Return the shares and sums of one batch alone."""
    size = quantised.encodings.shape[-1]
    encodings = jax.lax.stop_gradient(quantised.encodings).reshape(-1, size)
    chosen = jax.nn.one_hot(quantised.codes.reshape(-1), classes)
    # A product, whose order of summation is always the same, as that of a scattered sum is not.
    return Averages(chosen.mean(0), chosen.T @ encodings / len(encodings))


def moved(averages: Averages, batch: Averages, decay: float) -> Averages:
    """Return averages after one more batch."""
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, averages, batch)


@flax.struct.dataclass
class Proposals:
    """Where dead codes may begin again, of this device's images.

    Attributes:
        vectors: an encoding for each code ``[K, D]``; zeros where another device has it.
        there: whether it is this device's ``[K]``, 0 or 1.
    """

    vectors: Array
    there: Array


def propose(
    key: Array, index: Array, quantised: Quantised, *, classes: int, images: int
) -> Proposals:
    """Draw an encoding of the batch for each code; far ones are drawn more often, as in k-means++.

    What is drawn depends on the key and on the images, and not on how devices share them.

    Args:
        key: of the step, the same on all devices.
        index: places of the images in the global batch ``[B]``.
        quantised: their encodings.
        classes: codes K.
        images: in the global batch.
    """
    count, *_, size = quantised.encodings.shape
    encodings = jax.lax.stop_gradient(quantised.encodings).reshape(count, -1, size)
    distances = quantised.distances.reshape(count, -1)
    each = min(-(-classes // images), encodings.shape[1])
    shuffling, own = jax.random.split(key)
    # The largest of log-weights and Gumbel noise are draws without replacement.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(own, index)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, distances.shape[1:]))(keys)
    _, places = jax.lax.top_k(jnp.log(distances + _TINY) + noise, each)
    drawn = jnp.take_along_axis(encodings, places[..., None], axis=1)
    # Which image, and which of its draws, each code gets.
    numbers = jax.random.permutation(shuffling, images * each)
    numbers = numbers[jnp.arange(classes) % (images * each)]
    here = index[:, None] == (numbers // each)[None]
    there = here.any(0).astype(jnp.float32)
    vectors = drawn[here.argmax(0), numbers % each]
    return Proposals(vectors * there[:, None], there)


def revived(averages: Averages, proposals: Proposals) -> Averages:
    """Return averages with dead codes begun again.

    Args:
        averages: after a step.
        proposals: of it, averaged over devices.
    """
    mean = averages.shares.mean()
    dead = (averages.shares < DEAD * mean) & (proposals.there > 0)
    vectors = proposals.vectors / jnp.maximum(proposals.there, _TINY)[:, None]
    return Averages(
        jnp.where(dead, REVIVED * mean, averages.shares),
        jnp.where(dead[:, None], vectors * REVIVED * mean, averages.sums),
    )


def perplexity(shares: Array) -> Array:
    """Return how many codes are in use, were they used equally often."""
    return jnp.exp(-(shares * jnp.log(jnp.maximum(shares, _TINY))).sum())
