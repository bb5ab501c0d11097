import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import kstest, wasserstein_distance

from evaluation.metrics import sinkhorn, wasserstein
from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import Result
from tests.fixture_files import fixture_files


def _images(arrays):
    return (arrays[name].reshape(len(arrays[name]), -1) for name in "xy")


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("ot_sets.npz"), ids=str)
def test_exact_w1_agrees_with_the_reference(path):
    arrays = np.load(path)
    value, optimal = wasserstein.exact_w1(*_images(arrays))
    assert optimal and value == pytest.approx(float(arrays["w1"]), rel=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("ot_sets.npz"), ids=str)
def test_sinkhorn_divergences_agree_with_float64(path):
    arrays = np.load(path)
    columns = {name.split(" ")[0]: at for at, name in enumerate(arrays["sinkhorn_columns"])}
    x, y = _images(arrays)
    for row in arrays["sinkhorn"]:
        p, eps, expected = (row[columns[name]] for name in ("p", "eps", "divergence"))
        ((value, converged),) = sinkhorn.sinkhorn_divergence(x, y, p=float(p), eps=float(eps))
        assert converged and value == pytest.approx(expected, rel=1e-6), (p, eps)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("features.npz"), ids=str)
def test_sliced_w1_agrees_on_given_directions(path):
    arrays = np.load(path)
    found = wasserstein.sliced_w1(
        arrays["a"], arrays["b"], seed=0, directions=arrays["directions"], permutations=0
    )
    assert found.value == pytest.approx(float(arrays["sliced_w1"]), rel=1e-10)
    assert found.p is None and found.stderr > 0


def _whole(rng, n, high=256, dimensions=30):
    return rng.integers(0, high, (n, dimensions))


@pytest.mark.parametrize("high", [256, 20_000])
def test_distances_of_whole_numbers_are_exact(high):
    x, y = (_whole(np.random.default_rng(seed), 20, high) for seed in (0, 1))
    exact = ((x[:, None] - y) ** 2).sum(axis=2)
    np.testing.assert_array_equal(squared_distances(x, y), exact)
    assert (np.diag(squared_distances(x, x)) == 0.0).all()


def test_distances_of_fractions_and_negative_numbers_are_in_float64():
    x, y = np.random.default_rng(0).normal(size=(2, 20, 30)).astype(np.float32)
    np.testing.assert_allclose(squared_distances(x, y), cdist(x, y) ** 2, rtol=1e-12)
    np.testing.assert_allclose(
        squared_distances(np.rint(9 * x), y), cdist(np.rint(9 * x), y) ** 2, rtol=1e-12
    )


def test_exact_w1_is_the_best_assignment():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 50, 6))
    cost = cdist(x, y)
    value, _ = wasserstein.exact_w1(x, y)
    assert value == pytest.approx(cost[linear_sum_assignment(cost)].mean(), rel=1e-12)


def test_sets_against_themselves_are_at_distance_exactly_zero():
    images = _whole(np.random.default_rng(2), 110)
    assert wasserstein.w1_paper(images, images, seed=0).value == 0.0
    assert wasserstein.exact_w1(images, images[::-1])[0] == 0.0
    assert wasserstein.sliced_w1(images, images, seed=0, directions=8, permutations=0).value == 0.0
    for found in sinkhorn.sinkhorn(images, images, seed=0, eps=(255.0, 1.0)):
        assert found.value == 0.0


def test_a_shift_is_moved_by_its_length():
    x = np.random.default_rng(3).normal(size=(80, 4))
    shift = np.array([3.0, 0.0, 4.0, 0.0])
    assert wasserstein.exact_w1(x, x + shift)[0] == pytest.approx(5.0, rel=1e-10)
    directions = np.eye(4)
    found = wasserstein.sliced_w1(x, x + shift, seed=0, directions=directions, permutations=0)
    assert found.value == pytest.approx(7.0 / 4, rel=1e-10)


