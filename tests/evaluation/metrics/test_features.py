import dataclasses

import numpy as np
import pytest

from evaluation.images.segments import Segments
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.fid import frechet_p
from evaluation.metrics.table import METRICS
from tests.evaluation.drawn_images import drawn_images

BUDGET = Budget(None, None, None, 199, 19, 4)
FEATURE_METRICS = {name: metric for name, metric in METRICS.items() if metric.needs == "features"}
FEATURES = 96
IDS = {
    "fid/direct": ["fid/paper", "fid/full"],
    "fid/infinity": ["fid/infinity"],
    "fid/pca": ["fid/pca64"],
    "kid": ["kid"],
    "kpd": ["kpd"],
    "prdc": ["precision/k5", "recall/k5", "density/k5", "coverage/k5"],
}


def feature_set(count, seed, *, shift=0.0, name="s"):
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.standard_normal((count, FEATURES)) + shift, 0).astype(np.float32)
    table = {"is_track": rng.random(count) < 0.5}
    segments = Segments(table, "", np.arange(count), values)
    return ImageSet(name, drawn_images(count, seed=seed, size=16)).labelled(segments)


@pytest.fixture(scope="module")
def found():
    """Rows by id of an equal and of a shifted set, of 120 images each."""
    real, train = feature_set(120, 0), feature_set(140, 1)
    sets = {"equal": feature_set(120, 2), "shifted": feature_set(120, 3, shift=0.3)}
    return {
        name: {
            row.metric: row
            for metric in FEATURE_METRICS.values()
            for row in metric(pair(real, generated, train, seed=0), BUDGET, 5)
        }
        for name, generated in sets.items()
    }


def test_every_row_of_features_has_an_error_a_floor_and_a_definition(found):
    assert list(found["equal"]) == [name for ids in IDS.values() for name in ids]
    definitions = [
        metric.definition(row) for name, metric in FEATURE_METRICS.items() for row in IDS[name]
    ]
    assert all(definitions)
    for row in found["equal"].values():
        assert row.n == 120 and np.isfinite([row.value, row.stderr, row.floor]).all()
        assert "floor from training images" in row.note


def test_equal_features_are_near_the_floor_and_shifted_ones_are_not(found):
    for name in ("fid/paper", "fid/pca64", "kid", "kpd"):
        equal, shifted = found["equal"][name], found["shifted"][name]
        assert abs(equal.value - equal.floor) < 4 * equal.stderr
        assert shifted.value - shifted.floor > 4 * shifted.stderr
        if name != "fid/paper":
            assert equal.p > 0.01 and shifted.p == pytest.approx(1 / 200)
    assert found["shifted"]["coverage/k5"].value < found["equal"]["coverage/k5"].value - 0.1


def test_fid_of_few_images_is_computed_once_and_a_note_says_so(found):
    paper, full = found["equal"]["fid/paper"], found["equal"]["fid/full"]
    assert (paper.value, paper.stderr, paper.floor) == (full.value, full.stderr, full.floor)
    assert "reduced from 10000 images to 120" in paper.note and "reduced" not in full.note


def test_a_set_against_itself_is_at_distance_zero():
    one = feature_set(90, 4)
    both = dataclasses.replace(pair(one, one, one, seed=0), floor=(one, one))
    for name in ("fid/direct", "fid/pca"):
        for row in FEATURE_METRICS[name](both, BUDGET, 5):
            assert row.floor == pytest.approx(0, abs=1e-6)


def test_the_permutation_p_of_fid_is_exact_for_the_most_extreme_labelling():
    x, y = np.zeros((8, 2)), np.ones((8, 2))
    x[:, 0], y[:, 0] = np.arange(8), 50 + np.arange(8)
    assert frechet_p(x, y, permutations=99, seed=0) == pytest.approx(0.01)
    assert frechet_p(x, x.copy(), permutations=99, seed=0) == 1.0


@pytest.mark.parametrize("name", FEATURE_METRICS)
def test_without_features_the_row_says_what_to_do(name):
    plain = ImageSet("s", drawn_images(30, seed=0, size=16))
    unkept = feature_set(30, 1)
    unkept = dataclasses.replace(unkept, segments=dataclasses.replace(unkept.segments, stored=None))
    for one in (plain, unkept):
        (row,) = FEATURE_METRICS[name](pair(one, one, one, seed=0), BUDGET, 0)
        assert row.metric.split("/")[0] == IDS[name][0].split("/")[0] and np.isnan(row.value)
        assert row.note.startswith("skipped: ") and "--ssnet" in row.note
        assert FEATURE_METRICS[name].definition(row.metric)


def test_too_few_images_for_components_are_said_with_both_numbers():
    few = feature_set(60, 0)
    with pytest.raises(TooFewImagesError, match="60 images, at least 65"):
        FEATURE_METRICS["fid/pca"](pair(few, few, few, seed=0), BUDGET, 0)
