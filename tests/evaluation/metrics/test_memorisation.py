import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.metrics import memorisation, neighbours
from evaluation.metrics.distances import nearest_by_l2
from tests.evaluation.drawn_images import drawn_images


def _nearest(queries, pool, **options):
    return nearest_by_l2(queries, pool, count=1, **options)


def _points(rng, count, spread=1.0):
    return spread * rng.normal(size=(count, 1, 3))


def _turned(images):
    return [np.rot90(images, k, axes=(1, 2)) for k in range(1, 4)] + [images[:, ::-1]]


def test_planted_copies_are_found():
    images, pool = drawn_images(6, seed=0, size=16), drawn_images(5, seed=1, size=16)
    images[2], images[5] = pool[3], pool[0]
    np.testing.assert_array_equal(np.flatnonzero(memorisation.copies(images, pool)), [2, 5])
    np.testing.assert_array_equal(
        memorisation.copies(images.astype(np.float32), pool), memorisation.copies(images, pool)
    )
    images[4] = images[1]
    np.testing.assert_array_equal(np.flatnonzero(memorisation.copies(images)), [1, 4])


@pytest.mark.parametrize("form", range(4))
def test_turned_and_mirrored_copies_are_found_if_asked_for(form):
    images, pool = drawn_images(5, seed=2, size=16), drawn_images(5, seed=3, size=16)
    images[1] = _turned(pool)[form][4]
    np.testing.assert_array_equal(np.flatnonzero(memorisation.copies(images, pool, turned=True)), 1)
    assert not memorisation.copies(images, pool).any()
    images[3] = _turned(images)[form][0]
    found = memorisation.copies(images, turned=True)
    np.testing.assert_array_equal(np.flatnonzero(found), [0, 3])


def test_images_that_are_not_square_keep_their_size_when_turned():
    image = drawn_images(1, seed=4, size=16)[:, :, :10]
    assert memorisation.copies(image[:, ::-1, ::-1], image, turned=True).all()
    across = np.ascontiguousarray(image.transpose(0, 2, 1)).reshape(image.shape)
    assert not memorisation.copies(across, image, turned=True).any()


def test_one_changed_pixel_is_no_copy_and_empty_images_are_none():
    pool = drawn_images(3, seed=5, size=16)
    images = pool.copy()
    images[0, 3, 4] ^= 1
    images[1] = pool[1] = 0
    np.testing.assert_array_equal(memorisation.copies(images, pool), [False, False, True])
    assert not memorisation.copies(np.zeros((4, 3, 3))).any()
    minus = pool.astype(np.float32)
    minus[minus == 0] = -0.0
    np.testing.assert_array_equal(memorisation.copies(minus, pool), [True, False, True])


def _null_draw(rng):
    """Return distances of 30 and of 25 alike points to 20 of the same kind, and places."""
    train, generated, test = (_points(rng, count) for count in (20, 30, 25))
    to_train, real_to_train = _nearest(generated, train), _nearest(test, train)
    return train, to_train, real_to_train, _nearest(generated, test)


@pytest.mark.parametrize("statistic", ["ratio", "closest", "nearer", "ranks"])
def test_p_is_uniform_where_nothing_is_memorised(statistic):
    rng = np.random.default_rng(0)
    found = []
    for draw in range(150):
        train, generated, test, to_test = _null_draw(rng)
        distances = generated.distances[:, 0], test.distances[:, 0]
        if statistic == "ratio":
            found.append(memorisation.distance_ratio(*distances, seed=draw).p)
        elif statistic == "ranks":
            found.append(neighbours.rank_p(*distances))
        elif statistic == "closest":
            found.append(memorisation.closest_share(*distances, fraction=0.3).p)
        else:
            nearest = neighbours.nearest_of_two(generated, to_test, len(train))
            found.append(
                memorisation.first_set_share(nearest, (20, 25), permutations=49, seed=draw).p
            )
    found = np.array(found)
    for level in (0.05, 0.2, 0.5):  # of whole numbers, p is never below uniform
        assert (found <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / len(found))
    if statistic in ("ratio", "ranks"):
        assert kstest(found, "uniform").pvalue > 0.001