def test_sliced_w1_along_an_axis_is_that_of_scipy_for_unequal_sizes():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(70, 1)), rng.gamma(2.0, size=(45, 1))
    found = wasserstein.sliced_w1(x, y, seed=0, directions=np.ones((1, 1)), permutations=0)
    assert found.value == pytest.approx(wasserstein_distance(x.ravel(), y.ravel()), rel=1e-12)
    assert found.n == 45


@pytest.mark.parametrize(
    "metric",
    [
        wasserstein.w1_paper,
        lambda x, y, seed: wasserstein.sliced_w1(x, y, seed=seed, directions=16, permutations=0),
        lambda x, y, seed: sinkhorn.sinkhorn(x, y, seed=seed, eps=100.0)[0],
    ],
)
def test_symmetric_and_invariant_to_order(metric):
    rng = np.random.default_rng(5)
    x, y = _whole(rng, 60), _whole(rng, 60, 200)
    value = metric(x, y, seed=0).value
    assert metric(y, x, seed=0).value == pytest.approx(value, rel=1e-4)
    assert metric(x[::-1], y, seed=1).value == pytest.approx(value, rel=1e-4)


def test_batches_give_the_mean_and_its_error():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(130, 3)), rng.normal(size=(100, 3))
    found = wasserstein.w1_paper(x, y, seed=0, batch=25)
    assert (found.metric, found.n) == ("w1/batch25", 100) and 0 < found.stderr < 0.2
    whole = wasserstein.w1_paper(x, y, seed=0)
    assert whole.note == "reduced from 10000 images to 100: fewer were given"
    assert whole.metric == "w1/paper" and 0 < whole.stderr < 0.2 and whole.value < found.value


def test_the_corrected_value_is_the_excess_over_the_floor():
    found, floor = Result("w1/paper", 12.0, 0.3, n=50), Result("w1/paper", 11.5, 0.4, n=50)
    corrected = wasserstein.w1_corrected(found, floor)
    assert corrected.metric == "w1/corrected" and corrected.value == 0.5
    assert corrected.stderr == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at n = 40: compute it with the same sizes"):
        wasserstein.w1_corrected(found, Result("w1/paper", 11.5, 0.4, n=40))


def _bounds(note):
    lower, upper = note.partition("W1 lies between ")[2].split(" and ")
    return float(lower), float(upper)


@pytest.mark.parametrize("seed", range(3))
def test_annealing_encloses_exact_w1(seed):
    rng = np.random.default_rng(seed)
    x, y = _whole(rng, 100), _whole(rng, 100, 200)
    exact, _ = wasserstein.exact_w1(x, y)
    found = sinkhorn.w1_annealed(x, y, seed=0)
    assert found.status == "ok" and found.metric == "w1/annealed/eps1"
    assert exact - np.log(100) < found.value < exact
    assert exact == pytest.approx(found.value, rel=0.02)
    lower, upper = _bounds(found.note)
    assert lower == pytest.approx(found.value) and exact <= upper < 1.01 * exact


def test_the_bounds_of_a_shift_by_a_thousand_meet_there():
    x = _whole(np.random.default_rng(7), 150, dimensions=64)
    lower, upper = _bounds(sinkhorn.w1_annealed(x, x + 125, seed=0).note)
    assert lower <= 1000.0 * (1 + 1e-9) and upper >= 1000.0 * (1 - 1e-9)
    assert upper - lower < 1e-3


def test_bounds_hold_for_any_potential_and_unequal_sets():
    rng = np.random.default_rng(13)
    cost = cdist(rng.normal(size=(30, 3)), rng.normal(size=(20, 3)))
    exact = ot.emd2([], [], cost)
    for potential in (np.zeros(30), rng.normal(size=30)):
        for eps in (0.01, 1.0, 100.0):
            lower, upper = sinkhorn.transport_bounds(cost, potential, eps)
            assert lower <= exact <= upper <= cost.max()


