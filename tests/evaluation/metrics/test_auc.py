import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from evaluation.metrics.auc import auc, delong_variance, null_variance, of_folds


def gaussians(distance, n, m, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(distance, size=m)


@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0])
def test_the_auc_of_two_gaussians_is_known(distance):
    low, high = gaussians(distance, 4000, 3000, seed=1)
    expected = norm.cdf(distance / np.sqrt(2))
    assert abs(auc(low, high) - expected) < 4 * np.sqrt(delong_variance(low, high))
    assert np.sqrt(delong_variance(low, high)) < 0.01


@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_delong_is_the_variance_over_new_samples(distance):
    draws = [gaussians(distance, 60, 90, seed=k) for k in range(600)]
    spread = np.var([auc(*draw) for draw in draws])
    assert np.mean([delong_variance(*draw) for draw in draws]) == pytest.approx(spread, rel=0.2)


def test_ties_count_half():
    low, high = np.array([0, 1, 1, 2]), np.array([1, 2, 2])
    expected = np.mean([(h > l) + 0.5 * (h == l) for h in high for l in low])  # noqa: E741
    assert auc(low, high) == pytest.approx(expected)
    labels = [0] * 4 + [1] * 3
    assert auc(low, high) == pytest.approx(roc_auc_score(labels, [*low, *high]))


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 2, 3, 3, 9], [4] * 7])
def test_the_null_variance_is_that_over_all_labellings(values):
    values = np.array(values, np.float64)
    found = []
    for chosen in itertools.combinations(range(7), 3):
        marked = np.isin(np.arange(7), chosen)
        found.append(auc(values[~marked], values[marked]))
    assert null_variance(values[:4], values[4:]) == pytest.approx(np.var(found), abs=1e-12)


def test_folds_are_averaged_and_never_compared_with_each_other():
    low, high = gaussians(0.7, 200, 200, seed=4)
    scores, is_high = np.concatenate([low, high]), np.arange(400) >= 200
    fold = np.arange(400) % 4
    found = of_folds(scores, is_high, fold)
    moved = of_folds(scores + 100.0 * fold, is_high, fold)  # of a classifier on another scale
    assert moved.value == pytest.approx(found.value) and moved.p == pytest.approx(found.p)
    order = np.random.default_rng(0).permutation(400)
    shuffled = of_folds(scores[order], is_high[order], fold[order])
    assert shuffled.value == pytest.approx(found.value)
    assert shuffled.stderr == pytest.approx(found.stderr)
    one = of_folds(scores, is_high, np.zeros(400, int))
    assert one.value == auc(low, high) and one.fold_stderr is None


def test_scores_that_are_all_equal_say_nothing():
    found = of_folds(np.zeros(40), np.arange(40) % 2 == 0, np.arange(40) // 20)
    assert (found.value, found.p) == (0.5, 1.0)
