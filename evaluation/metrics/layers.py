"""The metrics ``layers/``: rows and columns of pixels as the layers of a detector.

What L2LFlows (arXiv:2302.11594) shows of calorimeter showers: the energy of every layer, how the
energies of two layers go together, and the centre of gravity against the energy of all. Tracks may
lie along a row, so columns are measured as well.
"""

import functools
from dataclasses import dataclass

import numpy as np

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import FEWEST, Metric, Result
from evaluation.metrics.physics import correlation_difference, products, tested_row
from evaluation.metrics.resampling import Statistic, Tested, sum_tests

# Axis of images [N, H, W] that is summed over.
AXES = {"rows": 2, "columns": 1}
MOST = 32  # layers; those of a larger image are taken together
BINS = 10  # of the charge of an image, with equal numbers of images

_TEXTS = {
    "charge": "root mean square over {layers} of the difference of the mean charges, in units of "
    "the mean charge of a layer",
    "correlation": "root mean square difference of the elements of the correlation matrices of the "
    "charges of {layers}",
    "centre": "centre of gravity across {layers}, in pixels: root mean square over tenths of the "
    "charge of an image of the difference of its means",
    "centre_spread": "root mean square over the same tenths of the difference of its standard "
    "deviations, in pixels",
}


@dataclass(frozen=True)
class Centres:
    """Centre of gravity in bins of the charge of an image: ``[BINS]`` each, NaN in an empty bin."""

    charge: np.ndarray  # mean of the bin
    mean: np.ndarray  # in pixels from the middle
    spread: np.ndarray
    count: np.ndarray


def layer_charges(images: np.ndarray, axis: int) -> np.ndarray:
    """Return the charge ``[N, L]`` of the layers of images ``[N, H, W]``, summed over ``axis``.

    Up to 32 layers are lines of pixels; in a larger image several lines are one.
    """
    lines = images.sum(axis=axis, dtype=np.float64)
    together = -(-lines.shape[1] // MOST)
    return np.add.reduceat(lines, np.arange(0, lines.shape[1], together), axis=1)


def centres_of_gravity(images: np.ndarray, axis: int) -> np.ndarray:
    """Return where the charge of each image lies, in pixels from the middle; NaN if it has none."""
    lines = images.sum(axis=axis, dtype=np.float64)
    place = np.arange(lines.shape[1]) - (lines.shape[1] - 1) / 2
    total = lines.sum(axis=1)
    return np.divide(lines @ place, total, out=np.full(len(lines), np.nan), where=total > 0)


def charge_edges(*sets: np.ndarray) -> np.ndarray:
    """Return ``[BINS - 1]`` charges that divide the images of all sets ``[N, H, W]`` equally."""
    charges = np.concatenate([images.sum(axis=(1, 2), dtype=np.float64) for images in sets])
    return np.quantile(charges, np.linspace(0, 1, BINS + 1)[1:-1])


def centres_by_charge(images: np.ndarray, axis: int, edges: np.ndarray) -> Centres:
    """Return the centres of gravity of images ``[N, H, W]`` in bins of charge between ``edges``."""
    sums = _in_bins(images, axis, edges).sum(axis=0)
    charge = images.sum(axis=(1, 2), dtype=np.float64)
    lit = charge > 0
    total = np.bincount(np.searchsorted(edges, charge[lit], side="right"), charge[lit], BINS)
    count, mean, spread = _moments(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Centres(total / count, mean, spread, count)


def rows_of(name: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the rows of the layers called ``name``, ``"rows"`` or ``"columns"``."""
    pair.require(FEWEST)
    values = _tests(name, pair.real, pair.generated, seed, budget.permutations, budget.splits)
    floors = _tests(name, *pair.floor, seed, 1, 2)
    return [
        tested_row(f"layers/{name}/{of}", tested, floors[of].value, pair)
        for of, tested in values.items()
    ]


def _tests(
    name: str, real: ImageSet, generated: ImageSet, seed: int, permutations: int, halves: int
) -> dict[str, Tested]:
    """Return every statistic of two sets; all follow from sums over the images of a set."""
    axis, sets = AXES[name], (real.images, generated.images)
    edges = charge_edges(*sets)
    layers = np.concatenate([layer_charges(images, axis) for images in sets])
    # Sums of squares keep their digits if the numbers are small and around zero.
    scaled = (layers - layers.mean(axis=0)) / max(layers.mean(), 1e-9)
    pairs = products(scaled)
    binned = np.concatenate([_in_bins(images, axis, edges) for images in sets])
    count = layers.shape[1]
    parts = np.cumsum([count, pairs.shape[1]])
    features = np.concatenate([scaled, pairs, binned], axis=1)

    def of_layers(statistic: Statistic) -> Statistic:
        return lambda a, n, b, m: statistic(a[: parts[1]], n, b[: parts[1]], m)

    def of_bins(moment: int) -> Statistic:
        return lambda a, n, b, m: _rms_of_bins(a[parts[1] :], b[parts[1] :], moment)

    return sum_tests(
        lambda: iter([features]),
        (len(real), len(generated)),
        {
            "charge": of_layers(functools.partial(_rms_of_means, count)),
            "correlation": of_layers(correlation_difference),
            "centre": of_bins(1),
            "centre_spread": of_bins(2),
        },
        seed=seed,
        permutations=permutations,
        halves=halves,
    )


def _in_bins(images: np.ndarray, axis: int, edges: np.ndarray) -> np.ndarray:
    """Return features ``[N, BINS * 3]``: in the bin of an image 1, its centre, and its square."""
    charge = images.sum(axis=(1, 2), dtype=np.float64)
    lit = np.flatnonzero(charge > 0)
    centre = centres_of_gravity(images[lit], axis)
    features = np.zeros((len(images), BINS, 3))
    powers = np.stack([np.ones(len(lit)), centre, centre**2], axis=1)
    features[lit, np.searchsorted(edges, charge[lit], side="right")] = powers
    return features.reshape(len(images), -1)


def _moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of sums ``[bins * 3]`` the images, mean and standard deviation of each bin."""
    count, first, second = sums.reshape(-1, 3).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        return count, mean, np.sqrt(np.maximum(second / count - mean**2, 0.0))


def _rms_of_means(layers: int, a: np.ndarray, n: float, b: np.ndarray, m: float) -> float:
    return float(np.sqrt(((a[:layers] / n - b[:layers] / m) ** 2).mean()))


def _rms_of_bins(a: np.ndarray, b: np.ndarray, moment: int) -> float:
    """Return how far a moment of the centres is apart, over bins with two images of either set.

    If no bin has them, because all images of one set are brighter, all bins are taken together.
    """
    first, second = _moments(a), _moments(b)
    used = np.minimum(first[0], second[0]) >= 2
    if not used.any():
        first, second = (_moments(sums.reshape(-1, 3).sum(axis=0)) for sums in (a, b))
        used = np.array([True])
    return float(np.sqrt(((first[moment] - second[moment])[used] ** 2).mean()))


def _definitions(name: str) -> dict[str, str]:
    layers = f"{name} of pixels (up to {MOST}; in larger images several together)"
    return {
        f"layers/{name}/{of}": text.format(layers=layers) + "; p by permutation"
        for of, text in _TEXTS.items()
    }


METRICS = tuple(
    Metric(f"layers/{name}", functools.partial(rows_of, name), _definitions(name)) for name in AXES
)
