"""Classifier tests of images: two samples, which of several, and training on one for another.

Lopez-Paz and Oquab, arXiv:1610.06545 (two samples); L2LFlows, arXiv:2302.11594 (AUC against the
number of training images, several generators); SARM, arXiv:2009.14017 (train on generated images,
test on real ones).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

# Area under the ROC curve, its error and its probability: of one test sample, and of folds.

# Of the variance of a mean over folds, from what the folds have in common (see `of_folds`).
FOLD_CORRELATION = 2.0


@dataclass(frozen=True)
class Auc:
    """How well scores separate two samples: 0.5 by chance, 1 completely."""

    value: float
    stderr: float  # of the test samples, by DeLong
    p: float  # of as much or more in equal distributions
    fold_stderr: float | None = None  # from the spread among folds


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """Return the probability that of scores ``[n]`` and ``[m]`` the second is larger; ties half."""
    ranks = rankdata(np.concatenate([low, high]))[len(low) :]
    return float(ranks.mean() - (len(high) + 1) / 2) / len(low)


def delong_variance(low: np.ndarray, high: np.ndarray) -> float:
    """Return the variance of the AUC of scores ``[n]`` and ``[m]`` (DeLong et al. 1988)."""
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[len(low) :] - rankdata(high)) / len(low)  # [m], share of low below each high
    below = (ranks[: len(low)] - rankdata(low)) / len(high)
    return float(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low))


def null_variance(low: np.ndarray, high: np.ndarray) -> float:
    """Return the variance of the AUC if both samples are of one distribution, with these ties."""
    n, m = len(low), len(high)
    _, ties = np.unique(np.concatenate([low, high]), return_counts=True)
    lost = (ties.astype(np.float64) ** 3 - ties).sum() / ((n + m) * (n + m - 1))
    return float((n + m + 1 - lost) / (12 * n * m))


def of_folds(scores: np.ndarray, is_high: np.ndarray, fold: np.ndarray) -> Auc:
    """Return the AUC of held-out scores: the mean over folds, within each of which it is taken.

    Scores of different folds are of different classifiers and are not compared. Each fold's AUC has
    the variance of the Wilcoxon-Mann-Whitney test if the samples are equal, but the folds are not
    independent: what i tells of j, as training and test image, j tells of i. For a classifier that
    adds a symmetric kernel over the training images this doubles the variance of the mean, for any
    number of folds above one (Nadeau and Bengio 2003 find about as much); boosted trees and the
    small network were seen to have 1.6 to 1.8. The probability is that of a normal distribution of
    this variance: a little large rather than too small.

    Args:
        scores: ``[N]``, larger for the second sample.
        is_high: ``[N]`` bool, which are of the second sample.
        fold: ``[N]``, in which fold each was held out.
    """
    parts = [
        (scores[here & ~is_high], scores[here & is_high])
        for here in (fold == k for k in np.unique(fold))
    ]
    values = np.array([auc(*part) for part in parts])
    count = len(values)
    common = FOLD_CORRELATION if count > 1 else 1.0
    null = common * sum(null_variance(*part) for part in parts) / count**2
    value = float(values.mean())
    return Auc(
        value=value,
        stderr=float(np.sqrt(sum(delong_variance(*part) for part in parts)) / count),
        p=float(norm.sf((value - 0.5) / np.sqrt(null))) if null > 0 else 1.0,
        fold_stderr=float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else None,
    )


def roc(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of ``low`` and of ``high`` above every cut, from none to all."""
    scores = np.concatenate([low, high])
    order = np.argsort(-scores, kind="stable")
    is_high = order >= len(low)
    last = np.append(np.diff(scores[order]) != 0, True)  # of scores that are equal
    shares = [np.cumsum(marks)[last] / marks.sum() for marks in (~is_high, is_high)]
    return tuple(np.concatenate([[0.0], share]) for share in shares)


Predict = Callable[[np.ndarray], np.ndarray]  # inputs [n, ...] -> log-probabilities [n, classes]
Fit = Callable[..., Predict]  # of inputs, labels [n] from 0 on, and the seed

