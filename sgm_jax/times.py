"""Which noise levels a batch is trained on: the same loss on average, with less variance.

A distribution of times maps ``(sde, u)``, with ``u`` uniform in [0, 1), to times and to the factors
on the losses that make their mean the one over uniform times.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sgm_jax.sde import SDE, Array

Times = Callable[[SDE, Array], tuple[Array, Array]]

# Below it the score diverges; the original's.
SMALLEST_TIME = 1e-5
# The whole number nearest to 2^32 over the golden ratio: its multiples, modulo 2^32, fill the range
# evenly however many there are.
_GOLDEN = 2654435769
_NO_EXAMPLE = 2**31 - 1


def uniform_times(sde: SDE, u: Array) -> tuple[Array, Array]:
    """Return times uniform from 1e-5 to 1, as the original draws them, and factors 1."""
    del sde
    return SMALLEST_TIME + u * (1.0 - SMALLEST_TIME), jnp.ones_like(u)


def importance_times(sde: SDE, u: Array) -> tuple[Array, Array]:
    """Return times with a density in proportion to ``g^2 / std^2`` (arXiv:2101.09258, sec. 5.1).

    Likelihood weighting multiplies the squared error of the noise with that ratio, which varies by
    orders of magnitude and so makes the loss vary; here all times count the same instead. For every
    SDE with a linear drift ``g^2 / std^2`` is twice the rate at which the logarithm of the noise
    level ``std / a`` grows: its logarithm is drawn uniformly.
    """
    ends = sde.noise_level(jnp.array([SMALLEST_TIME, 1.0]))
    low, high = jnp.log(ends)
    t = sde.time_at(jnp.exp(low + u * (high - low)))
    _, diffusion = sde.sde(jnp.zeros_like(t), t)
    density = (diffusion / sde.std(t)) ** 2 / (2 * (high - low))
    return t, 1 / ((1.0 - SMALLEST_TIME) * density)


TIMES: dict[str, Times] = {"uniform": uniform_times, "importance": importance_times}


def spread_evenly(key: Array, index: Array) -> Array:
    """Return numbers that are uniform one by one, and together fill [0, 1) evenly, ``[B]``.

    Number i is ``(u + i / golden ratio) mod 1`` with one u for the step. Kingma et al. take
    ``(u + i / B) mod 1`` (arXiv:2107.00630, I.1); this is nearly as even, and does not ask how many
    examples there are.

    Args:
        key: the step's.
        index: positions in the global batch, whole numbers ``[B]``.
    """
    first = jax.random.bits(jax.random.fold_in(key, _NO_EXAMPLE))
    # Whole numbers wrap around exactly; their upper 24 bits are what a float holds.
    bits = first + index.astype(jnp.uint32) * jnp.uint32(_GOLDEN)
    return (bits >> 8).astype(jnp.float32) * 2.0**-24
