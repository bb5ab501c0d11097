from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.images import distort
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.looking import image_rows, moments
from evaluation.metrics.observables import OBSERVABLES, measure
from evaluation.metrics.physics import (
    STATISTICS,
    chi2_paper,
    correlation_rows,
    observable_rows,
    paper_histogram,
)
from evaluation.metrics.table import METRICS
from tests.evaluation.drawn_images import drawn_images

QUICK = Budget(None, None, None, 1000, 1000, 4)
FEW_DRAWS = replace(QUICK, permutations=5)
SEED = 5


def measured(name, images, is_track=None):
    return ImageSet(name, images, measure(images), is_track)


def all_rows(real, generated, budget=QUICK):
    both = pair(real, generated, None, seed=0)
    rows = [row for name in OBSERVABLES for row in observable_rows(name, both, budget, SEED)]
    return {row.metric: row for row in rows + correlation_rows(both, budget, SEED)}


@pytest.fixture(scope="module")
def real():
    return measured("real", drawn_images(2000, seed=10))


@pytest.fixture(scope="module")
def fresh():
    return drawn_images(2000, seed=11)


def test_new_images_of_the_same_kind_are_equal(real, fresh):
    rows = all_rows(real, measured("same", fresh))
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
    rows = all_rows(real, measured("bad", spoil(fresh)))
    caught = [name for name, row in rows.items() if row.p is not None and row.p < 0.001]
    assert len(caught) >= 3
    assert all(rows[name].value > rows[name].floor for name in caught)


def test_the_same_images_in_another_order_give_zero_and_p_one(real):
    few = real.take(np.arange(60))
    rows = all_rows(few, few.take(np.arange(60)[::-1]), replace(QUICK, permutations=50))
    for name, row in rows.items():
        if row.note.startswith("skipped"):
            continue
        assert row.value == pytest.approx(0.0, abs=1e-9), name
        assert row.p == 1.0, name


def test_rows_depend_on_the_seed_alone(real, fresh):
    both = pair(real.take(np.arange(80)), measured("g", fresh[:70]), None, seed=0)
    budget = replace(QUICK, permutations=60)
    first, again, other = (observable_rows("charge", both, budget, seed) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        if a.note.startswith("skipped"):
            continue
        assert a == b
        assert a.value == c.value and a.stderr != c.stderr


def test_the_published_chi2_is_in_the_published_bins(real, fresh):
    generated = measured("g", fresh[:300])
    rows = all_rows(real, generated, FEW_DRAWS)
    counts = [
        paper_histogram(one.table["track_length_px"], OBSERVABLES["track_length_px"].edges)
        for one in (real, generated)
    ]
    assert rows["physics/all/track_length_px/chi2_paper"].value == chi2_paper(*counts)
    assert rows["physics/all/track_length_px/chi2_paper"].n == 300


def test_classes_are_compared_when_labels_are_there_and_skipped_when_not(real):
    few = real.take(np.arange(120))
    is_track = few.table["track_length_px"] > 20
    labelled = ImageSet("l", few.images, few.table, is_track)
    both = pair(labelled, labelled, None, seed=0)
    rows = observable_rows("track_width_px", both, FEW_DRAWS, SEED)
    ours = [row for row in rows if row.metric.startswith("physics/tracks/")]
    assert len(ours) == len(STATISTICS) and {row.n for row in ours} == {int(is_track.sum())}
    bare = observable_rows("track_width_px", pair(few, labelled, None, seed=0), QUICK, SEED)
    assert np.isnan(bare[0].value) == (bare[0].metric.startswith("physics/tracks/"))
    assert "no SSNet labels" in bare[-1].note and bare[-1].status == "skipped"


def test_constant_observables_and_empty_images_are_no_error():
    empty = measured("e", np.zeros((40, 16, 16), np.uint8))
    both = pair(empty, empty, None, seed=0)
    rows = observable_rows("hit_multiplicity", both, FEW_DRAWS, SEED)
    assert [(row.value, row.p) for row in rows] == [(0.0, 1.0)] * 4
    assert correlation_rows(both, FEW_DRAWS, SEED)[0].value == 0.0
    with pytest.raises(TooFewImagesError, match="angle_deg is defined in 0 and 0 images"):
        observable_rows("angle_deg", both, FEW_DRAWS, SEED)


def test_too_few_images_are_refused(real):
    few = real.take(np.arange(30))
    with pytest.raises(TooFewImagesError, match="15 images, at least 20"):
        observable_rows("charge", pair(few, few, None, seed=0), QUICK, SEED)


def test_every_row_has_a_definition(real):
    few = real.take(np.arange(50))
    both = pair(few, few, None, seed=0)
    texts = [
        metric.definition(row.metric)
        for name, metric in METRICS.items()
        if name.startswith("physics/")
        for row in metric(both, FEW_DRAWS, SEED)
    ]
    assert len(texts) > 40
    assert len(set(texts)) == len(texts)


def test_image_rows_see_a_shift_of_the_mean_and_of_the_intensities(real, fresh):
    few = real.take(np.arange(300))
    moved = ImageSet("moved", np.roll(distort.scale_charge(fresh[:300], 0.8), 4, axis=1))
    both = pair(few, moved, few.take(np.arange(300)), seed=0)
    rows = image_rows(both, QUICK, 0)
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
        rows = observable_rows("charge", both, replace(QUICK, permutations=1, splits=2), 0)
        p.append(rows[1].p)
    assert rows[1].metric.endswith("chi2_two_sample")
    assert kstest(p, "uniform").pvalue > 0.001
