"""The paper's rules for SSNet's scores: image labels, pixel counts, histograms.

arXiv:2307.13687 and its scripts (``run_ssnet.py``, ``FillScoreHist.cxx``). Scores are softmax
values capped at ``SCORE_CAP``, ``[B, H, W, 3]``.
"""

from typing import NamedTuple

import numpy as np

from evaluation.ssnet.network import BACKGROUND, CLASSES, SHOWER, TRACK

# Charge above which a pixel is lit, on the scale 0..255; compared as float32.
LIT_ABOVE = np.float32(0.2)
SCORE_BINS, PIXEL_BINS, MOST_PIXELS = 50, 25, 500


class ImageCounts(NamedTuple):
    """Votes of the pixels of each image, int32 ``[B]``; a pixel votes for track or for shower."""

    num_track: np.ndarray
    num_shower: np.ndarray

    @property
    def is_track(self) -> np.ndarray:
        """Return which images are track images. Without a majority an image is a shower."""
        return self.num_track > self.num_shower


def count_votes(scores: np.ndarray, among: np.ndarray | None = None) -> ImageCounts:
    """Count the pixels that look more like track or shower than like background.

    Args:
        scores: capped scores.
        among: bool ``[B, H, W]``, the pixels that count. Default: all, lit or not, as in the paper.
    """
    background, shower, track = (scores[..., k] for k in (BACKGROUND, SHOWER, TRACK))
    candidate = (shower > background) | (track > background)
    if among is not None:
        candidate &= among
    votes = (candidate & (track > shower), candidate & (track <= shower))
    return ImageCounts(*(vote.sum(axis=(1, 2), dtype=np.int32) for vote in votes))


def lit(images: np.ndarray) -> np.ndarray:
    """Tell which pixels of ``[B, H, W, 1]`` are lit, ``[B, H, W]``."""
    return images[..., 0].astype(np.float32) > LIT_ABOVE


class Histograms:
    """The paper's histograms, summed over images; ``arrays`` holds them as plain arrays.

    ``score_above_threshold [3, 52]``: score of each class in each lit pixel.
    ``score_of_winner [3, 52]``: score of the winning class; unlit pixels are background at 0.999.
    ``pixels_per_image [3, 27]``: number of lit pixels of an image that each class wins.

    The first and last bin of each are under- and overflow.
    """

    def __init__(self) -> None:
        """Start empty."""
        scores, pixels = (len(CLASSES), SCORE_BINS + 2), (len(CLASSES), PIXEL_BINS + 2)
        self.arrays = {
            "score_above_threshold": np.zeros(scores, np.int64),
            "score_of_winner": np.zeros(scores, np.int64),
            "pixels_per_image": np.zeros(pixels, np.int64),
        }

    def add(self, scores: np.ndarray, is_lit: np.ndarray) -> np.ndarray:
        """Add images; return how many lit pixels each class wins in each, ``[B, 3]``.

        Args:
            scores: capped scores, float32.
            is_lit: which pixels are above threshold, ``[B, H, W]``.
        """
        winner = np.where(is_lit, scores.argmax(axis=-1), BACKGROUND)
        best = np.where(is_lit, scores.max(axis=-1), np.float32(0.999))
        pixels = np.stack(
            [((winner == k) & is_lit).sum(axis=(1, 2)) for k in range(len(CLASSES))], axis=1
        )
        for k in range(len(CLASSES)):
            self._fill("score_above_threshold", k, scores[..., k][is_lit], top=1)
            self._fill("score_of_winner", k, best[winner == k], top=1)
            self._fill("pixels_per_image", k, pixels[:, k], top=MOST_PIXELS)
        return pixels

    def _fill(self, name: str, row: int, values: np.ndarray, *, top: int) -> None:
        table = self.arrays[name]
        bins = table.shape[1] - 2
        place = 1 + np.floor(values.astype(np.float64) * bins / top).astype(np.int64)
        table[row] += np.bincount(np.clip(place, 0, bins + 1), minlength=bins + 2)
