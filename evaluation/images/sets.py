"""The sets of images that are compared: read, checked and cut to size."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.images.segments import Segments, Table, given_labels, read_labels
from sgm_jax.data import Images, from_array, open_images
from sgm_jax.data.survey import survey
from sgm_jax.run.files import read_object

FAINT = 4  # arXiv:2307.13687 sets generated pixels up to this to zero
_BRIGHT = 0.99  # of the lit pixels are not brighter than the one that stands for the bright ones
_SATURATED = 254.5  # rounded, this is 255
PIXEL_SCALE = "0..255"


class TooFewImagesError(ValueError):
    """A metric needs more images than a set has."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images ``[n, H, W]`` on the scale 0..255, with their measurements and their source."""

    name: str
    images: np.ndarray
    table: Table = field(default_factory=dict)  # observable -> [n]
    is_track: np.ndarray | None = None  # [n] bool, from SSNet
    facts: dict[str, Any] = field(default_factory=dict)  # for the report
    segments: Segments | None = None  # all that SSNet says

    def __len__(self) -> int:
        return len(self.images)

    def flat(self) -> np.ndarray:
        """Return the images as float32 ``[n, H * W]``, on the scale 0..255."""
        return self.images.reshape(len(self), -1).astype(np.float32)

    def has_features(self) -> bool:
        """Return whether SSNet's features of the images are kept."""
        return self.segments is not None and self.segments.stored is not None

    def features(self) -> np.ndarray:
        """Return SSNet's features ``[n, F]`` of a set that has them."""
        return self.segments.features()

    def take(self, rows: np.ndarray) -> "ImageSet":
        """Return some of the images, with everything that is known about them."""
        return replace(
            self,
            images=self.images[rows],
            table={name: values[rows] for name, values in self.table.items()},
            is_track=None if self.is_track is None else self.is_track[rows],
            segments=None if self.segments is None else self.segments.take(rows),
        )

    def labelled(self, segments: Segments) -> "ImageSet":
        """Return the set with what SSNet says about it."""
        is_track = segments.table["is_track"]
        counted = {"track_images": int(is_track.sum()), "ssnet": segments.origin}
        return replace(self, is_track=is_track, segments=segments, facts=self.facts | counted)

    def require(self, count: int) -> None:
        """Refuse a set that is too small.

        Raises:
            TooFewImagesError: with both numbers.
        """
        if len(self) < count:
            raise TooFewImagesError(f"{self.name}: {len(self)} images, at least {count} are needed")


@dataclass(frozen=True, eq=False)
class Pair:
    """A real and a generated set, and two real sets that differ by chance alone (the floor)."""

    real: ImageSet
    generated: ImageSet
    floor: tuple[ImageSet, ImageSet]
    floor_from: str
    train: ImageSet | None = None  # all of the training images

    def require(self, count: int) -> None:
        """Refuse a pair if one of its four sets is too small.

        Raises:
            TooFewImagesError: with both numbers.
        """
        for images in (self.real, self.generated, *self.floor):
            images.require(count)

    def equal_sizes(self, *, seed: int) -> "Pair":
        """Return the pair with all four sets cut at random to the size of the smallest.

        If the floor compares halves of the real images, the first half is taken as the real set.
        """
        real = self.real if self.floor[0] is self.real else self.floor[0]
        count = min(len(real), len(self.generated), len(self.floor[1]))
        kept = [
            image_set.take(
                np.sort(np.random.default_rng([seed, k]).permutation(len(image_set))[:count])
            )
            for k, image_set in enumerate((real, self.generated, self.floor[1]))
        ]
        return replace(self, real=kept[0], generated=kept[1], floor=(kept[0], kept[2]))

    def of_class(self, kind: str) -> "Pair | None":
        """Return the pair of ``"tracks"`` or ``"showers"``; None without labels for all sets."""
        train = () if self.train is None else (self.train,)
        sets = (self.real, self.generated, *self.floor, *train)
        if any(image_set.is_track is None for image_set in sets):
            return None
        chosen = [
            image_set.take(np.flatnonzero(image_set.is_track == (kind == "tracks")))
            for image_set in sets
        ]
        real, generated, first, second, *train = chosen
        return Pair(real, generated, (first, second), self.floor_from, *train)


Source = ImageSet | np.ndarray | str | Path  # a set: of images, or where to read them


