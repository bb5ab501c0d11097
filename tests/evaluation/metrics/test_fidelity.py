import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.metrics import fidelity
from tests.fixture_files import fixture_files


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("features.npz"), ids=str)
def test_kernel_distances_agree_with_float64(path):
    arrays = np.load(path)
    a, b = arrays["a"], arrays["b"]
    for degree, name in ((3, "mmd2_poly3_unbiased_kid"), (4, "mmd2_poly4_unbiased")):
        expected = float(arrays[name])
        found = fidelity.polynomial_mmd(a, b, seed=0, degree=degree, name=name, permutations=20)
        assert found.value == pytest.approx(expected, rel=1e-6) and found.p == pytest.approx(1 / 21)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("features.npz"), ids=str)
def test_neighbour_scores_agree_with_the_authors_code(path):
    arrays = np.load(path)
    (name,) = (n for n in arrays.files if n.startswith("prdc_k"))
    scores = fidelity.neighbour_scores(arrays["a"], arrays["b"], k=int(name.removeprefix("prdc_k")))
    np.testing.assert_allclose(scores, arrays[name], atol=1e-12)


def test_a_set_against_itself_scores_one():
    rows = np.random.default_rng(0).normal(size=(200, 3))
    found = fidelity.prdc(rows, rows, seed=0)
    assert [one.metric for one in found] == [f"{name}/k5" for name in fidelity.PRDC]
    assert [one.value for one in found] == [1.0] * 4


def test_collapse_keeps_precision_and_loses_recall_and_coverage():
    rng = np.random.default_rng(1)
    real, generated = rng.normal(size=(500, 2)), 0.05 * rng.normal(size=(500, 2))
    precision, recall, density, coverage = fidelity.neighbour_scores(real, generated)
    assert precision > 0.95 and density > 0.9
    assert recall < 0.1 and coverage < 0.1


def test_far_sets_score_zero_and_exchange_swaps_precision_and_recall():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + 0.5
    assert fidelity.neighbour_scores(x, y + 100.0) == (0.0, 0.0, 0.0, 0.0)
    precision, recall, *_ = fidelity.neighbour_scores(x, y)
    assert fidelity.neighbour_scores(y, x)[:2] == (recall, precision)
    assert fidelity.neighbour_scores(x[::-1], y)[:2] == (precision, recall)


def test_equal_distributions_have_density_one_within_its_error():
    rng = np.random.default_rng(3)
    found = fidelity.prdc(rng.normal(size=(800, 4)), rng.normal(size=(800, 4)), seed=0)
    assert found[2].value == pytest.approx(1.0, abs=4 * found[2].stderr)
    assert all(0 < one.stderr < 0.1 and one.n == 800 for one in found)


def test_too_few_neighbours_are_refused_and_fewer_images_noted():
    rows = np.random.default_rng(4).normal(size=(9, 2))
    with pytest.raises(ValueError, match="5 real images, but this metric needs at least 6"):
        fidelity.prdc(rows[:5], rows, seed=0)
    found = fidelity.prdc(rows, rows, seed=0, n=20)
    assert found[0].note == "reduced from 20 images to 9: fewer were given"
    assert found[0].stderr is None


def test_kid_of_equal_distributions_is_zero_within_its_error_and_p_uniform():
    rng = np.random.default_rng(5)
    found = [
        fidelity.polynomial_mmd(
            *rng.normal(size=(2, 40, 6)), seed=draw, degree=3, name="kid", permutations=99
        )
        for draw in range(100)
    ]
    pulls = np.array([one.value / one.stderr for one in found])
    assert abs(pulls.mean()) < 0.4 and 0.6 < pulls.std() < 1.4
    assert kstest([one.p for one in found], "uniform").pvalue > 0.01


def test_errors_are_about_the_spread_over_new_samples():
    rng = np.random.default_rng(6)
    found = [fidelity.prdc(*rng.normal(size=(2, 100, 8)), seed=draw) for draw in range(60)]
    for name, *scores in zip(fidelity.PRDC, *found, strict=True):
        spread = np.std([one.value for one in scores], ddof=1)
        claimed = np.sqrt(np.mean([one.stderr**2 for one in scores]))
        assert 0.8 < claimed / spread < 1.7, name


def test_ties_of_float_features_are_ties():
    # A copied set: each ball holds its own image and k - 1 neighbours, the k-th is on its edge.
    rng = np.random.default_rng(7)
    for scale in (1.0, 1e3):
        rows = (scale * rng.normal(size=(150, 700)) + scale).astype(np.float32)
        copy = rows[rng.permutation(150)]
        assert fidelity.neighbour_scores(rows, copy) == (1.0, 1.0, 1.0, 1.0)
        collapsed = np.repeat(rows[:10], 15, axis=0)  # balls of radius zero are empty
        assert fidelity.neighbour_scores(rows, collapsed)[1] == 0.0
