"""Area under the ROC curve of a classifier's scores, with its error and its probability."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

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
    """Return the variance of the AUC, with these ties, if both samples have one distribution."""
    n, m = len(low), len(high)
    _, ties = np.unique(np.concatenate([low, high]), return_counts=True)
    lost = (ties.astype(np.float64) ** 3 - ties).sum() / ((n + m) * (n + m - 1))
    return float((n + m + 1 - lost) / (12 * n * m))


def of_folds(scores: np.ndarray, is_high: np.ndarray, fold: np.ndarray) -> Auc:
    """Return the AUC of held-out scores, computed within each fold and averaged over the folds.

    Of each image there are the score, whether it is of the second sample (``is_high``), where
    scores should be larger, and the fold in which it was held out: ``[N]`` each.

    Scores of different folds come from different classifiers and are not compared. If the samples
    are equal, the AUC of each fold has the variance of the Wilcoxon-Mann-Whitney test. But the
    folds are not independent: two images are training and test image of each other. For a
    classifier that sums a symmetric kernel over the training images, this doubles the variance of
    the mean for any number of folds above one (Nadeau and Bengio 2003 find about the same). For
    boosted trees and the small network the factor was measured as 1.6 to 1.8. p comes from a normal
    distribution of the doubled variance, so it is a little too large rather than too small.
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
