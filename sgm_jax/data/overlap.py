"""Images that two sets have in common."""

import hashlib

import numpy as np

from sgm_jax.data.images import Images, evenly_spaced

_BLOCK = 256


def shared(images: Images, others: Images, *, looked_at: int = 1000) -> tuple[int, int]:
    """Return how many of the other images are in the first set too, and how many were looked at.

    Of each set at most ``looked_at`` evenly spaced images are read, so a few common images of large
    sets may be missed; a set within the other one is found. Images of one value do not count.
    """
    known = set(_hashes(images, looked_at))
    looked = _hashes(others, looked_at)
    return sum(each in known for each in looked), len(looked)


def _hashes(images: Images, count: int) -> list[bytes]:
    hashes = []
    rows = evenly_spaced(len(images), count)
    for first in range(0, len(rows), _BLOCK):
        for image in images[rows[first : first + _BLOCK]]:
            if np.ptp(image):
                content = np.ascontiguousarray(image, "<f4")
                hashes.append(hashlib.blake2b(content, digest_size=16).digest())
    return hashes
