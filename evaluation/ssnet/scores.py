"""SSNet over any number of images, in batches of one size."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from evaluation.ssnet.network import SCORE_CAP, SSNet, Variables, apply, probabilities
from sgm_jax.data import Images
from sgm_jax.run import parallel

PUBLISHED_BATCH = 16
_BATCH_PER_DEVICE = 32


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
        scored = score(images[rows])
        yield slice(start, stop), Scores(*(part[start - stop :] for part in scored))


def _filled(images: np.ndarray, multiple: int) -> np.ndarray:
    missing = [-side % multiple for side in images.shape[1:3]]
    return np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
