import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.metrics import mmd
from evaluation.metrics.mmd import discrepancy, gaussian_kernels
from evaluation.metrics.resampling import shuffled_labels
from tests.fixture_files import fixture_files

_PARITY = 1e-6  # float32 blocks


def _gaussian(rng, n, shift=0.0, dimensions=2):
    return rng.normal(size=(n, dimensions)).astype(np.float32) + np.float32(shift)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("mmd.npz"), ids=str)
def test_both_forms_agree_with_float64(path):
    arrays = np.load(path)
    x, y = (arrays[name].reshape(len(arrays[name]), -1) for name in "xy")
    sigmas = tuple(arrays["sigmas"].tolist())
    for first, ending in ((x, ""), (x[: len(y)], f"_first{len(y)}")):
        found = discrepancy(first, y, gaussian_kernels, sigmas=sigmas)
        assert abs(found.biased.sum() - arrays[f"mmd2_biased{ending}"]) < _PARITY
        assert abs(found.unbiased.sum() - arrays[f"mmd2_unbiased{ending}"]) < _PARITY
    found = discrepancy(x, y, gaussian_kernels, sigmas=sigmas)
    np.testing.assert_allclose(found.biased, arrays["mmd2_biased_per_sigma"], atol=_PARITY)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("mmd.npz"), ids=str)
def test_the_metrics_have_the_published_widths(path):
    arrays = np.load(path)
    np.testing.assert_array_equal(mmd.PAPER_SIGMAS, arrays["sigmas"])
    x, y = (arrays[name].reshape(len(arrays[name]), -1) for name in "xy")
    found, *_ = mmd.mmd_per_sigma(x, y, seed=0, permutations=20)
    assert abs(found.value - arrays["mmd2_unbiased"]) < _PARITY
    assert found.n == min(len(x), len(y))


def test_p_counts_the_shuffled_sets_that_are_as_far_apart():
    rng = np.random.default_rng(9)
    x, y = 2000.0 * _gaussian(rng, 30), 2000.0 * _gaussian(rng, 20, 0.1)
    found, *_ = mmd.mmd_per_sigma(x, y, seed=3, permutations=50)
    null = discrepancy(
        x, y, gaussian_kernels, permutations=50, seed=3, sigmas=mmd.PAPER_SIGMAS
    ).null
    assert len(null) == 50 and 0 < np.count_nonzero(null >= found.value) < 50
    assert found.p == (1 + np.count_nonzero(null >= found.value)) / 51


def test_blocks_do_not_change_the_value(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = _gaussian(rng, 60), _gaussian(rng, 45, 0.5)
    whole = discrepancy(x, y, gaussian_kernels, permutations=30, sigmas=(1.0, 2.0))
    monkeypatch.setattr("evaluation.metrics.mmd._BLOCK", 25)
    parts = discrepancy(x, y, gaussian_kernels, permutations=30, sigmas=(1.0, 2.0))
    np.testing.assert_allclose(parts.unbiased, whole.unbiased, atol=1e-7)
    np.testing.assert_allclose(parts.null, whole.null, atol=1e-6)
    np.testing.assert_allclose(parts.stderr, whole.stderr, rtol=1e-4)


def test_the_null_is_what_shuffled_sets_give():
    rng = np.random.default_rng(1)
    x, y = _gaussian(rng, 20), _gaussian(rng, 30)
    found = discrepancy(x, y, gaussian_kernels, permutations=3, seed=5, sigmas=(1.0,))
    labels = shuffled_labels(20, 30, 3, seed=5)
    pooled = np.concatenate([x, y])
    for column, value in enumerate(found.null, start=1):
        first, second = pooled[labels[:, column]], pooled[~labels[:, column]]
        by_hand = discrepancy(first, second, gaussian_kernels, sigmas=(1.0,)).unbiased.sum()
        assert value == pytest.approx(by_hand, abs=1e-6)


def test_a_set_against_itself_has_biased_value_exactly_zero():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8))
    assert mmd.mmd_paper(images, images, seed=0).value == 0.0


