"""The metrics ``physics/``: observables of real and generated images, by chi2 and distances."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2 as chi2_distribution

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair, TooFewImagesError
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import FEWEST, Metric, Result, join_notes, sizes_note, skipped
from evaluation.metrics.observables import OBSERVABLES, Observable
from evaluation.metrics.resampling import Tested, histogram_tests, line_tests, sum_tests

STATISTICS = {
    "chi2_paper": "chi2 of arXiv:2307.13687, generated counts scaled to the real ones, whose "
    "counts are the variances; p by permutation",
    "chi2_two_sample": "chi2 with the errors of both sets, neighbouring bins merged until 5 "
    "entries of the smaller set are expected; p from its distribution",
    "ks": "two-sample Kolmogorov-Smirnov distance of unbinned values; p by permutation",
    "w1": "1-D Wasserstein distance of unbinned values, in their unit; p by permutation",
}
_CORRELATION = (
    "root mean square difference of the elements of the correlation matrices of all observables "
    "but the angle; p by permutation"
)
_LEAST_EXPECTED = 5  # entries, for the chi2 to follow its distribution


def observable_rows(name: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare one observable by every statistic, on all images and on the paper's class."""
    rows = _class_rows("all", name, pair, budget, seed)
    kind = OBSERVABLES[name].of_class
    if kind is None:
        return rows
    chosen = pair.of_class(kind)
    first = f"physics/{kind}/{name}/{next(iter(STATISTICS))}"
    if chosen is None:
        return [*rows, skipped(first, f"no {kind}: {MISSING}")]
    try:
        return rows + _class_rows(kind, name, chosen, budget, seed)
    except TooFewImagesError as error:  # all images together are not given up for it
        return [*rows, skipped(first, str(error))]


def correlation_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Compare the correlation matrices of the observables."""
    names = [name for name in OBSERVABLES if name != "angle_deg"]

    def test(real: ImageSet, generated: ImageSet, permutations: int) -> Tested:
        columns = [np.concatenate([real.table[name], generated.table[name]]) for name in names]
        pooled = np.stack(columns, axis=1)
        spread = pooled.std(axis=0)
        scaled = (pooled - pooled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        features = np.concatenate([scaled, products(scaled)], axis=1)
        return sum_tests(
            lambda: iter([features]),
            (len(real), len(generated)),
            {"rms": correlation_difference},
            seed=seed,
            permutations=permutations,
            halves=budget.splits,
        )["rms"]

    pair.require(FEWEST)
    tested = test(pair.real, pair.generated, budget.permutations)
    floor = test(*pair.floor, 1).value
    return [tested_row("physics/all/correlation", tested, floor, pair)]


def value_rows(
    path: str,
    pair: Pair,
    column: Callable[[ImageSet], np.ndarray],
    edges: np.ndarray,
    budget: Budget,
    seed: int,
) -> list[Result]:
    """Return one row for each statistic of a number that each image has.

    The first parts of their ids are ``path``. ``column`` gives the numbers ``[n]`` of a set, NaN
    where they are not defined; the chi2 are of bins between ``edges``.
    """
    pair.require(FEWEST)
    values, floors = (
        _tests(path, *map(column, sets), edges, seed=seed, permutations=permutations, splits=splits)
        for sets, permutations, splits in (
            ((pair.real, pair.generated), budget.permutations, budget.splits),
            (pair.floor, 1, 2),
        )
    )
    return [
        tested_row(f"{path}/{name}", tested, floors[0][name].value, pair, values[1])
        for name, tested in values[0].items()
    ]


def value_definitions(path: str, meaning: str, edges: np.ndarray) -> dict[str, str]:
    """Return the definition of each row of `value_rows`."""
    bins = f"{len(edges) - 1} bins from {edges[0]:g} to {edges[-1]:g}, outliers in the outermost"
    return {
        f"{path}/{name}": f"{meaning}; {text}" + f"; {bins}" * name.startswith("chi2")
        for name, text in STATISTICS.items()
    }


def tested_row(metric: str, tested: Tested, floor: float, pair: Pair, note: str = "") -> Result:
    """Return a row of a statistic that was tested."""
    return Result(
        metric,
        tested.value,
        tested.stderr,
        floor,
        tested.p,
        n=min(len(pair.real), len(pair.generated)),
        note=join_notes(sizes_note(pair), note),
    )


def tested_rows(
    pair: Pair, test: Callable[..., dict[str, Tested]], seed: int, permutations: int, halves: int
) -> list[Result]:
    """Return a row of each statistic that ``test(real, generated, ...)`` returns by its id."""
    pair.require(FEWEST)
    values = test(pair.real, pair.generated, seed=seed, permutations=permutations, halves=halves)
    floors = test(*pair.floor, seed=seed, permutations=1, halves=2)
    return [
        tested_row(metric, tested, floors[metric].value, pair) for metric, tested in values.items()
    ]


def _class_rows(kind: str, name: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    edges = OBSERVABLES[name].edges
    return value_rows(
        f"physics/{kind}/{name}", pair, lambda image_set: image_set.table[name], edges, budget, seed
    )


def _definitions(name: str, observable: Observable) -> dict[str, str]:
    kinds = {"all": "all images"}
    if observable.of_class:
        kinds[observable.of_class] = f"SSNet {observable.of_class}"
    texts = {}
    for kind, images in kinds.items():
        meaning = f"{observable.meaning}, of {images}"
        texts |= value_definitions(f"physics/{kind}/{name}", meaning, observable.edges)
    return texts


def _tests(
    path: str,
    real: np.ndarray,
    generated: np.ndarray,
    edges: np.ndarray,
    *,
    seed: int,
    permutations: int,
    splits: int,
) -> tuple[dict[str, Tested], str]:
    """Return every statistic of two samples, and a note on values left out."""
    values = [real, generated]
    defined = [v[np.isfinite(v)] for v in values]
    if min(map(len, defined)) < FEWEST:
        counts = " and ".join(str(len(d)) for d in defined)
        raise TooFewImagesError(f"{path} is defined in {counts} images, {FEWEST} are needed")
    missing = [len(v) - len(d) for v, d in zip(values, defined, strict=True)]
    note = f"undefined in {missing[0]} real and {missing[1]} generated images" * any(missing)
    a, b = (paper_histogram(d, edges) for d in defined)
    options = {"seed": seed, "permutations": permutations}
    ks, w1 = line_tests(*defined, **options, halves=splits)
    merged = _merge(a, b)
    two_sample = histogram_tests(two_sample_chi2, *merged, seed=seed, permutations=1)
    p = chi2_two_sample(*merged).p if len(merged[0]) > 1 else 1.0
    tested = {
        "chi2_paper": histogram_tests(chi2_paper, a, b, **options),
        "chi2_two_sample": Tested(two_sample.value, two_sample.stderr, p),
        "ks": ks,
        "w1": w1,
    }
    bins = f"{len(merged[0])} merged bins"
    return tested, join_notes(bins, note)


@dataclass(frozen=True)
class HistogramTest:
    """A chi2 between two histograms and the probability of a larger one in equal samples."""

    chi2: float
    degrees_of_freedom: int
    p: float


def paper_histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count values between edges ``[k + 1]``: ``[k]``. The outermost bins take those outside.

    Raises:
        ValueError: if a value is NaN.
    """
    values = np.asarray(values, np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {values.size} values are NaN: drop them")
    return np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)[0]


