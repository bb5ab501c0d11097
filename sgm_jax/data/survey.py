"""What a set of images holds, in counts: is it what its owner believes it is?

Nothing here is an error. A set that is empty for nine tenths, that saturates or that has a pedestal
can be trained on; but a network then learns the blanks, the flat tops or the noise.
"""

import dataclasses
import hashlib
import logging
import math
from collections.abc import Iterator

import numpy as np

from sgm_jax.data.images import Images, evenly_spaced
from sgm_jax.data.scaling import FIXED, NONE, PER_IMAGE, QUANTILE, flag, quantile_rank

_LOGGER = logging.getLogger(__name__)
# A set with more is judged by evenly spaced images that have so many in all: 65,536 of 64x64.
MOST_PIXELS = 2**28
# arXiv:2307.13687 sets pixels of generated images up to this to 0.
FAINT = 4
# More lit pixels than this share of an image are a background: of the busiest simulated images a
# quarter is lit, and of noise around zero one half.
BACKGROUND = 1 / 3
# The largest pixel of an image owns its scale if it is so many times the second largest.
HOT = 5
# What is said in a warning: images above this share, lit pixels at 255 without need, and negative
# charge. Of simulated images 0.5 % have one hot pixel, and 0.3 % of the lit pixels are at 255.
DOUBTFUL = 0.01
SATURATED = 0.02
NEGATIVE = 0.01
_BLOCK_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class Survey:
    """Counts over a set of images, as they are delivered on 0..255 unless said otherwise.

    Attributes:
        source: where the images are from.
        images: how many there are.
        surveyed: how many were counted; the counts below are of these.
        empty: images without a lit pixel; lit is above 0.
        constant: images with one value in all pixels, not 0.
        duplicates: images that are equal to an earlier one, apart from empty ones.
        background: images of which more than a third of the pixels are lit.
        level: half of the lit pixels in those are at most this.
        pedestal: the median value in those, as stored.
        noise: the standard deviation around it, as stored, estimated from the nearer half.
        one_pixel: images whose largest pixel sets their scale and is over 5 times the second.
        saturated: share of the lit pixels that are at 255.
        excess: share of the lit pixels that are at 255 and that the scaling does not put there: it
            puts one of each image ("per_image", also assumed of "none"), or the last percent.
        faint: share of the lit pixels that are at most 4, and that generated images cannot have.
        negative: share of what is stored, in absolute values, that is negative and became 0.
        unequal_channels: images whose channels differ.
        largest: the largest value that is second in its image, as stored.
        warnings: a sentence for each of these that is doubtful, with the way out as it is typed.
    """

    source: str
    images: int
    surveyed: int
    empty: int
    constant: int
    duplicates: int
    background: int
    level: float
    pedestal: float
    noise: float
    one_pixel: int
    saturated: float
    excess: float
    faint: float
    negative: float
    unequal_channels: int
    largest: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the counts in a line."""
        part = "" if self.surveyed == self.images else f", of which {self.surveyed} were looked at"
        return (
            f"{self.source}: {self.images} images{part}: {self.empty} empty, {self.constant} "
            f"constant, {self.duplicates} duplicates, {self.background} with a background, "
            f"{self.one_pixel} scaled by one pixel; of the lit pixels {self.saturated:.1%} are at "
            f"255 and {self.faint:.1%} at most {FAINT}"
        )


def survey(images: Images) -> Survey:
    """Count what may be wrong with a set of images.

    A set of more than 2^28 pixels is judged by as many evenly spaced images as have that many.
    """
    rows = evenly_spaced(len(images), max(1, MOST_PIXELS // math.prod(images.shape[1:3])))
    counts = _Counts(images)
    for block in _blocks(images, rows):
        counts.add(block)
    return counts.survey(len(rows))


def log_doubts(images: Images) -> None:
    """Log what a set holds, and what may be wrong with it."""
    counts = survey(images)
    _LOGGER.info("%s", counts)
    for doubt in counts.warnings:
        _LOGGER.warning("%s", doubt)


def _blocks(images: Images, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield stored values ``[n, H, W, c]``, contiguous rows as slices, which read faster."""
    count = max(1, _BLOCK_BYTES // (8 * math.prod(images.stored.shape[1:])))
    for start in range(0, len(rows), count):
        some = rows[start : start + count]
        whole = some[-1] - some[0] == len(some) - 1
        yield images.charge(slice(int(some[0]), int(some[-1]) + 1) if whole else some)


class _Counts:
    """Sums over blocks of images."""

    def __init__(self, images: Images):
        self._images, self._scaling = images, images.scaling
        self._seen: set[bytes] = set()
        self._empty = self._constant = self._duplicates = self._one_pixel = self._unequal = 0
        self._lit = self._full = self._excess = self._faint = 0
        self._negative = self._total = 0.0
        self._largest = 0.0
        self._backgrounds: list[np.ndarray] = []  # level, pedestal and noise of each image

    def add(self, charge: np.ndarray) -> None:
        """Count the stored values ``[n, H, W, c]`` of some images."""
        if charge.shape[-1] > 1:
            self._unequal += np.count_nonzero((charge != charge[..., :1]).any(axis=(1, 2, 3)))
        # Scales of an image are those of all its channels, whichever is delivered.
        self._count_scales(charge.max(axis=-1))
        scaled, channel = self._scaling.apply(charge), self._images.channel
        if channel is not None:
            scaled, charge = scaled[..., channel], charge[..., channel]
        scaled, charge = scaled.reshape(len(scaled), -1), charge.reshape(len(charge), -1)
        lit = np.count_nonzero(scaled > 0, axis=1)
        self._count_images(scaled, charge, lit)
        self._count_pixels(scaled, charge, lit)
        background = lit > BACKGROUND * scaled.shape[1]
        if background.any():
            self._backgrounds.append(_backgrounds(scaled[background], charge[background]))

    def _count_images(self, scaled: np.ndarray, charge: np.ndarray, lit: np.ndarray) -> None:
        constant = (charge == charge[:, :1]).all(axis=1)
        self._empty += np.count_nonzero(lit == 0)
        self._constant += np.count_nonzero(constant & (lit > 0))
        for image in scaled[lit > 0]:
            digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()
            self._duplicates += digest in self._seen
            self._seen.add(digest)

    def _count_scales(self, charge: np.ndarray) -> None:
        flat = charge.reshape(len(charge), -1)
        second, first = np.sort(flat, axis=1)[:, -2:].T.astype(np.float64)
        self._largest = max(self._largest, float(second.max()))
        if self._scaling.kind in (NONE, PER_IMAGE):
            self._one_pixel += np.count_nonzero((second > 0) & (first > HOT * second))

    def _count_pixels(self, scaled: np.ndarray, charge: np.ndarray, lit: np.ndarray) -> None:
        full = np.count_nonzero(scaled >= 255, axis=1)
        self._lit += int(lit.sum())
        self._full += int(full.sum())
        self._excess += int(np.maximum(full - self._at_full(lit), 0).sum())
        self._faint += np.count_nonzero((scaled > 0) & (scaled <= FAINT))
        if charge.dtype.kind in "if":
            wide = charge.astype(np.float64)
            with np.errstate(over="ignore"):
                self._negative -= float(np.minimum(wide, 0).sum())
                self._total += float(np.abs(wide).sum())

    def _at_full(self, lit: np.ndarray) -> np.ndarray | int:
        """Return how many pixels of images with so many lit ones the scaling puts at 255."""
        if self._scaling.kind == QUANTILE:
            return quantile_rank(lit if self._images.channel is None else 3 * lit)
        if self._scaling.kind == FIXED:
            return 0
        return 1 if self._images.channel is not None else self._images.stored_channels

    def survey(self, surveyed: int) -> Survey:
        """Return what was counted."""
        background = np.concatenate([*self._backgrounds, np.zeros((0, 3))])
        level, pedestal, noise = np.median(background, axis=0) if len(background) else (0, 0, 0)
        lit = max(self._lit, 1)
        counted = Survey(
            source=self._images.source,
            images=len(self._images),
            surveyed=surveyed,
            empty=self._empty,
            constant=self._constant,
            duplicates=self._duplicates,
            background=len(background),
            level=float(level),
            pedestal=float(pedestal),
            noise=float(noise),
            one_pixel=self._one_pixel,
            saturated=self._full / lit,
            excess=self._excess / lit,
            faint=self._faint / lit,
            negative=self._negative / self._total if self._total else 0.0,
            unequal_channels=self._unequal,
            largest=self._largest,
        )
        return dataclasses.replace(counted, warnings=tuple(_warnings(counted, self._images)))


def _backgrounds(scaled: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Return the median lit pixel, the stored median and the noise of images, ``[n, 3]``."""
    level = np.nanmedian(np.where(scaled > 0, scaled, np.nan), axis=1)
    pedestal = np.median(charge, axis=1)
    # Of normal noise half is within 0.6745 standard deviations.
    noise = np.median(np.abs(charge - pedestal[:, None]), axis=1) / 0.6745
    return np.stack([level, pedestal, noise], axis=1)


def _warnings(counts: Survey, images: Images) -> Iterator[str]:
    """Yield what is doubtful, with the way out."""
    kind, of = images.scaling.kind, f"of {counts.surveyed} images of {counts.source}"
    if counts.empty > DOUBTFUL * counts.surveyed:
        yield (
            f"{counts.empty} {of} are empty: a network learns to draw blanks. If the set was not "
            "written to its end, write it again; otherwise keep images[images.any(axis=(1, 2))]"
        )
    if counts.constant:
        yield f"{counts.constant} {of} have one value in all pixels; leave them out"
    if counts.duplicates:
        yield (
            f"{counts.duplicates} {of} are copies of others; keep one of each, "
            "numpy.unique(images, axis=0)"
        )
    if counts.background > DOUBTFUL * counts.surveyed:
        steps = []
        if counts.pedestal:
            steps.append(f"images = images.astype('float32') - {counts.pedestal:.6g}")
        if counts.noise:
            steps.append(f"images[images < {4 * counts.noise:.3g}] = 0")
        fix = f"Subtract the pedestal and cut the noise: {'; '.join(steps)}"
        yield (
            f"{counts.background} {of} have a background that is not 0: over a third of their "
            f"pixels are lit, half of those at more than {counts.level:.3g} of 255. "
            f"{fix if steps else 'Make what is no charge 0'}"
        )
    if counts.one_pixel > DOUBTFUL * counts.surveyed:
        yield (
            f"the scale of {counts.one_pixel} {of} rests on one pixel, more than {HOT} times the "
            f"second largest; {_give(QUANTILE, images)}"
        )
    if counts.excess > SATURATED:
        fix = {
            NONE: f"store the charge before it is cut, and {_give(QUANTILE, images)}",
            FIXED: _give(f"fixed:{counts.largest:.6g}", images),
        }
        yield (
            f"{counts.saturated:.0%} of the lit pixels of {counts.source} are at 255, where "
            f"charges cannot be told apart; {fix.get(kind, 'store the charge before it saturates')}"
        )
    if counts.faint > 1 / 2:
        fix = {
            NONE: f"if these are absolute charges, {_give(PER_IMAGE, images)}",
            PER_IMAGE: _give(QUANTILE, images),
            FIXED: _give(f"fixed:{counts.largest:.6g}", images),
        }
        yield (
            f"{counts.faint:.0%} of the lit pixels of {counts.source} are at most {FAINT} of 255, "
            f"which generated images cannot be; {fix.get(kind, 'cut the noise to 0')}"
        )
    if counts.negative > NEGATIVE:
        yield (
            f"{counts.negative:.0%} of the charge of {counts.source} is negative and becomes 0; if "
            "the signal is negative store -images, if it is both numpy.abs(images)"
        )
    planes = images.stored_channels == 3 and images.channel is None
    if planes and not counts.unequal_channels:
        yield (
            f"the three planes of all {counts.surveyed} images of {counts.source} are equal; give "
            "--config.data.planes=False"
        )


def _give(scaling: str, images: Images) -> str:
    """Return how to ask for another scaling."""
    return f"give {flag(scaling)} in place of {images.scaling}"