def test_a_generator_that_repeats_training_images_is_caught_by_each():
    train, test = drawn_images(60, seed=6, size=16), drawn_images(50, seed=7, size=16)
    generated = np.concatenate([train[:50], drawn_images(20, seed=8, size=16)])
    generated = np.clip(generated * 0.97, 0, 255)
    to_train, real_to_train = _nearest(generated, train), _nearest(test, train)
    distances = to_train.distances[:, 0], real_to_train.distances[:, 0]
    ratio = memorisation.distance_ratio(*distances, seed=0)
    assert ratio.value < 0.5 and ratio.expected == 1.0 and ratio.p < 1e-6
    assert ratio.stderr < 0.2
    closest = memorisation.closest_share(*distances, fraction=0.1)
    assert closest.value == 1.0 and closest.p < 0.01
    nearest = neighbours.nearest_of_two(to_train, _nearest(generated, test), len(train))
    nearer = memorisation.first_set_share(nearest, (60, 50), permutations=199, seed=0)
    assert nearer.value > 0.75 and nearer.p == 1 / 200
    assert nearer.expected == pytest.approx(60 / 110)


def test_a_few_copies_show_among_the_closest_only():
    rng = np.random.default_rng(1)
    generated, test = rng.uniform(1, 2, 500), rng.uniform(1, 2, 500)
    generated[:12] = 0.0
    assert memorisation.distance_ratio(generated, test, seed=0).p > 0.01
    assert memorisation.closest_share(generated, test).p < 1e-2


def test_images_too_near_to_the_mean_lie_nearer_to_training_and_test_images_alike():
    rng = np.random.default_rng(9)
    train, test, generated = (_points(rng, 80, spread) for spread in (1.0, 1.0, 0.2))
    to_train, real_to_train = _nearest(generated, train), _nearest(test, train)
    distances = to_train.distances[:, 0], real_to_train.distances[:, 0]
    found = memorisation.distance_ratio(*distances, seed=0)
    assert found.value < 0.9 and found.p < 0.01
    nearest = neighbours.nearest_of_two(to_train, _nearest(generated, test), len(train))
    shared = memorisation.first_set_share(nearest, (80, 80), permutations=99, seed=0)
    assert shared.p > 0.05


def test_a_test_set_of_training_images_is_refused():
    with pytest.raises(ValueError, match="half of 4 test images are training images"):
        memorisation.distance_ratio(np.ones(3), np.zeros(4), seed=0)
    assert neighbours.rank_p(np.zeros(5), np.zeros(7)) == 1.0


def _mixing(first, second, seed=0, permutations=99):
    pairs = ((_nearest(first, first, own=True), _nearest(first, second)),)
    pairs += ((_nearest(second, first), _nearest(second, second, own=True)),)
    nearest = [neighbours.nearest_of_two(*pair, len(first)) for pair in pairs]
    pooled = np.concatenate(nearest)
    return pooled, neighbours.mixing(pooled, len(first), permutations=permutations, seed=seed)


def test_neighbours_among_two_sets_are_those_of_the_pooled_images():
    first, second = drawn_images(12, seed=12, size=12), drawn_images(9, seed=13, size=12)
    both = np.concatenate([first, second])
    expected = _nearest(both, both, own=True).places[:, 0]
    np.testing.assert_array_equal(_mixing(first, second)[0], expected)


def test_mixing_is_at_its_floor_for_alike_sets_and_high_for_others_or_denser_ones():
    rng = np.random.default_rng(2)
    draws = [_mixing(_points(rng, 20), _points(rng, 30), seed)[1] for seed in range(100)]
    assert np.mean([one.value for one in draws]) == pytest.approx(draws[0].expected, abs=0.02)
    assert (np.array([one.p for one in draws]) < 0.1).mean() < 0.2
    assert _mixing(_points(rng, 40), _points(rng, 40) + 2.0)[1].p == 0.01
    collapsed = np.repeat(_points(rng, 5), 8, axis=0) + _points(rng, 40, 0.01)
    found = _mixing(_points(rng, 40), collapsed)[1]
    assert found.p == 0.01 and found.value > 0.75


def test_the_error_of_a_median_is_its_spread():
    rng = np.random.default_rng(3)
    medians = [np.median(rng.exponential(size=200)) for _ in range(300)]
    value, error = neighbours.median_and_error(rng.exponential(size=200), seed=0)
    assert value == pytest.approx(np.log(2), abs=4 * error)
    assert error == pytest.approx(np.std(medians), rel=0.4)
