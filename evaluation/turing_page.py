"""The page of a Turing test: real and generated images, shuffled, with their answers masked."""

import base64
import hashlib
import html
import io
import json
import string
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from evaluation.sets import ImageSet

SCHEMA_VERSION = 1
MOST = 500  # images of a kind: the page counts in whole numbers below 2^1024
_UNKNOWN, _SHOWER, _TRACK = range(3)


def choose(one: ImageSet, count: int, *, by_class: bool, seed: int) -> ImageSet:
    """Return ``count`` random images of a set; by class, as many tracks as showers.

    Real and generated images are then equally many in each class, so that half of the answers is
    right by chance there as well. Of an odd number one more shower is taken.

    Raises:
        ValueError: if there are too few, with both numbers.
    """
    wanted = {"images": (np.ones(len(one), bool), count)}
    if by_class:
        tracks = count // 2
        wanted = {"tracks": (one.is_track, tracks), "showers": (~one.is_track, count - tracks)}
    rng = np.random.default_rng(seed)
    rows = []
    for kind, (marked, number) in wanted.items():
        places = np.flatnonzero(marked)
        if len(places) < number:
            raise ValueError(
                f"{one.facts['source']}: {len(places)} {kind}, but the page takes {number}; "
                "lower --count or give more images"
            )
        rows.append(rng.permutation(places)[:number])
    return one.take(np.concatenate(rows))


def page(real: ImageSet, generated: ImageSet, *, title: str, seed: int) -> str:
    """Return the HTML page, which needs nothing else, not even a network.

    Both kinds of image become PNG files in the same way. The answers are masked with a keyed hash
    and the key lies beside them: that keeps them from a glance at the page's source, not from
    somebody who wants to cheat.

    Args:
        real: as many images as ``generated`` has.
        generated: as many images as ``real`` has.
        title: of the page.
        seed: of the order.

    Raises:
        ValueError: if the sets differ in number, or hold more than 500 images each.
    """
    if len(real) != len(generated) or not 1 <= len(real) <= MOST:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images: equal numbers from 1 to "
            f"{MOST} are needed"
        )
    order = np.random.default_rng([seed, 1]).permutation(2 * len(real))
    codes = np.concatenate([_codes(real, 0), _codes(generated, 1)])[order]
    images = [
        _png(image, one.facts["threshold"]) for one in (real, generated) for image in one.images
    ]
    images = [images[place] for place in order]
    key = hashlib.blake2b(b"".join(images) + str(seed).encode(), digest_size=8).hexdigest()
    content = {
        "title": title,
        "key": key,
        "masked": [code ^ (_scramble(f"{key}:{k}") & 255) for k, code in enumerate(codes.tolist())],
        "digests": [hashlib.blake2b(one, digest_size=8).hexdigest() for one in images],
        "images": [base64.b64encode(one).decode() for one in images],
        "facts": _facts(real, generated, title, seed),
    }
    height, width = real.images.shape[1:]
    template = string.Template(resources.files("evaluation").joinpath("turing.html").read_text())
    return template.substitute(
        title=html.escape(title),
        ratio=f"{width} / {height}",
        data=json.dumps(content).replace("<", "\\u003c"),
    )


def _facts(real: ImageSet, generated: ImageSet, title: str, seed: int) -> dict[str, Any]:
    """Return what the saved result says of the images, which is no help in answering."""
    names = ("source", "fingerprint", "threshold", "checkpoint_step")
    sets = {"real": real, "generated": generated}
    return {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "seed": seed,
        "images_of_each": len(real),
        "sets": {role: {name: one.facts[name] for name in names} for role, one in sets.items()},
    }


def _codes(one: ImageSet, is_generated: int) -> np.ndarray:
    """Return what an image is in one number: generated or not, and its class."""
    if one.is_track is None:
        return np.full(len(one), is_generated + 2 * _UNKNOWN)
    return is_generated + 2 * np.where(one.is_track, _TRACK, _SHOWER)


def _png(image: np.ndarray, threshold: int) -> bytes:
    """Return an image ``[H, W]`` on 0..255 as a PNG file, rounded and then cut at the threshold.

    The other way round the threshold's own value would be left in images of floating point only.
    """
    buffer = io.BytesIO()
    pixels = np.clip(np.rint(image.astype(np.float64)), 0, 255).astype(np.uint8)
    pixels[pixels <= threshold] = 0
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _scramble(text: str) -> int:
    """Return the 32-bit hash of a text that the page computes as well: FNV-1a, then mixed."""
    state = 0x811C9DC5
    for byte in text.encode():
        state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ state >> shift) * factor & 0xFFFFFFFF
    return state ^ state >> 16