def chi2_paper(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the chi2 of arXiv:2307.13687, Table 1, between two histograms ``[k]`` of equal bins.

    ``other``, of the generated images, is scaled to the size of ``reference``, whose counts are
    also the variances; bins empty in the reference are left out and the errors of ``other``
    ignored. For samples of one distribution it is therefore near
    ``bins * (1 + sum(reference) / sum(other))``.
    """
    expected, counts = _histograms(reference, other)
    used = expected > 0
    scaled = counts * expected.sum() / counts.sum()
    return float((((scaled - expected) ** 2)[used] / expected[used]).sum())


def chi2_two_sample(a: np.ndarray, b: np.ndarray) -> HistogramTest:
    """Test two histograms ``[k]`` of equal bins for one common shape, with the errors of both."""
    a, b = _histograms(a, b)
    value, degrees = two_sample_chi2(a, b), int((a + b > 0).sum()) - 1
    return HistogramTest(value, degrees, float(chi2_distribution.sf(value, degrees)))


def two_sample_chi2(a: np.ndarray, b: np.ndarray) -> float:
    """Return the chi2 between two histograms ``[k]`` of equal bins, with the errors of both."""
    ratio, used = np.sqrt(b.sum() / a.sum()), a + b > 0
    return float(((ratio * a - b / ratio)[used] ** 2 / (a + b)[used]).sum())


def _merge(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge neighbouring bins until 5 entries of the smaller of two equal sets are expected."""
    total = np.cumsum(a + b)
    least = _LEAST_EXPECTED * total[-1] / min(a.sum(), b.sum())
    ends, last = [], 0
    for place, below in enumerate(total):
        if below - last >= least and total[-1] - below >= least:
            ends.append(place + 1)
            last = below
    return tuple(np.add.reduceat(h, [0, *ends]) for h in (a, b))


def _histograms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two histograms as floats, or say why they cannot be compared."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.sum() == 0 or b.sum() == 0:
        raise ValueError(
            f"cannot compare histograms of {a.shape} bins with {a.sum():.0f} entries and "
            f"{b.shape} bins with {b.sum():.0f}: bins must agree and neither may be empty"
        )
    return a, b


def products(columns: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of columns ``[n, k]``: ``[n, k * k]``."""
    return (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)


def correlation_difference(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    """Return the rms difference off the diagonal of the correlation matrices of two samples.

    ``a`` holds the sums over ``n_a`` images of k columns and of their `products`, ``[k + k * k]``,
    and ``b`` those over ``n_b`` others.
    """
    first, second = _correlation(a / n_a), _correlation(b / n_b)
    apart = ~np.eye(len(first), dtype=bool)
    return float(np.sqrt(((first - second)[apart] ** 2).mean()))


def _correlation(moments: np.ndarray) -> np.ndarray:
    """Return the correlation matrix from means and mean products; 0 for constant columns."""
    count = int((np.sqrt(1 + 4 * len(moments)) - 1) / 2)
    mean, product = moments[:count], moments[count:].reshape(count, count)
    covariance = product - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(spread > 1e-9, spread, np.inf)
    return covariance / np.outer(scale, scale)


METRICS = (
    *(
        Metric(
            f"physics/{name}",
            functools.partial(observable_rows, name),
            _definitions(name, observable),
            needs="labels" if observable.of_class else "",
        )
        for name, observable in OBSERVABLES.items()
    ),
    Metric("physics/correlation", correlation_rows, {"physics/all/correlation": _CORRELATION}),
)
