"""The metrics ``looking/``: mean and standard deviation of each pixel, and intensities."""

from collections.abc import Iterator

import numpy as np

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Metric, Result
from evaluation.metrics.physics import tested_rows
from evaluation.metrics.resampling import Tested, sum_tests

_BLOCK = 512
_LEVELS = 256


def image_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare mean images, images of standard deviations and the intensities of lit pixels."""
    return tested_rows(pair, _tests, seed, budget.image_permutations, budget.splits)


def moments(image_set: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean image and the image of standard deviations, ``[H, W]``."""
    shape = image_set.images.shape[1:]
    total = sum(
        np.stack([block.sum(axis=0), (block**2).sum(axis=0)])
        for block in _flat_blocks((image_set,))
    )
    mean, square = total / len(image_set)
    return mean.reshape(shape), np.sqrt(np.maximum(square - mean**2, 0.0)).reshape(shape)


def intensities(image_set: ImageSet) -> np.ndarray:
    """Count the values of the pixels of each image, rounded to whole numbers: ``[n, 256]``."""
    return np.concatenate(list(_spectrum_blocks((image_set,)))).astype(np.int32)


def _tests(real: ImageSet, generated: ImageSet, **options: int) -> dict[str, Tested]:
    sets, counts = (real, generated), (len(real), len(generated))
    pixels = {"looking/mean_image": _mean_difference, "looking/std_image": _std_difference}
    tested = sum_tests(lambda: _moment_blocks(sets), counts, pixels, **options)
    spectrum = {
        "looking/intensity_w1": _intensity_w1,
        "looking/intensity_triangle": _intensity_triangle,
    }
    return tested | sum_tests(lambda: _spectrum_blocks(sets), counts, spectrum, **options)


def _flat_blocks(sets: tuple[ImageSet, ...]) -> Iterator[np.ndarray]:
    for image_set in sets:
        for start in range(0, len(image_set), _BLOCK):
            block = image_set.images[start : start + _BLOCK]
            yield block.reshape(len(block), -1).astype(np.float64)


def _moment_blocks(sets: tuple[ImageSet, ...]) -> Iterator[np.ndarray]:
    """Yield pixels and their squares, ``[k, 2 * H * W]``."""
    for block in _flat_blocks(sets):
        yield np.concatenate([block, block**2], axis=1)


def _spectrum_blocks(sets: tuple[ImageSet, ...]) -> Iterator[np.ndarray]:
    """Yield how many pixels of each image have each value, ``[k, 256]``."""
    for block in _flat_blocks(sets):
        level = np.rint(block).astype(np.int64) + _LEVELS * np.arange(len(block))[:, None]
        counts = np.bincount(level.ravel(), minlength=_LEVELS * len(block))
        yield counts.reshape(len(block), _LEVELS).astype(np.float64)


def _mean_difference(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    first, second = (half[: len(half) // 2] for half in (a / n_a, b / n_b))
    return _relative(first, second)


def _std_difference(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    first, second = (np.split(sums, 2) for sums in (a / n_a, b / n_b))
    spread = [np.sqrt(np.maximum(square - mean**2, 0.0)) for mean, square in (first, second)]
    return _relative(*spread)


def _relative(first: np.ndarray, second: np.ndarray) -> float:
    """Return the summed difference over the sum of the first; 0 if both are 0."""
    difference = np.abs(first - second).sum()
    return float(difference / first.sum()) if difference else 0.0


def _intensity_w1(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    """Return W1 of the values 1..255; it is 255 if only one set has lit pixels."""
    lit_a, lit_b = a[1:].sum(), b[1:].sum()
    if not (lit_a and lit_b):
        return 0.0 if lit_a == lit_b else float(_LEVELS - 1)
    return float(np.abs(np.cumsum(a[1:] / lit_a - b[1:] / lit_b)).sum())


def _intensity_triangle(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    """Return the triangular discrimination of the values 1..255 of lit pixels."""
    first, second = (h[1:] / max(h[1:].sum(), 1.0) for h in (a, b))
    both = first + second
    return float(((first - second) ** 2 / np.where(both > 0, both, 1.0)).sum())


METRICS = (
    Metric(
        "looking",
        image_rows,
        {
            "looking/mean_image": "summed absolute difference of the mean images over the summed "
            "real mean image; p by permutation",
            "looking/std_image": "the same for the images of standard deviations",
            "looking/intensity_w1": "1-D Wasserstein distance of the values of lit pixels, rounded "
            "to whole numbers, in steps of 0..255; p by permutation of images",
            "looking/intensity_triangle": "sum over the values 1..255 of (f - g)^2 / (f + g), f "
            "and g their fractions among the lit pixels: 0 for equal sets, 2 for disjoint ones; p "
            "by permutation of images",
        },
    ),
)