def test_a_divergence_at_large_eps_does_not_depend_on_the_order_of_the_images():
    # The costs are near 500, the divergence near 0.01: sums in float32 leave it two digits.
    rng = np.random.default_rng(14)
    x, y = _whole(rng, 300), _whole(rng, 300)
    orders = [rng.permutation(300) for _ in range(3)]
    found = [sinkhorn.sinkhorn_divergence(x[o], y, p=1.0, eps=1000.0)[0][0] for o in orders]
    assert np.ptp(found) < 1e-6 * found[0]


def test_what_did_not_converge_is_never_a_number():
    rng = np.random.default_rng(8)
    x, y = _whole(rng, 40), _whole(rng, 40)
    found = sinkhorn.sinkhorn_divergence(x, y, p=1.0, eps=0.1, max_iterations=20)
    value, converged = found[0]
    assert np.isnan(value) and not converged


def test_batches_of_the_divergence():
    rng = np.random.default_rng(9)
    x, y = _whole(rng, 90), _whole(rng, 60)
    (found,) = sinkhorn.sinkhorn(x, y, seed=0, eps=100.0, batch=20)
    assert (found.metric, found.n) == ("sinkhorn/p1/eps100/batch20", 60) and found.stderr > 0
    with pytest.raises(ValueError, match="5 batches of 20 images need 100"):
        sinkhorn.sinkhorn(x, y, seed=0, eps=100.0, batch=20, batches=5)


def test_several_eps_in_one_pass_are_those_of_each_alone():
    rng = np.random.default_rng(11)
    x, y = _whole(rng, 120), _whole(rng, 120, 200)
    epsilons = (1000.0, 255.0, 1.0)
    together = sinkhorn.sinkhorn(x, y, seed=0, eps=epsilons)
    alone = [sinkhorn.sinkhorn(x, y, seed=0, eps=eps, stderr=False)[0] for eps in epsilons]
    for found, single in zip(together, alone, strict=True):
        assert found.metric == single.metric and single.stderr is None
        assert found.value == pytest.approx(single.value, rel=1e-4)
        assert found.stderr > 0 and "error from 10 parts" in found.note


def test_far_images_stay_where_they_are_at_the_cost_of_the_entropy():
    images = _whole(np.random.default_rng(12), 50)
    cost = np.sqrt(squared_distances(images, images))
    still = sinkhorn.entropic_transport(cost, 1.0)
    assert (still.cost, still.iterations) == (np.log(50), 0)
    assert max(sinkhorn.transport_bounds(cost, still.potential, 1.0)) < 1e-9
    solved = sinkhorn.entropic_transport(cost[::-1], 1.0)  # the same problem, images renamed
    assert solved.iterations > 0 and solved.cost == pytest.approx(still.cost, rel=1e-5)
    images[1] = images[0]  # two that are alike may be exchanged
    twins = np.sqrt(squared_distances(images, images))
    assert sinkhorn.entropic_transport(twins, 1.0).cost < still.cost - 0.01


def test_p_of_sliced_w1_is_uniform_for_equal_distributions_and_small_for_others():
    rng = np.random.default_rng(10)
    draws = [
        wasserstein.sliced_w1(
            rng.normal(size=(25, 3)),
            rng.normal(size=(35, 3)),
            seed=draw,
            directions=8,
            permutations=99,
        ).p
        for draw in range(100)
    ]
    assert kstest(draws, "uniform").pvalue > 0.01
    x = rng.normal(size=(60, 3))
    assert wasserstein.sliced_w1(x, x + 2.0, seed=0, permutations=99).p == 0.01


@pytest.mark.parametrize("shift", [0.1, 0.3])
def test_the_error_of_sliced_w1_is_about_its_spread_over_new_samples(shift):
    rng = np.random.default_rng(15)
    found = [
        wasserstein.sliced_w1(
            rng.normal(size=(200, 12)),
            rng.normal(size=(200, 12)) + shift,
            seed=draw,
            directions=16,
            permutations=0,
        )
        for draw in range(60)
    ]
    spread = np.std([one.value for one in found], ddof=1)
    claimed = np.sqrt(np.mean([one.stderr**2 for one in found]))
    assert 0.85 < claimed / spread < 1.4
