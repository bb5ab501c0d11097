"""Drawn images, each turned over by a random one of the symmetries that real images have.

A generator that draws in an order, such as row by row, makes mistakes with a direction. If an
image is as likely as its mirror image to be real, then drawn ones may be mirrored at random: the
density of what is drawn becomes the mean of its own and of its mirror image. That is never farther
from a symmetric density, because the Kullback-Leibler divergence is convex.

How image i is turned depends on the seed and on i only.
"""

import ml_collections
import numpy as np

from sgm_jax.conditions import Conditions
from sgm_jax.data.batches import random_bits

FIELD = "sampling.symmetry"
# In how many ways: as they are; also left for right; and also upside down, with both.
SYMMETRIES = {"none": 1, "mirror": 2, "flips": 4}
# Recipes do not name it: so were all images before, which more can be added to.
NOT_TURNED = (FIELD, "none")
# Of the bits that decide, beside the seed.
_PURPOSE = 8


def check_turnable(config: ml_collections.ConfigDict, conditions: Conditions) -> None:
    """Refuse to turn images that show what was asked for, which would turn as well.

    Args:
        config: of the generator, checked.
        conditions: on the images.

    Raises:
        ValueError: with the conditions.
    """
    symmetry = config.sampling.symmetry
    if symmetry != "none" and conditions.requested:
        raise ValueError(
            f"--config.{FIELD}={symmetry} turns images at random, and these have conditions "
            f"({', '.join(conditions.requested)}), which would turn as well; set it to none"
        )


def turned(images: np.ndarray, symmetry: str, *, seed: int, first: int) -> np.ndarray:
    """Return images, each as it is or turned.

    Args:
        images: ``[n, H, W, C]``.
        symmetry: a key of :data:`SYMMETRIES`; each of so many ways is equally likely.
        seed: of the images, not negative.
        first: number of the first image.
    """
    if symmetry == "none":
        return images
    bits = random_bits((seed, _PURPOSE), len(images), first=first)
    ways = (bits >> np.uint64(32)) % np.uint64(SYMMETRIES[symmetry])
    return np.stack([_turned(image, int(way)) for image, way in zip(images, ways, strict=True)])


def _turned(image: np.ndarray, way: int) -> np.ndarray:
    """Return an image ``[H, W, C]``: left for right if a way is odd, upside down from 2 on."""
    return image[:: -1 if way // 2 else 1, :: -1 if way % 2 else 1]