@dataclass(frozen=True, eq=False)
class Opened:
    """Images that were chosen and read, as they are stored but for their scale."""

    name: str
    images: np.ndarray  # [n, H, W]
    rows: np.ndarray  # [n] of the source
    source: Images
    warnings: tuple[str, ...] | None  # of its survey, if there was one

    def cut(self, threshold: int = 0, labels: str | Path | np.ndarray | None = None) -> "ImageSet":
        """Return the set with pixels up to ``threshold`` at zero, and with its labels.

        Raises:
            FileNotFoundError: nothing at ``labels``.
            ValueError: labels of another set.
        """
        images = self.images.copy()
        images[images <= threshold] = 0
        doubts = {"surveyed": self.warnings is not None, "warnings": list(self.warnings or ())}
        facts = _facts(self.source, images, threshold) | doubts
        image_set = ImageSet(self.name, images, facts=facts | {"track_images": None, "ssnet": None})
        if labels is None:
            return image_set
        if isinstance(labels, np.ndarray):
            return image_set.labelled(given_labels(labels, self.rows, len(self.source)))
        segments = read_labels(Path(labels), image_set.images, self.rows, len(self.source))
        return image_set.labelled(segments)


def open_set(
    source: np.ndarray | str | Path,
    name: str,
    *,
    limit: int | None,
    seed: int,
    scaling: str = "none",
    plane: int | None = None,
    surveyed: bool = False,
) -> Opened:
    """Read a set of grey images, at most ``limit`` of them, chosen by ``seed``.

    Args:
        source: path of anything that `sgm_jax.data.open_images` reads, or images ``[N, H, W]`` or
            ``[N, H, W, 1]``.
        name: what it is called in the report.
        limit: images to keep; None keeps all.
        seed: chooses them.
        scaling: from the stored values to 0..255, as in training; see `sgm_jax.data.scaling`.
        plane: of images with three planes, 0 to 2; grey images are taken as they are.
        surveyed: add what `sgm_jax.data.survey` doubts to the facts of the set.

    Raises:
        FileNotFoundError: nothing at ``source``.
        ValueError: unreadable, another scale than 0..255, NaN, not grey.
    """
    opened = _images(source, name, scaling=scaling, plane=plane)
    rows = random_rows(len(opened), limit, seed)
    images = opened[rows][..., 0]
    if 0 < images.max() <= 1:  # floating-point images were checked on reading
        raise ValueError(
            f"{opened.source}: the largest pixel is {images.max()}, images must be on the scale "
            f"{PIXEL_SCALE}; if these are on 0..1 multiply by 255"
        )
    doubts = survey(opened).warnings if surveyed else None
    return Opened(name, images, rows, opened, doubts)


def _images(
    source: np.ndarray | str | Path, name: str, *, scaling: str, plane: int | None
) -> Images:
    """Open a set of grey images, or one of three planes."""
    options = {"num_channels": 1, "image_size": None, "scaling": scaling}

    def opened(plane: int | None) -> Images:
        if isinstance(source, np.ndarray):
            return from_array(source, source=f"array {name}", plane=plane, **options)
        return open_images(str(source), plane=plane, **options)

    if plane is None:
        return opened(None)
    if plane not in range(3):
        raise ValueError(f"--plane={plane}: there are planes 0, 1 and 2")
    try:
        return opened(plane)
    except ValueError as error:
        try:
            return opened(None)  # it has no planes
        except ValueError:
            raise error from None


def load(
    source: Source,
    name: str,
    *,
    limit: int | None,
    seed: int,
    threshold: int = 0,
    scaling: str = "none",
    plane: int | None = None,
    labels: str | Path | np.ndarray | None = None,
) -> ImageSet:
    """Read a set of grey images, see `open_set`, and cut it; or take a set that is loaded already.

    Empty and constant images are kept; ``facts`` says how many there are.

    Args:
        source: what `open_set` reads, or a set that is loaded already.
        name: what it is called in the report.
        limit: images to keep; None keeps all.
        seed: chooses them.
        threshold: pixels at most this become zero.
        scaling: from the stored values to 0..255, as in training.
        plane: of images with three planes, 0 to 2.
        labels: for the whole set, a ``labels.h5`` of ``evaluation.label``, or bool ``[N]``, which
            images are tracks.

    Raises:
        FileNotFoundError: nothing at ``source`` or ``labels``.
        ValueError: unreadable, another scale than 0..255, NaN, not grey; labels of another set.
    """
    if not isinstance(source, ImageSet):
        opened = open_set(source, name, limit=limit, seed=seed, scaling=scaling, plane=plane)
        return opened.cut(threshold, labels)
    if threshold or labels is not None or scaling != "none":
        raise ValueError(
            f"{name} is an ImageSet: apply threshold, scaling and labels when you load it"
        )
    return replace(source.take(random_rows(len(source), limit, seed)), name=name)


