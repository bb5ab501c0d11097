"""Like is compared with like: bins of momentum, weights of the real images, halves, re-drawings.

What is asked of generated images is the user's choice, and the simulation has its own momenta. Each
number is therefore taken kind by kind in bins of momentum, and in a bin the real images are
weighted so that the shares of three classes of direction (how much of the momentum lies in the
plane of the image) are those of the generated images. If both sets show the same, weights are one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.conditional.sets import ConditionedSet

BINS = 10  # of momentum, of each kind, with equal numbers of real images
FEWEST = 20  # images of either set in a bin
RESAMPLINGS = 200
SPLITS = 10  # of the real images, for the floor
IN_PLANE = (0.5, 0.8)  # between the classes of direction


@dataclass(frozen=True, eq=False)
class Compared:
    """A real and a generated set that are compared, image by image with their weights.

    Attributes:
        real: ``n`` images.
        generated: ``m`` images, all with real ones that are like them.
        real_weights: ``[R, n]``; row 0 as they are, the others with the images drawn again.
        generated_weights: ``[R, m]``.
    """

    real: ConditionedSet
    generated: ConditionedSet
    real_weights: np.ndarray
    generated_weights: np.ndarray


def momentum_bins(
    real: ConditionedSet, generated: list[ConditionedSet], kinds: list[str]
) -> dict[str, np.ndarray]:
    """Return the edges of the bins of each kind, :data:`BINS` or fewer if there are few images.

    A bin has twice as many images as it needs, on average over the set that has the fewest.
    """
    edges = {}
    for kind in kinds:
        size = real.size[(real.particle == kind) & ~real.beyond]
        counts = [((images.particle == kind) & ~images.beyond).sum() for images in generated]
        fewest = min([len(size), *(count for count in counts if count)])
        fitting = min(BINS, max(fewest // (2 * FEWEST), 1))
        if len(size) >= FEWEST:
            edges[kind] = np.quantile(size, np.linspace(0.0, 1.0, fitting + 1))
    return edges


def bin_of(images: ConditionedSet, edges: dict[str, np.ndarray]) -> np.ndarray:
    """Return the bin ``[n]`` of each image among those of its kind; -1 outside."""
    place = np.full(len(images), -1)
    for kind, ends in edges.items():
        own = images.particle == kind
        # The last bin has its upper edge.
        bins = np.searchsorted(ends[:-1], images.size[own], side="right") - 1
        place[own] = np.where(images.size[own] <= ends[-1] * (1 + 1e-6), bins, -1)
    return place


def compared(
    real: ConditionedSet,
    generated: ConditionedSet,
    edges: dict[str, np.ndarray],
    *,
    seed: int,
    resamplings: int = RESAMPLINGS,
) -> Compared:
    """Return the images of both sets that lie in the bins, with weights.

    Images without others of their kind, bin and class of direction in the other set are left out.
    """
    cells = [_cell(images, edges) for images in (real, generated)]
    kept = cells[1] >= 0
    kept &= np.isin(cells[1], cells[0])
    generated, cell = generated.take(kept), cells[1][kept]
    used = (cells[0] >= 0) & np.isin(cells[0], cell)
    real, of_real = real.take(used), cells[0][used]
    number = max(of_real.max(initial=0), cell.max(initial=0)) + 1
    counts = [np.bincount(of, minlength=number) for of in (of_real, cell)]
    weight = (counts[1] / np.maximum(counts[0], 1))[of_real]
    rng = np.random.default_rng([seed, 5])
    drawn = _redrawn(real.event, resamplings, rng)
    # What both sets show image by image is drawn again together: it makes no difference of them.
    together = _row_by_row(real, generated)
    again = drawn if together else _redrawn(generated.event, resamplings, rng)
    return Compared(real, generated, weight * drawn, again.astype(np.float64))


def splits(
    real: ConditionedSet, size: int, *, seed: int, count: int = SPLITS
) -> Iterator[tuple[ConditionedSet, ConditionedSet]]:
    """Yield pairs of disjoint parts of the real images, which differ by chance alone.

    The second part stands for the generated images and has ``size`` of them, at most half.
    """
    events, of = np.unique(real.event, return_inverse=True)
    images = np.bincount(of)
    size = min(size, len(real) // 2)
    for k in range(count):
        order = np.random.default_rng([seed, 6, k]).permutation(len(events))
        second = np.zeros(len(events), bool)
        second[order[np.cumsum(images[order]) <= size]] = True
        marks = second[of]
        yield real.take(~marks), real.take(marks)


def coverage(real: ConditionedSet, generated: ConditionedSet, edges: dict) -> tuple[float, float]:
    """Return the shares of real and of generated images that have none like them on the other side.

    Generated images beyond the training are left out, and kinds that nobody asked for count.
    """
    cells = [_cell(images, edges) for images in (real, generated)]
    alone = [~np.isin(own, other) | (own < 0) for own, other in (cells, reversed(cells))]
    return tuple(
        float(marks[~images.beyond].mean()) if (~images.beyond).any() else 0.0
        for marks, images in zip(alone, (real, generated), strict=True)
    )


def _cell(images: ConditionedSet, edges: dict[str, np.ndarray]) -> np.ndarray:
    """Number ``[n]`` kind, bin and class of direction of each image; -1 for none."""
    place = bin_of(images, edges)
    kind = np.zeros(len(images), np.int64)
    for number, name in enumerate(edges):
        kind[images.particle == name] = number
    bins = max((len(ends) for ends in edges.values()), default=1)
    classes = len(IN_PLANE) + 1
    cell = (kind * bins + place) * classes + np.digitize(images.in_plane, IN_PLANE)
    return np.where((place < 0) | images.beyond, -1, cell)


def _row_by_row(real: ConditionedSet, generated: ConditionedSet) -> bool:
    """Tell whether image i shows the same in both sets."""
    return np.array_equal(real.particle, generated.particle) and np.array_equal(
        real.momentum.astype(np.float32), generated.momentum.astype(np.float32)
    )


def _redrawn(event: np.ndarray, resamplings: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each image is there ``[1 + resamplings, n]``: once, then at random.

    Images of one event are drawn together.
    """
    if not len(event):
        return np.ones((1 + resamplings, 0), np.int64)
    _, of = np.unique(event, return_inverse=True)
    count = of.max() + 1
    drawn = [np.ones(count, np.int64)]
    drawn += [rng.multinomial(count, np.full(count, 1 / count)) for _ in range(resamplings)]
    return np.array(drawn)[:, of]
