"""Classifier tests in one table: real against generated, AUC by training size, train and test."""

import functools
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.classifier import (
    Auc,
    Fit,
    HeldOut,
    attribute,
    fit_trees,
    held_out_scores,
    transferred,
)
from evaluation.metrics.observables import EDGES
from evaluation.metrics.result import Result, join_notes, skipped
from evaluation.metrics.small_cnn import fit_cnn

Rows = Callable[[Pair, Budget, int], list[Result]]

FOLDS = MappingProxyType({"trees": 5, "cnn": 2})  # a network costs seconds, trees do not
# Training images of either set; those of the network begin above the small budget's.
SIZES: dict[str, tuple[int, ...]] = {
    "trees": (250, 500, 1_000, 2_500, 5_000, 10_000, 25_000),
    "cnn": (1_000, 5_000, 25_000),
}
FITS: dict[str, Fit] = {"trees": fit_trees, "cnn": fit_cnn}
_SEES = MappingProxyType(
    {"trees": "gradient-boosted trees on the observables", "cnn": "small CNN on pixels"}
)
_FEWEST = 50
_FEWEST_OF_CLASS = 20
_P = "p from the normal theory of ranks within folds, its variance doubled for what folds share"

DEFINITIONS = MappingProxyType(
    {
        **{
            f"classifier/{kind}": f"AUC of real against generated images by {_SEES[kind]}, "
            f"{FOLDS[kind]} folds of which one is tested and the others are trained on; 0.5 for "
            f"equal sets; {_P}"
            for kind in FOLDS
        },
        **{
            f"classifier/{kind}@{size}": f"classifier/{kind} with {size} training images of "
            "either set" + ", on the first fold" * (kind == "cnn")
            for kind in FOLDS
            for size in SIZES[kind]
        },
        **{
            f"classifier/tstr/{kind}": f"share of SSNet's track or shower labels of real images "
            f"that {_SEES[kind]} find, trained on generated images and theirs; floor: trained on "
            "other real images"
            for kind in FOLDS
        },
        **{
            f"classifier/multi/{kind}": f"mean probability of this generator for real images by "
            f"{_SEES[kind]}, trained to tell the generators apart, {FOLDS[kind]} folds; floor: "
            "one over their number"
            for kind in FOLDS
        },
    }
)


def held_out(
    kind: str, real: ImageSet, generated: ImageSet, *, seed: int, **options: int
) -> HeldOut:
    """Score images by a classifier that has not seen them; ``kind`` is ``trees`` or ``cnn``.

    Args:
        kind: of classifier.
        real: a set with observables.
        generated: another.
        seed: of folds and training.
        options: of :func:`held_out_scores`.

    Raises:
        TooFewImagesError: under 50 images of either set.
    """
    for one in (real, generated):
        one.require(_FEWEST)
    fit = FITS[kind]
    inputs = [_inputs(kind, one) for one in (real, generated)]
    return held_out_scores(fit, *inputs, folds=FOLDS[kind], seed=seed, **options)


def size_rows(kind: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the AUC of a classifier, and that of smaller training sets, each with its floor.

    Of the network's smaller training sets one fold only is tested: each takes seconds to minutes.
    """
    del budget
    equal = pair.equal_sizes(seed=seed)
    largest = len(equal.real) * (FOLDS[kind] - 1) // FOLDS[kind]
    sizes = [size for size in SIZES[kind] if size < largest]
    options = {"tested": 1} if kind == "cnn" else {}
    rows = [_auc_row(f"classifier/{kind}", kind, equal, seed)]
    for size in sizes:
        metric = f"classifier/{kind}@{size}"
        rows.append(_auc_row(metric, kind, equal, seed, size=size, **options))
    return rows


def transfer_rows(kind: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return how well a track/shower classifier of generated images does on real ones (SARM)."""
    del budget
    metric = f"classifier/tstr/{kind}"
    if any(one.is_track is None for one in (pair.real, pair.generated, *pair.floor)):
        return [skipped(metric, MISSING)]
    equal = pair.equal_sizes(seed=seed)
    for one in (equal.real, equal.generated, equal.floor[1]):
        for chosen in (one.is_track, ~one.is_track):
            one.take(np.flatnonzero(chosen)).require(_FEWEST_OF_CLASS)
    shares = []
    for trained in (equal.generated, equal.floor[1]):
        sets = ((_inputs(kind, one), one.is_track) for one in (trained, equal.real))
        shares.append(float(transferred(FITS[kind], *sets, seed=seed).mean()))
    commoner = max(equal.real.is_track.mean(), 1.0 - equal.real.is_track.mean())
    value, floor = shares
    note = f"floor: trained on {pair.floor_from}; the commoner class alone gives {commoner:.3f}"
    count = len(equal.real)
    stderr = float(np.sqrt(value * (1.0 - value) / count))
    return [Result(metric, value, stderr, floor=floor, n=count, note=note)]


def multi_rows(
    kind: str, real: ImageSet, generated: list[ImageSet], *, seed: int
) -> dict[str, Result]:
    """Return, by name, how much real images look like each of several generators.

    Args:
        kind: of classifier, ``trees`` or ``cnn``.
        real: a set with observables; not trained on.
        generated: two sets or more.
        seed: of folds and training.

    Raises:
        TooFewImagesError: under 50 images of a set.
        ValueError: with fewer than two generators.
    """
    for one in (real, *generated):
        one.require(_FEWEST)
    inputs = [_inputs(kind, one) for one in generated]
    found = attribute(FITS[kind], _inputs(kind, real), inputs, folds=FOLDS[kind], seed=seed)
    count = min(len(one) for one in (real, *generated))
    rows = {}
    for place, one in enumerate(generated):
        note = f"its own held-out images: {found.held_out[place, place]:.3f}"
        value, stderr = float(found.real[place]), float(found.stderr[place])
        rows[one.name] = Result(
            f"classifier/multi/{kind}",
            value,
            stderr,
            floor=1.0 / len(generated),
            n=count,
            note=note,
        )
    return rows


def _auc_row(metric: str, kind: str, equal: Pair, seed: int, **options: int) -> Result:
    """Return the AUC of a pair and that of its floor."""
    found = held_out(kind, equal.real, equal.generated, seed=seed, **options).auc()
    floor = held_out(kind, *equal.floor, seed=seed, **options).auc()
    return Result(
        metric,
        found.value,
        found.stderr,
        floor=floor.value,
        p=found.p,
        n=len(equal.real),
        note=join_notes(_spread(found), f"floor from {equal.floor_from}, at equal size"),
    )


def _spread(found: Auc) -> str:
    spread = "" if found.fold_stderr is None else f", {found.fold_stderr:.2g} from the folds"
    return f"error by DeLong{spread}"


def _inputs(kind: str, one: ImageSet) -> np.ndarray:
    """Return what a classifier sees: observables ``[n, d]`` or images ``[n, H, W]``."""
    if kind == "cnn":
        return one.images
    return np.stack([one.table[name] for name in EDGES], axis=1)


CLASSIFIER_METRICS: dict[str, Rows] = {
    **{f"classifier/{kind}": functools.partial(size_rows, kind) for kind in FITS},
    **{f"classifier/tstr/{kind}": functools.partial(transfer_rows, kind) for kind in FITS},
}
