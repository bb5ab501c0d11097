"""The metrics ``ssnet/``: track fraction, votes, pixels and certainties that SSNet finds."""

import functools
from collections.abc import Iterator

import numpy as np
from scipy.stats import fisher_exact

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import FEWEST, Metric, Result, sizes_note, skipped
from evaluation.metrics.observables import Observable
from evaluation.metrics.physics import tested_rows, two_sample_chi2, value_definitions, value_rows
from evaluation.metrics.resampling import Statistic, Tested, sum_tests
from evaluation.ssnet.network import CLASSES
from evaluation.ssnet.scores import MOST_PIXELS, PIXEL_BINS, SCORE_BINS

# Numbers of each image; the bins are those of arXiv:2307.13687, Fig. 7.
_PIXEL_EDGES = np.linspace(0.0, MOST_PIXELS, PIXEL_BINS + 1)
SCORE_EDGES = np.linspace(0.0, 1.0, SCORE_BINS + 1)
COUNTS = {
    "track_pixels": Observable(
        "lit pixels of an image that SSNet takes for track", "track pixels", _PIXEL_EDGES
    ),
    "shower_pixels": Observable(
        "lit pixels of an image that SSNet takes for shower", "shower pixels", _PIXEL_EDGES
    ),
    "num_track": Observable(
        "votes for track among all pixels of an image", "votes for track (all pixels)", _PIXEL_EDGES
    ),
    "num_shower": Observable(
        "votes for shower among all pixels of an image",
        "votes for shower (all pixels)",
        _PIXEL_EDGES,
    ),
    "certainty": Observable(
        "mean over the lit pixels of an image of SSNet's largest score",
        "mean certainty of the lit pixels",
        SCORE_EDGES,
    ),
}
_BLOCK = 4096


def fraction_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare the fractions of track images (arXiv:2307.13687, Table 2), by both rules."""
    columns = {"ssnet/track_fraction": "is_track", "ssnet/track_fraction_lit": "is_track_lit"}
    return [
        _fraction(metric, pair, column) if _has(pair, column) else skipped(metric, MISSING)
        for metric, column in columns.items()
    ]


def count_rows(name: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare a number that SSNet gives each image, by the statistics of the observables."""
    path = f"ssnet/{name}"
    if not _has(pair, name):
        return [skipped(f"{path}/chi2_paper", MISSING)]

    def column(images: ImageSet) -> np.ndarray:
        return images.segments.table[name].astype(np.float64)

    return value_rows(path, pair, column, COUNTS[name].edges, budget, seed)


def score_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare the scores of lit pixels for each class (the paper's certainties, Fig. 7)."""
    if not _has(pair, "scores"):
        reason = f"{MISSING}; labels.h5 does not keep them, so leave --labels_ out"
        return [skipped(f"ssnet/scores/{CLASSES[0]}/chi2", reason)]
    return tested_rows(pair, _score_tests, seed, budget.permutations, budget.splits)


def _has(pair: Pair, column: str) -> bool:
    """Return whether all four sets have a column."""
    sets = (pair.real, pair.generated, *pair.floor)
    return all(
        image_set.segments is not None and column in image_set.segments.table for image_set in sets
    )


def _fraction(metric: str, pair: Pair, column: str) -> Result:
    pair.require(FEWEST)
    sets = (pair.real, pair.generated, *pair.floor)
    counts = [(int(images.segments.table[column].sum()), len(images)) for images in sets]
    shares = [tracks / n for tracks, n in counts]
    errors = [np.sqrt(p * (1 - p) / n) for p, (_, n) in zip(shares, counts, strict=True)]
    texts = [f"{100 * tracks / n:.1f} %" for tracks, n in counts]
    return Result(
        metric,
        shares[1] - shares[0],
        float(np.hypot(*errors[:2])),
        shares[3] - shares[2],
        float(fisher_exact([[tracks, n - tracks] for tracks, n in counts[:2]]).pvalue),
        n=min(len(pair.real), len(pair.generated)),
        note=f"tracks: {texts[0]} of real, {texts[1]} of generated images; {sizes_note(pair)}",
    )


def _score_tests(real: ImageSet, generated: ImageSet, **options: int) -> dict[str, Tested]:
    """Return every statistic of every class by its id."""
    sets = (real, generated)

    def blocks() -> Iterator[np.ndarray]:
        for image_set in sets:
            counts = image_set.segments.table["scores"].reshape(len(image_set), -1)
            for start in range(0, len(image_set), _BLOCK):
                yield counts[start : start + _BLOCK]

    statistics = {
        f"ssnet/scores/{name}/{statistic}": functools.partial(_of_class, place, compare)
        for place, name in enumerate(CLASSES)
        for statistic, (compare, _) in _COMPARISONS.items()
    }
    return sum_tests(blocks, (len(real), len(generated)), statistics, **options)


def _of_class(
    place: int, compare: Statistic, a: np.ndarray, n_a: float, b: np.ndarray, n_b: float
) -> float:
    """Compare the counts of one class of two summed tables; 0 if one has no lit pixel."""
    first, second = (sums.reshape(len(CLASSES), SCORE_BINS)[place] for sums in (a, b))
    return compare(first, second) if first.any() and second.any() else 0.0


def _ks(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.cumsum(a / a.sum() - b / b.sum())).max())


def _w1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.cumsum(a / a.sum() - b / b.sum())).sum() / SCORE_BINS)


# By the last part of the id: the statistic of two summed histograms, and what it is.
_COMPARISONS = {
    "chi2": (two_sample_chi2, "chi2 with Poisson errors of both sets"),
    "ks": (_ks, "largest difference of the cumulated fractions"),
    "w1": (_w1, "1-D Wasserstein distance of the bins' centres"),
}

METRICS = (
    Metric(
        "ssnet/track_fraction",
        fraction_rows,
        {
            "ssnet/track_fraction": "fraction of track images, by the paper's rule (votes of all "
            "pixels), of the generated set minus that of the real one; binomial error; p by "
            "Fisher's exact test",
            "ssnet/track_fraction_lit": "the same by the votes of lit pixels only",
        },
        needs="labels",
    ),
    *(
        Metric(
            f"ssnet/{name}",
            functools.partial(count_rows, name),
            value_definitions(f"ssnet/{name}", count.meaning, count.edges),
            needs="labels",
        )
        for name, count in COUNTS.items()
    ),
    Metric(
        "ssnet/scores",
        score_rows,
        {
            f"ssnet/scores/{name}/{statistic}": f"SSNet's score for {name} of each lit pixel, "
            f"{SCORE_BINS} bins from 0 to 1: {meaning}; p by permutation of images, whose pixels "
            "belong together"
            for name in CLASSES
            for statistic, (_, meaning) in _COMPARISONS.items()
        },
        needs="labels",
    ),
)