_TREES = {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 8, "early_stopping": False}
_LEAST = 1e-300  # probability, so that its logarithm is a number


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Scores of images that the classifier had not seen: larger looks more generated."""

    scores: np.ndarray  # [N]
    is_generated: np.ndarray  # [N] bool
    fold: np.ndarray  # [N]

    def auc(self) -> Auc:
        """Return how well the scores separate generated images from real ones."""
        return of_folds(self.scores, self.is_generated, self.fold)


@dataclass(frozen=True, eq=False)
class Attribution:
    """Which of several generators a classifier takes images for."""

    real: np.ndarray  # [K], mean probability of each generator for real images
    stderr: np.ndarray  # [K], from the spread among images and that among classifiers
    held_out: np.ndarray  # [K, K], the same for generated images: row k of those of generator k


def fit_trees(inputs: np.ndarray, labels: np.ndarray, *, seed: int) -> Predict:
    """Train gradient-boosted trees on observables ``[n, d]``, where NaN is undefined."""
    # Slow to import, and not needed by those who only look at AUCs.
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(random_state=seed, **_TREES).fit(inputs, labels)
    return lambda tested: np.log(np.maximum(model.predict_proba(tested), _LEAST))


def fold_of(count: int, folds: int, seed: int) -> np.ndarray:
    """Return a random fold for each of ``count`` images, in equal shares.

    Two sets of one length get the same, so that a set against itself is at exactly 0.5: were an
    image held out while its copy is trained on as the other kind, its score would be wrong.
    """
    return np.random.default_rng(seed).permutation(count) % folds


def held_out_scores(
    fit: Fit,
    real: np.ndarray,
    generated: np.ndarray,
    *,
    folds: int,
    seed: int,
    size: int | None = None,
    tested: int | None = None,
) -> HeldOut:
    """Score the images of every fold by a classifier trained on the others.

    Args:
        fit: trains it.
        real: inputs ``[n, ...]``.
        generated: inputs ``[m, ...]``.
        folds: parts of both sets, at least two.
        seed: of the folds and of the training.
        size: training images of either set; None takes all of the other folds.
        tested: folds to hold out in turn; None takes all of them.
    """
    placed = [(one, fold_of(len(one), folds, seed)) for one in (real, generated)]
    parts = []
    for k in range(folds if tested is None else tested):
        trained = [one[_some(place != k, size, [seed, k])] for one, place in placed]
        predict = fit(np.concatenate(trained), _labels(trained), seed=seed + k)
        held = [one[place == k] for one, place in placed]
        logs = predict(np.concatenate(held))
        is_generated = _labels(held).astype(bool)
        parts.append((logs[:, 1] - logs[:, 0], is_generated, np.full(len(logs), k)))
    return HeldOut(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def attribute(
    fit: Fit, real: np.ndarray, generated: list[np.ndarray], *, folds: int, seed: int
) -> Attribution:
    """Ask classifiers that tell generators apart which of them real images look like.

    No real image is trained on, so that the answer is relative: one of the generators must win,
    even if none is good. All are cut to the size of the smallest.

    Args:
        fit: trains a classifier.
        real: inputs ``[n, ...]``.
        generated: inputs of each of K generators, K at least 2.
        folds: of the generated images; every classifier leaves one out.
        seed: of the folds and of the training.

    Raises:
        ValueError: with fewer than two generators.
    """
    if len(generated) < 2:
        raise ValueError(f"{len(generated)} generated set; which of them needs at least 2")
    count = min(map(len, generated))
    sets = [one[_some(np.ones(len(one), bool), count, [seed, 0])] for one in generated]
    place = fold_of(count, folds, seed)
    of_real, own = [], []
    for k in range(folds):
        trained = [one[place != k] for one in sets]
        predict = fit(np.concatenate(trained), _labels(trained), seed=seed + k)
        of_real.append(np.exp(predict(real)))
        own.append([np.exp(predict(one[place == k])).mean(axis=0) for one in sets])
    of_real = np.stack(of_real)  # [folds, n, K]
    among_images = of_real.mean(axis=0).var(axis=0, ddof=1) / len(real)
    among_classifiers = of_real.mean(axis=1).var(axis=0, ddof=1) / folds
    stderr = np.sqrt(among_images + among_classifiers)
    return Attribution(of_real.mean(axis=(0, 1)), stderr, np.mean(own, axis=0))


def transferred(
    fit: Fit,
    trained: tuple[np.ndarray, np.ndarray],
    tested: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
) -> np.ndarray:
    """Train on the inputs and labels of one set; return which labels of another come out right.

    Args:
        fit: trains the classifier.
        trained: inputs ``[n, ...]`` and labels ``[n]``.
        tested: inputs ``[m, ...]`` and labels ``[m]``.
        seed: of the training.
    """
    inputs, labels = trained
    predict = fit(inputs, labels.astype(np.int64), seed=seed)
    return predict(tested[0]).argmax(axis=1) == tested[1]


def _labels(sets: list[np.ndarray]) -> np.ndarray:
    """Return the number of its set for each row."""
    return np.repeat(np.arange(len(sets)), [len(one) for one in sets])


def _some(kept: np.ndarray, size: int | None, seed: list[int]) -> np.ndarray:
    """Return the places of at most ``size`` of the marked rows, at random and in order."""
    places = np.flatnonzero(kept)
    if size is None or size >= len(places):
        return places
    return np.sort(np.random.default_rng(seed).permutation(places)[:size])
