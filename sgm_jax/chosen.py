"""Drawn images as discriminators leave them, for a further one to learn from.

What the first keeps need not be drawn again: of the images that it has learnt from itself, each is
taken as often as it is likely to be kept. Of images of which one in seven would be kept, that makes
more than twice as much of them.
"""

import dataclasses
import json

import ml_collections
import numpy as np

from sgm_jax.beside import REJECTION, Beside, Part, fingerprint
from sgm_jax.conditions import Conditions
from sgm_jax.data.batches import random_bits
from sgm_jax.rejection import FIELD, Chances, chain, check_origin, read_rejection
from sgm_jax.run import parallel
from sgm_jax.run.log import LOGGER, announced

_AT_ONCE = 256
# Of the bits that decide, beside the seed.
_PURPOSE = 9


def as_chosen(beside: Beside | None, config: ml_collections.ConfigDict) -> Beside | None:
    """Return drawn images as the discriminators of ``config.sampling`` leave them.

    There are as many as before, some of them several times.

    Args:
        beside: the drawn images; None if there are none.
        config: of the discriminator that is trained.

    Raises:
        FileNotFoundError: if there are no such discriminators.
        ValueError: if they do not choose among images like these.
    """
    if beside is None:
        return None
    rejecting = read_rejection(config, Conditions((config.data.image_size,) * 2))
    if not rejecting:
        return beside
    if beside.origin:
        check_origin(rejecting, beside.origin)
    chances = Chances(rejecting)
    with announced(f"which drawn images {FIELD}={config.sampling.rejection} keeps"):
        parts = [_chosen(part, chances, config.seed) for part in (beside.train, beside.test)]
    links, origin = chain(rejecting), beside.origin
    if origin:
        origin = json.dumps(json.loads(origin) | {REJECTION: links}, sort_keys=True)
    return dataclasses.replace(
        beside,
        train=parts[0],
        test=parts[1],
        fingerprint=fingerprint(json.dumps([config.seed, links], sort_keys=True), beside),
        origin=origin,
    )


def _chosen(part: Part, chances: Chances, seed: int) -> Part:
    """Return a part of which each image is there as often as it is likely to be kept."""
    size = parallel.fitting_batch(len(part), most=_AT_ONCE)
    log_chances = []
    for first in range(0, len(part), size):
        # The last batch is filled up with its first images.
        rows = np.arange(first, first + size) % len(part)
        log_chances.append(chances.log_of(part[rows]))
    weights = np.exp(np.concatenate(log_chances)[: len(part)])
    LOGGER.info("%.1f %% of %d drawn images are kept", 100 * weights.mean(), len(part))
    return dataclasses.replace(part, places=part.places[repeated(weights, seed)])


def repeated(weights: np.ndarray, seed: int) -> np.ndarray:
    """Return as many row numbers as weights, each as often as its weight asks, rounded.

    Systematic resampling: row i comes ``floor`` or ``ceil`` of ``n w_i / sum(w)`` times, and that
    often on average.
    """
    offset = (random_bits((seed, _PURPOSE), 1)[0] >> np.uint64(11)) * 2.0**-53
    places = (np.arange(len(weights)) + offset) / len(weights)
    ends = np.cumsum(weights)
    return np.searchsorted(ends / ends[-1], places, side="right")