def test_symmetric_and_invariant_to_order():
    rng = np.random.default_rng(2)
    x, y = 100.0 * _gaussian(rng, 50, dimensions=9), 100.0 * _gaussian(rng, 50, 1.0, dimensions=9)
    value = mmd.mmd_paper(x, y, seed=0).value
    assert mmd.mmd_paper(y, x, seed=0).value == pytest.approx(value, abs=1e-7)
    assert mmd.mmd_paper(x[::-1], y, seed=0).value == pytest.approx(value, abs=1e-7)


def test_unbiased_value_is_that_of_two_normal_distributions():
    # For N(a, 1), N(b, 1) and width s in d dimensions E k = (s^2 / (s^2 + 2))^(d/2) exp(...).
    rng, dimensions, sigma, shift = np.random.default_rng(3), 2, 1.5, 0.7
    peak = (sigma**2 / (sigma**2 + 2)) ** (dimensions / 2)
    expected = 2 * peak * (1 - np.exp(-dimensions * shift**2 / (2 * (sigma**2 + 2))))
    found = discrepancy(
        _gaussian(rng, 3000), _gaussian(rng, 3000, shift), gaussian_kernels, sigmas=(sigma,)
    )
    assert abs(found.unbiased[0] - expected) < 4 * found.total_stderr
    assert found.total_stderr < 0.1 * expected


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_error_is_the_spread_of_repeated_draws(shift):
    rng = np.random.default_rng(4)
    draws = [
        discrepancy(
            _gaussian(rng, 60),
            _gaussian(rng, 60, shift),
            gaussian_kernels,
            permutations=50,
            sigmas=(1.0,),
        )
        for _ in range(150)
    ]
    spread = np.std([one.unbiased[0] for one in draws])
    claimed = np.sqrt(np.mean([one.total_stderr**2 for one in draws]))
    assert claimed == pytest.approx(spread, rel=0.25)


def test_p_is_uniform_for_equal_distributions():
    rng = np.random.default_rng(5)
    p = [
        discrepancy(
            _gaussian(rng, 30),
            _gaussian(rng, 40),
            gaussian_kernels,
            permutations=99,
            seed=draw,
            sigmas=(1.0,),
        ).p
        for draw in range(100)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


def test_one_row_for_each_width_and_their_sum_first():
    rng = np.random.default_rng(6)
    x, y = (300.0 * _gaussian(rng, 30, shift, dimensions=5) for shift in (0.0, 1.0))
    total, *each = mmd.mmd_per_sigma(x, y, seed=0, permutations=10)
    assert total.metric == "mmd/unbiased" and each[0].metric == "mmd/unbiased/sigma1024"
    assert sum(one.value for one in each) == pytest.approx(total.value)
    assert all(one.stderr > 0 for one in (total, *each))


def test_the_median_width_belongs_to_the_real_images():
    rng = np.random.default_rng(7)
    x, y = _gaussian(rng, 40), _gaussian(rng, 40, 3.0)
    found = mmd.mmd_median(x, y, seed=0, permutations=20)
    assert found.metric == "mmd/median" and found.p == pytest.approx(1 / 21)
    assert found.note == mmd.mmd_median(x, 2.0 * y, seed=0, permutations=0).note
    with pytest.raises(ValueError, match="half of 40 real images are equal"):
        mmd.mmd_median(np.ones((40, 2)), y, seed=0)


def test_batches_give_the_mean_and_its_error():
    rng = np.random.default_rng(8)
    x, y = 1000.0 * _gaussian(rng, 90), 1000.0 * _gaussian(rng, 60)
    found = mmd.mmd_paper(x, y, seed=0, batch=20)
    assert found.metric == "mmd/batch20" and found.n == 60 and found.stderr > 0
