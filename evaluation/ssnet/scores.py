"""SSNet over any number of images, and the paper's rules for what it says.

Image labels, pixel counts and histograms are those of arXiv:2307.13687 and its scripts
(``run_ssnet.py``, ``FillScoreHist.cxx``). Scores are softmax values capped at ``SCORE_CAP``,
``[B, H, W, 3]``.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from evaluation.ssnet.network import (
    BACKGROUND,
    CLASSES,
    SCORE_CAP,
    SHOWER,
    TRACK,
    SSNet,
    Variables,
    apply,
    probabilities,
)
from sgm_jax.data import Images
from sgm_jax.run import parallel
from sgm_jax.run.log import announced

PUBLISHED_BATCH = 16
_BATCH_PER_DEVICE = 32
# Charge above which a pixel is lit, on the scale 0..255; compared as float32.
LIT_ABOVE = np.float32(0.2)
SCORE_BINS, PIXEL_BINS, MOST_PIXELS = 50, 25, 500


class Scores(NamedTuple):
    """What the network says of a block of images, on the host."""

    scores: np.ndarray  # [n, H, W, classes] softmax, capped at 0.999
    features: np.ndarray  # [n, ceil(H / 8), ceil(W / 8), channels]

    def flat_features(self) -> np.ndarray:
        """Return the features ``[n, F]`` in the published order: channel, row, column."""
        return self.features.transpose(0, 3, 1, 2).reshape(len(self.features), -1)


ScoreFn = Callable[[np.ndarray], Scores]


def batch_size(net: SSNet) -> int:
    """Return how many images are scored together: the published number if it matters."""
    if net.normalisation == "batch_statistics":
        return PUBLISHED_BATCH
    return _BATCH_PER_DEVICE * parallel.device_count()


def score_function(net: SSNet, variables: Variables) -> ScoreFn:
    """Compile a function from images ``[n, H, W, 1]`` on 0..255 to their scores.

    Sides that are no multiple of ``2 ** num_strides`` are filled with empty pixels at the bottom
    and the right, and the scores cropped back. With running statistics the devices share a batch,
    whose size they must divide; with batch statistics it stays whole on one of them.
    """

    def score(variables: Variables, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        output = apply(net, variables, images)
        return probabilities(output.logits, cap=SCORE_CAP), output.features

    shared = net.normalisation == "running_statistics"
    mapped = parallel.batch_function(score, in_axes=(None, 0)) if shared else jax.jit(score)

    def call(images: np.ndarray) -> Scores:
        height, width = images.shape[1:3]
        images = _filled(np.asarray(images, np.float32), 2**net.num_strides)
        if shared:
            own_rows = images[parallel.local_rows(len(images))]
            scores, features = parallel.gather(mapped(variables, parallel.shard(own_rows)))
        else:
            scores, features = jax.device_get(mapped(variables, images))
        return Scores(scores[:, :height, :width], features)

    return call


def blocks(images: Images, score: ScoreFn, *, batch_size: int) -> Iterator[tuple[slice, Scores]]:
    """Yield rows and their scores for a whole set, in order.

    Every batch is full: the last rows of a set are scored together with the images before them. A
    set smaller than a batch is repeated, in whole copies if they fit, which keeps the batch
    statistics.
    """
    total = len(images)
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        rows = np.arange(stop - batch_size, stop) % total
        with announced("compiling SSNet", only=start == 0):
            scored = score(images[rows])
        yield slice(start, stop), Scores(*(part[start - stop :] for part in scored))


def _filled(images: np.ndarray, multiple: int) -> np.ndarray:
    missing = [-side % multiple for side in images.shape[1:3]]
    return np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))


class ImageCounts(NamedTuple):
    """Votes of the pixels of each image, int32 ``[B]``; a pixel votes for track or for shower."""

    num_track: np.ndarray
    num_shower: np.ndarray

    @property
    def is_track(self) -> np.ndarray:
        """Return which images are track images. Without a majority an image is a shower."""
        return self.num_track > self.num_shower


def count_votes(scores: np.ndarray, among: np.ndarray | None = None) -> ImageCounts:
    """Count the pixels of capped scores that look more like track or shower than like background.

    Only those ``among [B, H, W]`` count; by default all, lit or not, as in the paper.
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
        """Add images by their capped scores, float32, and which pixels ``[B, H, W]`` are lit.

        Return how many lit pixels each class wins in each, ``[B, 3]``.
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