def random_rows(total: int, limit: int | None, seed: int) -> np.ndarray:
    """Return at most ``limit`` random places of ``total``, rising; all if it is None."""
    if limit is None or limit >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:limit])


def check_alike(sets: list[ImageSet]) -> None:
    """Refuse sets whose images differ in size, or that share a name.

    Raises:
        ValueError: with both sizes.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.images.shape[1:] != first.images.shape[1:]:
            sizes = ["x".join(map(str, image_set.images.shape[1:])) for image_set in (first, other)]
            raise ValueError(
                f"{first.facts['source']}: images are {sizes[0]} but {other.facts['source']}: "
                f"{sizes[1]} (height x width); crop them to one size"
            )
    names = [image_set.name for image_set in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"two sets have one name ({', '.join(names)}); use --name and --name_2")


def pair(real: ImageSet, generated: ImageSet, train: ImageSet | None, *, seed: int) -> Pair:
    """Return a generated set and the real one with the two sets of the floor.

    With training images the floor compares these with the real ones, as many as there are generated
    images if possible. Without, it compares one half of the real images with the other.
    """
    shuffled = np.random.default_rng([seed, 1]).permutation
    if train is not None:
        kept = np.sort(shuffled(len(train))[: len(generated)])
        floor = (real, train.take(kept))
        return Pair(real, generated, floor, "training images", train)
    order = shuffled(len(real))
    half = len(real) // 2
    halves = (real.take(np.sort(order[:half])), real.take(np.sort(order[half : 2 * half])))
    return Pair(real, generated, halves, "halves of the real images")


def _facts(opened: Images, images: np.ndarray, threshold: int) -> dict[str, Any]:
    low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    digest = hashlib.blake2b(repr(images.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(images, "<f4"))
    return {
        "source": opened.source,
        "images_in_source": len(opened),
        "images_used": len(images),
        "size": list(images.shape[1:]),
        "pixel_scale": pixel_scale(str(opened.scaling)),
        "threshold": threshold,
        "empty_images": int((high == 0).sum()),
        "constant_images": int(((high == low) & (high > 0)).sum()),
        **brightness(images),
        "largest_pixel": float(high.max()),
        "fingerprint": opened.fingerprint,
        "hash_of_used": digest.hexdigest(),
        "checkpoint_step": _checkpoint_step(opened.source),
    }


def brightness(images: np.ndarray) -> dict[str, Any]:
    """Return what tells the scale of ``[N, H, W]`` images and a cut of faint pixels.

    Shares are of the pixels above zero, `lit_pixels`; numbers are None if there are none.
    """
    peaks = images.max(axis=(1, 2))
    lit = images[images > 0]
    count = max(lit.size, 1)
    shares = {
        "lit_pixels_up_to_4": (lit <= FAINT).sum() / count,
        "lit_pixels_5_to_8": ((lit > FAINT) & (lit <= 2 * FAINT)).sum() / count,
        "lit_pixels_up_to_half": (lit <= 0.5).sum() / count,
        "saturated_lit_pixels": (lit >= _SATURATED).sum() / count,
    }
    facts: dict[str, Any] = {name: float(share) for name, share in shares.items()}
    return facts | {
        "lit_pixels": int(lit.size),
        "bright_lit_pixel": float(np.quantile(lit, _BRIGHT)) if lit.size else None,
        "median_peak": float(np.median(peaks[peaks > 0])) if lit.size else None,
    }


def pixel_scale(scaling: str) -> str:
    """Return how a set came to 0..255; numbers of different ways cannot be compared."""
    return PIXEL_SCALE if scaling == "none" else f"{PIXEL_SCALE} by {scaling}"


def _checkpoint_step(source: str) -> int | None:
    """Return the training step of samples with their recipe beside them."""
    path = Path(source.partition("::")[0]).expanduser()
    recipe = (path if path.is_dir() else path.parent) / "recipe.json"
    if not recipe.is_file():
        return None
    try:
        step = read_object(recipe, fix="").get("checkpoint_step")
    except ValueError:
        return None  # not one of ours
    return step if isinstance(step, int) else None
