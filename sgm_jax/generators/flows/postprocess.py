"""What a flow has drawn of a layer, brought to the layer's charge with nothing below a threshold.

A flow gives every pixel some charge. Published are two ways to get rid of what is too faint to be
seen, and to keep the charge that was drawn for the layer before.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

L2LFLOWS, CALOFLOW = "l2lflows", "caloflow"
# In place of no charge at all, so that there is something to rescale.
_TINY = 1e-6


def darken_then_rescale(pixels: Array, charge: Array, least: float) -> Array:
    """Zero the fewest of the dimmest pixels so that all others, rescaled, pass the threshold.

    The way of L2LFlows (arXiv:2302.11594): the sum is the layer's charge, and it stays so as
    nothing has to be cut afterwards. A layer whose charge is below the threshold is dark.

    Args:
        pixels: charges of layers, not negative ``[B, size]``.
        charge: of each layer ``[B]``.
        least: the threshold, above 0.

    Returns:
        Charges ``[B, size]``, zeros or at least ``least``.
    """
    rising, order = _sorted(jnp.maximum(pixels, _TINY))
    # What each pixel and all brighter ones hold together.
    rest = jnp.cumsum(rising[:, ::-1], axis=1)[:, ::-1]
    scaled = rising * (charge[:, None] / rest)
    # It rises along the pixels up to the last one, which has all of the charge, but for rounding.
    last = (charge >= least)[:, None]
    passes = jnp.concatenate([(scaled >= least)[:, :-1], last], axis=1)
    first = jnp.argmax(passes, axis=1)
    scale = charge / jnp.take_along_axis(rest, first[:, None], axis=1)[:, 0]
    kept = jnp.arange(pixels.shape[1])[None] >= first[:, None]
    result = jnp.where(kept & last, jnp.maximum(rising * scale[:, None], least), 0.0)
    return _back(result, order)


def rescale_then_cut(pixels: Array, charge: Array, least: float) -> Array:
    """Rescale all pixels to the layer's charge, then zero those below the threshold.

    The way of CaloFlow (arXiv:2106.05285), which loses the charge of all that is cut.

    The arguments and the result are those of :func:`darken_then_rescale`.
    """
    pixels = jnp.maximum(pixels, _TINY)
    scaled = pixels * (charge / pixels.sum(1))[:, None]
    return jnp.where(scaled >= least, scaled, 0.0)


METHODS = {L2LFLOWS: darken_then_rescale, CALOFLOW: rescale_then_cut}


def whole(charges: Array) -> Array:
    """Round charges to whole ones, so that the sum of a layer is off by less than 1/2.

    Each is rounded down, and those that lose most are rounded up, as many as the sum needs.

    Args:
        charges: of layers, not negative ``[B, size]``.
    """
    floor = jnp.floor(charges)
    lost = charges - floor
    count = jnp.round(lost.sum(1)).astype(jnp.int32)
    _, order = _sorted(-lost)
    up = jnp.arange(charges.shape[1])[None] < count[:, None]
    return floor + _back(up.astype(charges.dtype), order)


def _sorted(values: Array) -> tuple[Array, Array]:
    """Return rising values ``[B, size]``, and the places that they were taken from."""
    places = jnp.broadcast_to(jnp.arange(values.shape[1])[None], values.shape)
    rising, order = jax.lax.sort((values, places), dimension=1, num_keys=1)
    return rising, order


def _back(values: Array, order: Array) -> Array:
    """Return values in the places that an order took them from."""
    return jax.lax.sort((order, values), dimension=1, num_keys=1)[1]
