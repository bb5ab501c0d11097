"""The metrics that see images as the features of SSNet, in one table."""

import dataclasses
from types import MappingProxyType

import numpy as np

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics import fid, fidelity
from evaluation.metrics.budget import Budget
from evaluation.metrics.fid import frechet_distance
from evaluation.metrics.pixel_metrics import Metric, Rows, cut_alike, on_rows, with_origin
from evaluation.metrics.result import Result, skipped
from evaluation.metrics.subsampling import permutation_p, shuffled_labels

_COMPONENTS = 64
_NO_FEATURES = (
    f"{MISSING}; features.npy must lie beside labels.h5 (evaluation.label without --nofeatures)"
)

DEFINITIONS = MappingProxyType(
    {
        "fid/paper": "Frechet distance of SSNet features (8192 for images of 64 x 64 pixels), of "
        "10,000 images of each set or of all if fewer; mostly bias, see its floor",
        "fid/full": "the same of all images, as many as both sets have",
        "fid/infinity": "that distance extrapolated to infinitely many images, linear in 1 / n",
        f"fid/pca{_COMPONENTS}": f"Frechet distance of the {_COMPONENTS} leading principal "
        "components of the floor's second real set; p by permutation",
        "kid": "unbiased MMD^2 of SSNet features, kernel (x y / F + 1)^3; p by permutation",
        "kpd": "unbiased MMD^2 of SSNet features, kernel (x y / F + 1)^4; p by permutation",
        "precision": "fraction of generated images in the ball of a real one, to its 5th neighbour "
        "in SSNet features",
        "recall": "fraction of real images in the ball of a generated one",
        "density": "mean number of real balls around a generated image, over 5",
        "coverage": "fraction of real balls that hold a generated image",
    }
)


def read_features(one: ImageSet) -> np.ndarray:
    """Return the features ``[n, F]`` of a set that has them."""
    return one.segments.features()


def feature_rows(name: str, rows: Rows) -> Rows:
    """Make an entry of the table that is skipped, as ``name``, where features are missing."""

    def checked(pair: Pair, budget: Budget, seed: int) -> list[Result]:
        sets = (pair.real, pair.generated, *pair.floor)
        if any(one.segments is None or one.segments.stored is None for one in sets):
            return [skipped(name, _NO_FEATURES)]
        return rows(pair, budget, seed)

    return checked


def _of_fid(metric: Metric, **options: object) -> Rows:
    return on_rows(metric, read_features, floor_options={"stderr": False}, **options)


def _paper(real: np.ndarray, generated: np.ndarray, *, seed: int, stderr: bool = True) -> Result:
    return fid.fid(real, generated, seed=seed, n=fid.PAPER_IMAGES, name="fid/paper", stderr=stderr)


def _direct(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the FID as published and that of all images: one number if there are no more."""
    (paper,) = _of_fid(_paper)(pair, budget, seed)
    if paper.n < fid.PAPER_IMAGES:
        return [paper, dataclasses.replace(paper, metric="fid/full", note=with_origin("", pair))]
    return [paper, *_of_fid(fid.fid)(pair, budget, seed)]


def _pca(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the FID of few components, with a p that the one of all is too slow for."""
    equal = cut_alike(pair, _COMPONENTS + 1, seed=seed)
    sets = [read_features(one) for one in (equal.real, equal.generated, equal.floor[1])]
    # Axes of a set that is not compared prefer neither of the two, which a permutation needs.
    axes = fid.principal_axes(sets[2], _COMPONENTS)
    real, generated, other = (rows.astype(np.float64) @ axes for rows in sets)
    name = f"fid/pca{_COMPONENTS}"
    found = fid.fid(real, generated, seed=seed, name=name)
    chance = fid.fid(real, other, seed=seed, name=name, stderr=False)
    p = frechet_p(real, generated, permutations=budget.permutations, seed=seed)
    note = with_origin(f"axes of {pair.floor_from}", pair)
    return [dataclasses.replace(found.with_floor(chance), p=p, note=note)]


def frechet_p(x: np.ndarray, y: np.ndarray, *, permutations: int, seed: int) -> float:
    """Return how often sets ``[N, D]`` and ``[M, D]``, pooled and dealt anew, are as far apart."""
    pooled = np.concatenate([x, y])
    values = [
        frechet_distance(pooled[marked], pooled[~marked])
        for marked in shuffled_labels(len(x), len(y), permutations, seed=seed).T
    ]
    return permutation_p(values[0], np.array(values[1:]))


FEATURE_METRICS: dict[str, Rows] = {
    "fid/direct": feature_rows("fid/paper", _direct),
    "fid/infinity": feature_rows("fid/infinity", _of_fid(fid.fid_infinity, fewest=25)),
    "fid/pca": feature_rows(f"fid/pca{_COMPONENTS}", _pca),
    "kid": feature_rows("kid", on_rows(fidelity.kid, read_features, draws="permutations")),
    "kpd": feature_rows("kpd", on_rows(fidelity.kpd, read_features, draws="permutations")),
    "prdc": feature_rows("precision", on_rows(fidelity.prdc, read_features)),
}
