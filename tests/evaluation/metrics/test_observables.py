import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.images import distort
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics import observables
from evaluation.metrics.histograms import PAPER_EDGES, chi2_paper, paper_histogram
from evaluation.metrics.looking import image_rows, moments
from evaluation.metrics.observable_tests import (
    STATISTICS,
    correlation_rows,
    definition,
    observable_rows,
)
from tests.evaluation.drawn_images import drawn_images

QUICK = {"seed": 5, "permutations": 1000, "splits": 4}


def measured(name, images, is_track=None):
    return ImageSet(name, images, observables.measure(images), is_track)


def all_rows(real, generated, **options):
    both = pair(real, generated, None, seed=0)
    rows = [row for name in observables.EDGES for row in observable_rows(name, both, **options)]
    return {row.metric: row for row in rows + correlation_rows(both, **options)}


@pytest.fixture(scope="module")
def real():
    return measured("real", drawn_images(2000, seed=10))


@pytest.fixture(scope="module")
def fresh():
    return drawn_images(2000, seed=11)


def test_new_images_of_the_same_kind_are_equal(real, fresh):
    rows = all_rows(real, measured("same", fresh), **QUICK)
    assert min(row.p for row in rows.values() if row.p is not None) > 0.001


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: distort.scale_charge(x, 0.95),
        lambda x: distort.drop_pixels(x, 0.02, seed=0),
        lambda x: distort.blur(x, 0.5),
    ],
    ids=["charge x 0.95", "2 % of pixels dropped", "blurred by 0.5 px"],
)
def test_a_spoiled_set_is_caught_by_three_rows(real, fresh, spoil):
    rows = all_rows(real, measured("bad", spoil(fresh)), **QUICK)
    caught = [name for name, row in rows.items() if row.p is not None and row.p < 0.001]
    assert len(caught) >= 3
    assert all(rows[name].value > rows[name].floor for name in caught)


def test_the_same_images_in_another_order_give_zero_and_p_one(real):
    few = real.take(np.arange(60))
    rows = all_rows(few, few.take(np.arange(60)[::-1]), **QUICK | {"permutations": 50})
    for name, row in rows.items():
        if row.note.startswith("skipped"):
            continue
        assert row.value == pytest.approx(0.0, abs=1e-9), name
        assert row.p == 1.0, name


def test_rows_depend_on_the_seed_alone(real, fresh):
    both = pair(real.take(np.arange(80)), measured("g", fresh[:70]), None, seed=0)
    options = {"permutations": 60, "splits": 4}
    first, again, other = (observable_rows("charge", both, seed=s, **options) for s in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        if a.note.startswith("skipped"):
            continue
        assert a == b
        assert a.value == c.value and a.stderr != c.stderr


def test_the_published_chi2_is_in_the_published_bins(real, fresh):
    generated = measured("g", fresh[:300])
    rows = all_rows(real, generated, **QUICK | {"permutations": 5})
    counts = [
        paper_histogram(one.table["track_length_px"], PAPER_EDGES["track_length_px"])
        for one in (real, generated)
    ]
    assert rows["physics/all/track_length_px/chi2_paper"].value == chi2_paper(*counts)
    assert rows["physics/all/track_length_px/chi2_paper"].n == 300


def test_classes_are_compared_when_labels_are_there_and_skipped_when_not(real):
    few = real.take(np.arange(120))
    is_track = few.table["track_length_px"] > 20
    labelled = ImageSet("l", few.images, few.table, is_track)
    both = pair(labelled, labelled, None, seed=0)
    rows = observable_rows("track_width_px", both, **QUICK | {"permutations": 5})
    ours = [row for row in rows if row.metric.startswith("physics/tracks/")]
    assert len(ours) == len(STATISTICS) and {row.n for row in ours} == {int(is_track.sum())}
    bare = observable_rows("track_width_px", pair(few, labelled, None, seed=0), **QUICK)
    assert np.isnan(bare[0].value) == (bare[0].metric.startswith("physics/tracks/"))
    assert "no SSNet labels" in bare[-1].note and not bare[-1].converged


def test_constant_observables_and_empty_images_are_no_error():
    empty = measured("e", np.zeros((40, 16, 16), np.uint8))
    both, options = pair(empty, empty, None, seed=0), QUICK | {"permutations": 5}
    rows = observable_rows("hit_multiplicity", both, **options)
    assert [(row.value, row.p) for row in rows] == [(0.0, 1.0)] * 4
    assert correlation_rows(both, **options)[0].value == 0.0
    with pytest.raises(TooFewImagesError, match="angle_deg is defined in 0 and 0 images"):
        observable_rows("angle_deg", both, **options)


def test_too_few_images_are_refused(real):
    few = real.take(np.arange(30))
    with pytest.raises(TooFewImagesError, match="15 images, at least 20"):
        observable_rows("charge", pair(few, few, None, seed=0), **QUICK)


def test_every_row_has_a_definition(real):
    few = real.take(np.arange(50))
    rows = all_rows(few, few, **QUICK | {"permutations": 5})
    texts = [definition(metric) for metric in rows]
    assert len(set(texts)) == len(texts)


def test_holes_and_neighbours_of_known_images():
    image = np.zeros((2, 9, 9), np.uint8)
    image[0, 2:5, 2:5] = 7
    image[1, 2:5, 2:5] = 7
    image[1, 3, 3] = 0
    np.testing.assert_array_equal(observables.holes(image), [0, 1])
    # A full 3 x 3 square: one pixel with 8, four with 5 and four with 3 lit neighbours.
    np.testing.assert_allclose(observables.lit_neighbours(image), [40 / 9, 24 / 8])
    assert observables.lit_neighbours(np.zeros((1, 9, 9)))[0] == 0.0


def test_image_rows_see_a_shift_of_the_mean_and_of_the_intensities(real, fresh):
    options = {"seed": 0, "permutations": 1000, "splits": 4}
    few = real.take(np.arange(300))
    moved = ImageSet("moved", np.roll(distort.scale_charge(fresh[:300], 0.8), 4, axis=1))
    both = pair(few, moved, few.take(np.arange(300)), seed=0)
    rows = image_rows(both, **options)
    assert len(rows) == 4 and all(row.p < 0.001 for row in rows)
    assert all(row.floor == 0.0 for row in rows)  # the floor's sets are the same images here
    mean, std = moments(few)
    np.testing.assert_allclose(mean, few.images.mean(axis=0))
    np.testing.assert_allclose(std, few.images.std(axis=0), atol=1e-9)


def test_the_chi2_of_unequal_sizes_has_uniform_p(real):
    p = []
    rng = np.random.default_rng(0)
    for _ in range(100):
        order = rng.permutation(len(real))
        both = pair(real.take(order[:700]), real.take(order[700:760]), None, seed=0)
        rows = observable_rows("charge", both, seed=0, permutations=1, splits=2)
        p.append(rows[1].p)
    assert rows[1].metric.endswith("chi2_two_sample")
    assert kstest(p, "uniform").pvalue > 0.001
