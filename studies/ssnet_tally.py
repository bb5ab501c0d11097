"""What SSNet makes of labelled images, counted image by image: the material of its study."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from evaluation.ssnet.data import open_labelled
from evaluation.ssnet.rules import count_votes
from evaluation.ssnet.scores import ScoreFn, Scores, blocks
from sgm_jax.data import from_array
from sgm_jax.data.images import evenly_spaced
from sgm_jax.simulation.truth import PixelClass, fold_to_ssnet

ALL_PIXELS, LIT_PIXELS = RULES = ("all pixels", "lit pixels")
CALIBRATION_BINS = 20
BATCH_SIZE = 32
_CODES, _CLASSES = len(PixelClass), 3


@dataclass(frozen=True)
class Labelled:
    """Simulated images and what is true of them, ``n`` images."""

    images: np.ndarray  # [n, H, W] on 0..255
    codes: np.ndarray  # [n, H, W] PixelClass
    event: np.ndarray  # [n] equal for the projections of one event
    kind: np.ndarray  # [n] ParticleKind
    kinetic_mev: np.ndarray  # [n] of the particle
    start_px: np.ndarray  # [n, 2] row and column of its start; may lie outside

    def window(self, height: int, width: int) -> "Labelled":
        """Return what a smaller window in the middle of each image shows.

        Raises:
            ValueError: if it is larger than the images.
        """
        top, left = (np.subtract(self.codes.shape[1:], (height, width)) // 2).tolist()
        if top < 0 or left < 0:
            raise ValueError(
                f"no window of {height}x{width} in images of {self.codes.shape[1]}x"
                f"{self.codes.shape[2]}: make it smaller or the images larger"
            )
        rows, columns = slice(top, top + height), slice(left, left + width)
        return Labelled(
            self.images[:, rows, columns],
            self.codes[:, rows, columns],
            self.event,
            self.kind,
            self.kinetic_mev,
            self.start_px - np.float32((top, left)),
        )


@dataclass(frozen=True)
class Tally:
    """Counts of ``n`` images, by which they can be split and summed."""

    event: np.ndarray  # [n]
    kind: np.ndarray  # [n]
    kinetic_mev: np.ndarray  # [n]
    starts_inside: np.ndarray  # [n] bool, the particle starts within the image
    track_extent_px: np.ndarray  # [n] longer side of the box around all track pixels
    extent_px: np.ndarray  # [n] and around all lit pixels
    pixels: np.ndarray  # [n, 5, 3] lit pixels by PixelClass and by class of largest score
    votes: np.ndarray  # [n, 2, 2] by rule: for track, for shower
    calibration: np.ndarray  # [n, 3, bins] lit pixels, right ones, sum of largest scores

    def __len__(self) -> int:
        return len(self.event)

    def take(self, chosen: np.ndarray) -> "Tally":
        """Return some of the images."""
        return Tally(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def of_code(self) -> np.ndarray:
        """Lit pixels by PixelClass, ``[n, 5]``."""
        return self.pixels.sum(axis=2)

    @property
    def lit(self) -> np.ndarray:
        """Lit pixels, ``[n]``."""
        return self.pixels.sum(axis=(1, 2))

    @property
    def by_class(self) -> np.ndarray:
        """Lit pixels by true and by found class, ``[n, 3, 3]``: Michels and deltas are showers."""
        folded = np.zeros((len(self), _CLASSES, _CLASSES), np.int64)
        for code in PixelClass:
            folded[:, fold_to_ssnet(np.array(code))] += self.pixels[:, code]
        return folded

    @property
    def is_track(self) -> np.ndarray:
        """Tell which images are tracks by truth: most lit pixels are, ``[n]``."""
        return 2 * self.of_code[:, PixelClass.TRACK] > self.lit

    def called_track(self, rule: str) -> np.ndarray:
        """Tell which images the network takes for tracks by one of ``RULES``, ``[n]``."""
        track, shower = self.votes[:, RULES.index(rule)].T
        return track > shower

    def fails(self, rule: str) -> np.ndarray:
        """Tell which images get the wrong label, ``[n]``."""
        return self.called_track(rule) != self.is_track


@dataclass(frozen=True)
class Found:
    """What the network says of each pixel, ``n`` images."""

    prediction: np.ndarray  # [n, H, W] class of largest score
    certainty: np.ndarray  # [n, H, W] that score


def read_labelled(images: str, labels: Path, *, split: str, count: int) -> Labelled:
    """Read up to ``count`` evenly spaced simulated images and their truth.

    Raises:
        FileNotFoundError: if either is not there.
        ValueError: if they do not belong together.
    """
    if not Path(labels).is_file():
        raise FileNotFoundError(f"no label file {labels}; it is written beside simulated images")
    with h5py.File(labels) as file:
        if split not in file:
            raise ValueError(f"{labels} has no group {split}, only {', '.join(file)}")
        side = file[split]["pixel_label"].shape[1]
    checked = open_labelled(images, str(labels), split=split, image_size=side)
    rows = evenly_spaced(len(checked.images), count)
    with h5py.File(labels) as file:
        truth = {
            name: file[split][name][:][rows]
            for name in ("pixel_label", "event_id", "particle", "kinetic_mev", "start_px")
        }
    return Labelled(checked.images[rows][..., 0], *truth.values())


def tally(data: Labelled, score: ScoreFn) -> tuple[Tally, Found]:
    """Run the network over images and count; see :class:`Tally`."""
    counted, prediction, certainty = [], [], []
    for rows, found in scored(data.images, score):
        codes = data.codes[rows]
        prediction.append(found.scores.argmax(axis=-1).astype(np.uint8))
        certainty.append(found.scores.max(axis=-1).astype(np.float16))
        counted.append(_count(found.scores, codes))
    pixels, votes, calibration = (np.concatenate(part) for part in zip(*counted, strict=True))
    inside = (data.start_px >= 0) & (data.start_px < data.codes.shape[1:])
    table = Tally(
        event=data.event,
        kind=data.kind,
        kinetic_mev=data.kinetic_mev,
        starts_inside=inside.all(axis=1),
        track_extent_px=longer_side(data.codes == PixelClass.TRACK),
        extent_px=longer_side(data.codes > 0),
        pixels=pixels,
        votes=votes,
        calibration=calibration,
    )
    return table, Found(np.concatenate(prediction), np.concatenate(certainty))


def scored(
    images: np.ndarray, score: ScoreFn, *, batch_size: int = BATCH_SIZE
) -> Iterator[tuple[slice, Scores]]:
    """Yield rows and scores of images ``[n, H, W]`` on 0..255, in order."""
    opened = from_array(images, num_channels=1, image_size=None)
    return blocks(opened, score, batch_size=batch_size)


def votes_of(scores: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Return votes for track and for shower by each of ``RULES``, ``[n, 2, 2]``."""
    counts = [count_votes(scores, among) for among in (None, lit)]
    return np.stack([np.stack([c.num_track, c.num_shower], axis=1) for c in counts], axis=1)


