"""Observables of real images against generated ones: the paper's chi2, proper tests, distances."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair, TooFewImagesError
from evaluation.metrics import histograms
from evaluation.metrics.observables import EDGES, MEANINGS
from evaluation.metrics.result import Result, skipped
from evaluation.metrics.two_samples import Tested, histogram_tests, line_tests, sum_tests

STATISTICS = MappingProxyType(
    {
        "chi2_paper": "chi2 of arXiv:2307.13687, generated counts scaled to the real ones, whose "
        "counts are the variances; p by permutation",
        "chi2_two_sample": "chi2 with the errors of both sets, neighbouring bins merged until 5 "
        "entries of the smaller set are expected; p from its distribution",
        "ks": "two-sample Kolmogorov-Smirnov distance of unbinned values; p by permutation",
        "w1": "1-D Wasserstein distance of unbinned values, in their unit; p by permutation",
    }
)
CORRELATION = (
    "root mean square difference of the elements of the correlation matrices of all observables "
    "but the angle; p by permutation"
)
# What the paper measures on SSNet's track and shower images only.
_CLASSES = {"track_length_px": "tracks", "track_width_px": "tracks", "charge": "showers"}
_FEWEST = 20
_LEAST_EXPECTED = 5  # entries, for the chi2 to follow its distribution


def observable_rows(
    name: str, pair: Pair, *, seed: int, permutations: int, splits: int
) -> list[Result]:
    """Compare one observable by every statistic, on all images and on the paper's class."""
    options = {"seed": seed, "permutations": permutations, "splits": splits}
    rows = _of_kind("all", name, pair, options)
    kind = _CLASSES.get(name)
    chosen = pair.of_class(kind) if kind else None
    if chosen is not None:
        try:
            rows += _of_kind(kind, name, chosen, options)
        except TooFewImagesError as error:  # all images together are not given up for it
            rows.append(skipped(f"physics/{kind}/{name}/chi2_paper", str(error)))
    elif kind:
        rows.append(skipped(f"physics/{kind}/{name}/chi2_paper", f"no {kind}: {MISSING}"))
    return rows


