import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest, wasserstein_distance

from evaluation.metrics.resampling import histogram_tests, line_tests, sum_tests


def mean_shift(a, n_a, b, n_b):
    return float(np.abs(a / n_a - b / n_b).sum())


def test_distances_are_those_of_scipy_with_and_without_ties():
    rng = np.random.default_rng(0)
    for a, b in ((rng.normal(size=70), rng.normal(size=50)), (rng.integers(0, 5, 70), [1, 1, 2])):
        ks, w1 = line_tests(a, b, seed=0, permutations=3, halves=2)
        assert ks.value == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)
        assert w1.value == pytest.approx(wasserstein_distance(a, b), abs=1e-12)


def test_identical_samples_are_at_distance_zero_with_p_one():
    values = np.random.default_rng(1).normal(size=100)
    for tested in line_tests(values, values[::-1], seed=0, permutations=50, halves=5):
        assert tested.value == 0.0 and tested.p == 1.0
    counts = np.bincount(np.arange(40) % 4)
    found = histogram_tests(
        lambda a, b: float(abs(a - b).sum()), counts, counts, seed=0, permutations=50
    )
    assert found.value == 0.0 and found.p == 1.0


def test_p_is_uniform_when_nothing_differs():
    rng = np.random.default_rng(2)
    p = []
    for draw in range(200):
        a, b = rng.normal(size=(2, 40))
        ks, w1 = line_tests(a, b, seed=draw, permutations=199, halves=2)
        features = np.concatenate([a, b])[:, None]
        moved = sum_tests(
            lambda f=features: iter([f]),
            (40, 40),
            {"shift": mean_shift},
            seed=draw,
            permutations=199,
            halves=2,
        )["shift"]
        p.append([w1.p, moved.p, ks.p])
    for column in np.transpose(p)[:2]:
        assert kstest(column, "uniform").pvalue > 0.001
    assert np.mean(np.array(p)[:, 2] <= 0.05) < 0.11  # KS takes few values at n = 40: conservative


def test_the_error_is_the_spread_over_new_samples():
    rng = np.random.default_rng(3)
    found = [
        line_tests(
            rng.normal(1.0, 1.0, 400), rng.normal(size=400), seed=k, permutations=1, halves=20
        )[1]
        for k in range(100)
    ]
    spread = np.std([w1.value for w1 in found])
    assert np.mean([w1.stderr for w1 in found]) == pytest.approx(spread, rel=0.2)


def test_sums_do_not_depend_on_the_blocks():
    features = np.random.default_rng(4).normal(size=(50, 3))
    options = {"seed": 0, "permutations": 20, "halves": 4}
    whole = sum_tests(lambda: iter([features]), (30, 20), {"m": mean_shift}, **options)["m"]
    cut = sum_tests(lambda: iter(np.split(features, 10)), (30, 20), {"m": mean_shift}, **options)
    assert cut["m"].value == pytest.approx(whole.value, rel=1e-12)
    expected = np.abs(features[:30].mean(0) - features[30:].mean(0)).sum()
    assert whole.value == pytest.approx(expected, rel=1e-12)
    assert (cut["m"].p, cut["m"].stderr) == (whole.p, pytest.approx(whole.stderr, rel=1e-9))