def longer_side(marked: np.ndarray) -> np.ndarray:
    """Return the longer side of the box around the marked pixels of ``[n, H, W]``."""
    sides = []
    for axis in (1, 2):
        seen = marked.any(axis=axis)
        first, last = seen.argmax(axis=1), seen[:, ::-1].argmax(axis=1)
        sides.append(np.where(seen.any(axis=1), seen.shape[1] - first - last, 0))
    return np.maximum(*sides)


def _count(scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels, votes and calibration of a block, as in :class:`Tally`."""
    count, lit = len(codes), codes > 0
    image = np.broadcast_to(np.arange(count)[:, None, None], codes.shape)[lit]
    guess, best = scores.argmax(axis=-1)[lit], scores.max(axis=-1)[lit]
    cell = (image * _CODES + codes[lit]) * _CLASSES + guess
    pixels = np.bincount(cell, minlength=count * _CODES * _CLASSES)
    right = guess == fold_to_ssnet(codes[lit])
    place = np.minimum((best * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    calibration = [
        np.bincount(
            image * CALIBRATION_BINS + place, weight, minlength=count * CALIBRATION_BINS
        ).reshape(count, CALIBRATION_BINS)
        for weight in (None, right, best)
    ]
    shaped = pixels.reshape(count, _CODES, _CLASSES)
    return shaped, votes_of(scores, lit), np.stack(calibration, axis=1)
