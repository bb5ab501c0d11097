"""Make a Turing test: an HTML page that asks for each image whether it is real or generated.

  python -m evaluation.turing --real=test/ --generated=samples.npz --out=turing.html

The page works offline, also on a phone, and sends nothing. Its result, with the time of every
answer, can be saved as JSON. With labels for both sets the page shows as many tracks as showers and
scores them separately. The answers are masked, not encrypted: somebody who looks for them in the
source of the page can find them.
"""

import argparse
import base64
import hashlib
import html
import io
import json
import string
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.images.sets import ImageSet
from sgm_jax.run.command import run_command
from sgm_jax.run.log import LOGGER

SCHEMA_VERSION = 1
MOST = 500  # images of a kind: the page counts in whole numbers below 2^1024
_UNKNOWN, _SHOWER, _TRACK = range(3)


def main(arguments: list[str] | None = None) -> None:
    """Make a page; ``arguments`` are those of the command line by default."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.turing", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="PNG folder, .npy, .npz or HDF5 file")
    parser.add_argument("--generated", required=True, help="the same, of the generator")
    parser.add_argument("--out", required=True, type=Path, help="HTML file to make")
    parser.add_argument("--count", type=int, default=50, help="images of each kind")
    parser.add_argument("--name", default="Real or generated?", help="title of the page")
    help_text = "pixels at most this become 0 in both sets; auto: 4 if the generated images were "
    help_text += (
        "cut there, as --mode=sample does, and the real ones were not (default: %(default)s)"
    )
    parser.add_argument("--threshold", default="auto", help=help_text)
    for flag, what in (("--scaling", "--real"), ("--generated_scaling", "--generated")):
        help_text = f"of {what} to 0..255: none, per_image, quantile or fixed:FULL (default: none)"
        parser.add_argument(flag, default="none", help=help_text)
    parser.add_argument("--plane", type=int, help="of images with three planes, 0 to 2")
    for which in ("real", "generated"):
        text = f"labels.h5 of evaluation.label for --{which}"
        parser.add_argument(f"--labels_{which}", type=Path, help=text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    options = parser.parse_args(arguments)
    run_command(lambda: make(options), debug=options.debug, options=vars(options))


def make(options: argparse.Namespace) -> None:
    """Write the page of parsed arguments.

    Raises:
        FileNotFoundError: a set or the folder of ``out`` is not there.
        ValueError: sets that do not fit, too few images, or ``out`` already exists.
    """
    from evaluation.images.alike import AUTO, common_threshold, parse_threshold
    from evaluation.images.sets import check_alike, open_set

    threshold = parse_threshold(options.threshold)
    if not 1 <= options.count <= MOST:
        raise ValueError(f"--count={options.count} must be from 1 to {MOST}, of each kind")
    if options.out.exists() and not options.overwrite:
        raise ValueError(f"{options.out} already exists: add --overwrite or choose another --out")
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"no folder {options.out.parent} to put {options.out.name} into")
    labels = (options.labels_real, options.labels_generated)
    by_class = None not in labels
    if not by_class and labels != (None, None):
        raise ValueError("labels of one set only: give both --labels_real and --labels_generated")
    limit = None if by_class else options.count  # of classes enough must be found first
    scalings = {"real": options.scaling, "generated": options.generated_scaling}
    reading = {"limit": limit, "seed": options.seed, "plane": options.plane}
    opened = [
        open_set(getattr(options, role), role, scaling=scaling, **reading)
        for role, scaling in scalings.items()
    ]
    if threshold == AUTO:
        threshold, said = common_threshold(opened[0], opened[1:])
        if said:
            LOGGER.info("%s", said)
    sets = [
        choose(
            one.cut(threshold, file), options.count, by_class=by_class, seed=options.seed + place
        )
        for place, (one, file) in enumerate(zip(opened, labels, strict=True))
    ]
    check_alike(sets)
    options.out.write_text(page(*sets, title=options.name, seed=options.seed))
    LOGGER.info("open %s in a browser: %d + %d images", options.out, options.count, options.count)


def choose(image_set: ImageSet, count: int, *, by_class: bool, seed: int) -> ImageSet:
    """Return ``count`` random images of a set; by class, as many tracks as showers.

    Each class then has as many real as generated images, so that chance gives half of the right
    answers in each class too. If the number is odd, there is one more shower.

    Raises:
        ValueError: if there are too few, with both numbers.
    """
    wanted = {"images": (np.ones(len(image_set), bool), count)}
    if by_class:
        tracks = count // 2
        wanted = {
            "tracks": (image_set.is_track, tracks),
            "showers": (~image_set.is_track, count - tracks),
        }
    rng = np.random.default_rng(seed)
    rows = []
    for kind, (marked, number) in wanted.items():
        places = np.flatnonzero(marked)
        if len(places) < number:
            raise ValueError(
                f"{image_set.facts['source']}: {len(places)} {kind}, but the page takes {number}; "
                "lower --count or give more images"
            )
        rows.append(rng.permutation(places)[:number])
    return image_set.take(np.concatenate(rows))


def page(real: ImageSet, generated: ImageSet, *, title: str, seed: int) -> str:
    """Return the HTML page, which needs nothing else, not even a network.

    Real and generated images, as many of each, become PNG files in the same way and stand in an
    order that ``seed`` gives. The answers are masked with a keyed hash, and the key is in the page:
    this hides them from a glance at the source, not from somebody who wants to cheat.

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
        _png(image, image_set.facts["threshold"])
        for image_set in (real, generated)
        for image in image_set.images
    ]
    images = [images[place] for place in order]
    key = hashlib.blake2b(b"".join(images) + str(seed).encode(), digest_size=8).hexdigest()
    content = {
        "title": title,
        "key": key,
        "masked": [code ^ (_scramble(f"{key}:{k}") & 255) for k, code in enumerate(codes.tolist())],
        "digests": [hashlib.blake2b(image_set, digest_size=8).hexdigest() for image_set in images],
        "images": [base64.b64encode(image_set).decode() for image_set in images],
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
    """Return what the saved result says about the images; it does not give answers away."""
    names = ("source", "fingerprint", "threshold", "checkpoint_step")
    sets = {"real": real, "generated": generated}
    return {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "seed": seed,
        "images_of_each": len(real),
        "sets": {
            role: {name: image_set.facts[name] for name in names}
            for role, image_set in sets.items()
        },
    }


def _codes(image_set: ImageSet, is_generated: int) -> np.ndarray:
    """Return one number for each image: generated or not, and its class."""
    if image_set.is_track is None:
        return np.full(len(image_set), is_generated + 2 * _UNKNOWN)
    return is_generated + 2 * np.where(image_set.is_track, _TRACK, _SHOWER)


def _png(image: np.ndarray, threshold: int) -> bytes:
    """Return an image ``[H, W]`` on 0..255 as a PNG file, rounded and then cut at the threshold.

    In the other order, floating-point images would keep the threshold's own value.
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


if __name__ == "__main__":
    main()
