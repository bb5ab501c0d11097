import numpy as np
import pytest
import scipy.linalg

from evaluation.metrics import fid
from evaluation.metrics.fid import frechet_distance, frechet_of_places
from tests.fixture_files import fixture_files


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("features.npz"), ids=str)
def test_distance_agrees_with_scipy_sqrtm_also_below_full_rank(path):
    arrays = np.load(path)
    a, b = arrays["a"], arrays["b"]
    assert frechet_distance(a, b) == pytest.approx(float(arrays["fid_sqrtm"]), rel=1e-11)
    assert fid.fid(a, a, seed=0).value == pytest.approx(0.0, abs=1e-11)
    prefix = "fid_rank_deficient_first"
    (name,) = (n for n in arrays.files if n.startswith(prefix) and not n.endswith("_sqrtm"))
    n = int(name.removeprefix(prefix))
    assert frechet_distance(a[:n], b[:n]) == pytest.approx(float(arrays[name]), rel=1e-9)


def _draws(rng, n, dimensions, *, spread=1.0, shift=0.0):
    return spread * rng.normal(size=(n, dimensions)) + shift


@pytest.mark.parametrize(("n", "m"), [(40, 200), (200, 40), (40, 30), (300, 300)])
def test_any_number_of_images_agrees_with_the_formula(n, m):
    rng = np.random.default_rng(0)
    x, y = _draws(rng, n, 60), _draws(rng, m, 60, spread=2.0, shift=0.3)
    covariances = [np.cov(rows.T) for rows in (x, y)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_normal_distributions_are_at_their_analytic_distance():
    rng, dimensions = np.random.default_rng(1), 4
    x = _draws(rng, 40_000, dimensions)
    y = _draws(rng, 40_000, dimensions, spread=1.5, shift=0.5)
    assert frechet_distance(x, y) == pytest.approx(dimensions * (0.25 + 0.25), rel=0.03)


def test_a_pure_shift_is_exact_and_order_does_not_matter():
    x = _draws(np.random.default_rng(2), 100, 5)
    assert frechet_distance(x, x[::-1] + 2.0) == pytest.approx(20.0, rel=1e-12)


def test_features_without_variance_do_no_harm():
    rng = np.random.default_rng(3)
    x, y = _draws(rng, 100, 5), _draws(rng, 100, 5, shift=1.0)
    dead = [np.concatenate([rows, np.zeros((100, 3))], axis=1) for rows in (x, y)]
    assert frechet_distance(*dead) == pytest.approx(frechet_distance(x, y), rel=1e-10)
    constant = np.ones((10, 3))
    assert frechet_distance(constant, 3.0 * constant) == pytest.approx(12.0)


def test_infinity_removes_the_bias_that_the_plain_distance_has():
    rng, dimensions = np.random.default_rng(4), 20
    trials = [[_draws(rng, 400, dimensions) for _ in "xy"] for _ in range(6)]
    plain = np.mean([frechet_distance(*pair) for pair in trials])
    limits = [fid.fid_infinity(*pair, seed=0, stderr=False).value for pair in trials]
    assert plain > 0.4  # d (d + 1) / (4 n) from each set
    assert abs(np.mean(limits)) < 0.15 * plain


def test_infinity_keeps_a_true_distance():
    rng = np.random.default_rng(5)
    found = fid.fid_infinity(
        _draws(rng, 3000, 10), _draws(rng, 3000, 10, shift=0.5), seed=0, stderr=True
    )
    assert found.value == pytest.approx(2.5, abs=4 * found.stderr) and found.stderr < 0.3
    assert found.note == "" and found.metric == "fid/infinity"


def test_extrapolation_of_a_line_is_exact():
    rows = np.zeros((100, 1))
    limit, values = fid.extrapolate(
        lambda x, y: 3.0 + 7.0 / len(x), rows, rows, [20, 40, 100], seed=0
    )
    assert limit == pytest.approx(3.0) and values[0] == pytest.approx(3.35)


@pytest.mark.parametrize("n, m", [(40, 40), (12, 30)])
def test_distances_of_some_rows_share_a_product(n, m):
    rng = np.random.default_rng(11)
    x, y = _draws(rng, 40, 50, shift=3.0), _draws(rng, 45, 50)
    places = rng.permutation(40)[:n], rng.permutation(45)[:m]
    found = frechet_of_places(x, y)(*places)
    assert found == pytest.approx(frechet_distance(x[places[0]], y[places[1]]), rel=1e-10)


def test_too_few_images_for_the_line_are_noted_or_refused():
    rng = np.random.default_rng(6)
    x, y = _draws(rng, 50, 30), _draws(rng, 50, 30)
    assert "from 10 images on, fewer than the 30" in fid.fid_infinity(x, y, seed=0).note
    with pytest.raises(ValueError, match="20 real images, but this metric needs at least 25"):
        fid.fid_infinity(x[:20], y, seed=0)


def test_principal_components_hold_a_difference_along_the_wide_axes_only():
    rng = np.random.default_rng(7)
    widths = np.array([5.0, 4.0, 0.1, 0.1, 0.1])
    x, y = (_draws(rng, 4000, 5) * widths for _ in "xy")
    seen, unseen = y + np.array([3.0, 0, 0, 0, 0]), y + np.array([0, 0, 0, 0, 3.0])
    axes = fid.principal_axes(x, 2)
    assert frechet_distance(x @ axes, seen @ axes) == pytest.approx(9.0, rel=0.15)
    assert frechet_distance(x @ axes, unseen @ axes) < 0.1
    with pytest.raises(ValueError, match="5 principal components need more .* 5 features"):
        fid.principal_axes(x, 5)


def test_principal_axes_agree_with_the_eigenvectors():
    x = _draws(np.random.default_rng(8), 50, 6) * np.arange(1, 7)
    axes = fid.principal_axes(x, 3)
    vectors = np.linalg.eigh(np.cov(x.T))[1][:, -3:]
    np.testing.assert_allclose(axes @ axes.T, vectors @ vectors.T, atol=1e-10)


def test_the_published_size_is_reduced_with_a_note():
    rng = np.random.default_rng(9)
    found = fid.fid(_draws(rng, 120, 3), _draws(rng, 100, 3), seed=0, n=10_000, name="fid/paper")
    assert (found.metric, found.n) == ("fid/paper", 100)
    assert found.note == "reduced from 10000 images to 100: fewer were given"
    assert found.stderr > 0 and fid.fid(np.ones((9, 2)), np.ones((9, 2)), seed=0).stderr is None