def correlation_rows(pair: Pair, *, seed: int, permutations: int, splits: int) -> list[Result]:
    """Compare the correlation matrices of the observables."""
    names = [name for name in EDGES if name != "angle_deg"]

    def test(real: ImageSet, generated: ImageSet, count: int) -> Tested:
        pooled = np.concatenate([_columns(one, names) for one in (real, generated)])
        spread = pooled.std(axis=0)
        scaled = (pooled - pooled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        features = np.concatenate([scaled, _products(scaled)], axis=1)
        return sum_tests(
            lambda: iter([features]),
            (len(real), len(generated)),
            {"rms": _correlation_difference},
            seed=seed,
            permutations=count,
            halves=splits,
        )["rms"]

    for one in (pair.real, pair.generated, *pair.floor):
        one.require(_FEWEST)
    found = test(pair.real, pair.generated, permutations)
    floor = test(*pair.floor, 1).value
    return [_row("physics/all/correlation", found, floor, pair, "")]


def definition(metric: str) -> str:
    """Say what a row ``physics/...`` is."""
    _, kind, *rest = metric.split("/")
    if rest == ["correlation"]:
        return CORRELATION
    name, statistic = rest
    images = "all images" if kind == "all" else f"SSNet {kind}"
    return f"{MEANINGS[name]}, of {images}; {STATISTICS[statistic]}{binned(statistic, EDGES[name])}"


def value_rows(
    path: str,
    pair: Pair,
    column: Callable[[ImageSet], np.ndarray],
    edges: np.ndarray,
    *,
    seed: int,
    permutations: int,
    splits: int,
) -> list[Result]:
    """Return one row a statistic of a number that each image has.

    Args:
        path: first parts of the ids.
        pair: the sets.
        column: gives the numbers ``[n]`` of a set; NaN where they are not defined.
        edges: of the bins of the chi2.
        seed: of the permutations and halves.
        permutations: for p.
        splits: random halves, for the error.
    """
    for one in (pair.real, pair.generated, *pair.floor):
        one.require(_FEWEST)
    sets = (pair.real, pair.generated)
    options = {"seed": seed, "permutations": permutations, "splits": splits}
    found, note = _tests(path, *(column(one) for one in sets), edges, **options)
    quick = options | {"permutations": 1, "splits": 2}
    floors, _ = _tests(path, *(column(one) for one in pair.floor), edges, **quick)
    return [
        _row(f"{path}/{statistic}", found[statistic], floors[statistic].value, pair, note)
        for statistic in STATISTICS
    ]


def _of_kind(kind: str, name: str, pair: Pair, options: dict[str, int]) -> list[Result]:
    path = f"physics/{kind}/{name}"
    return value_rows(path, pair, lambda one: one.table[name], EDGES[name], **options)


def binned(statistic: str, edges: np.ndarray) -> str:
    """Return the last words of a definition: the bins, for a statistic that has any."""
    bins = f"{len(edges) - 1} bins from {edges[0]:g} to {edges[-1]:g}, outliers in the outermost"
    return f"; {bins}" if statistic.startswith("chi2") else ""


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
    if min(map(len, defined)) < _FEWEST:
        counts = " and ".join(str(len(d)) for d in defined)
        raise TooFewImagesError(f"{path} is defined in {counts} images, {_FEWEST} are needed")
    missing = [len(v) - len(d) for v, d in zip(values, defined, strict=True)]
    note = f"undefined in {missing[0]} real and {missing[1]} generated images" * any(missing)
    a, b = (histograms.paper_histogram(d, edges) for d in defined)
    options = {"seed": seed, "permutations": permutations}
    ks, w1 = line_tests(*defined, **options, halves=splits)
    merged = _merge(a, b)
    two_sample = histogram_tests(_chi2_two_sample, *merged, seed=seed, permutations=1)
    p = histograms.chi2_two_sample(*merged).p if len(merged[0]) > 1 else 1.0
    found = {
        "chi2_paper": histogram_tests(histograms.chi2_paper, a, b, **options),
        "chi2_two_sample": Tested(two_sample.value, two_sample.stderr, p),
        "ks": ks,
        "w1": w1,
    }
    bins = f"{len(merged[0])} merged bins"
    return found, "; ".join(filter(None, [bins, note]))


def _chi2_two_sample(a: np.ndarray, b: np.ndarray) -> float:
    return histograms.chi2_two_sample(a, b).chi2


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


def _row(metric: str, found: Tested, floor: float, pair: Pair, note: str) -> Result:
    sizes = f"{len(pair.real)} real, {len(pair.generated)} generated"
    origin = f"floor from {len(pair.floor[0])} and {len(pair.floor[1])} {pair.floor_from}"
    return Result(
        metric=metric,
        value=found.value,
        stderr=found.stderr,
        floor=floor,
        p=found.p,
        n=min(len(pair.real), len(pair.generated)),
        note="; ".join(filter(None, [sizes, origin, note])),
    )


def _columns(one: ImageSet, names: list[str]) -> np.ndarray:
    return np.stack([one.table[name] for name in names], axis=1)


def _products(columns: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of columns, ``[n, k * k]``."""
    return (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)


def _correlation_difference(a: np.ndarray, n_a: float, b: np.ndarray, n_b: float) -> float:
    """Return the rms difference off the diagonal of two correlation matrices, given as sums."""
    first, second = _correlation(a / n_a), _correlation(b / n_b)
    apart = ~np.eye(len(first), dtype=bool)
    return float(np.sqrt(((first - second)[apart] ** 2).mean()))


def _correlation(moments: np.ndarray) -> np.ndarray:
    """Return the correlation matrix from means and mean products; a constant one has none, 0."""
    count = int((np.sqrt(1 + 4 * len(moments)) - 1) / 2)
    mean, product = moments[:count], moments[count:].reshape(count, count)
    covariance = product - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(spread > 1e-9, spread, np.inf)
    return covariance / np.outer(scale, scale)
