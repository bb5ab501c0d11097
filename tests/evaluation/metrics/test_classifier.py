import dataclasses
import functools

import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.figures.classifier import draw, draw_attribution, draw_sizes, figures
from evaluation.figures.figure import Comparison
from evaluation.images import distort
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.auc import null_variance
from evaluation.metrics.budget import Budget
from evaluation.metrics.classifier import (
    KINDS,
    METRICS,
    attribute,
    fit_trees,
    held_out_scores,
    multi_rows,
    transferred,
)
from evaluation.metrics.compute import seed_of
from evaluation.metrics.metric import Result
from evaluation.metrics.observables import measure
from evaluation.metrics.small_cnn import fit_cnn
from tests.evaluation.drawn_images import drawn_images

BUDGET = Budget(None, None, None, 20, 20, 4)
CLASSIFIER_METRICS = {metric.name: metric for metric in METRICS}


def fit_means(inputs, labels, *, seed):
    """Classify by the nearer mean: quick, and a symmetric kernel over the training rows."""
    means = np.stack([inputs[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    return lambda tested: tested @ means.T - 0.5 * (means**2).sum(axis=1)


def normal(count, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, size=(count, 5))


def image_set(name, images, labelled=False):
    table = measure(images)
    is_track = table["charge"] > np.median(table["charge"]) if labelled else None
    return ImageSet(name, images, table, is_track)


@pytest.fixture(scope="module")
def real():
    return image_set("real", drawn_images(240, seed=0, size=16), labelled=True)


@pytest.fixture(scope="module")
def fresh():
    return image_set("fresh", drawn_images(240, seed=1, size=16), labelled=True)


@pytest.fixture(scope="module")
def blurred():
    images = distort.blur(drawn_images(240, seed=2, size=16), 0.8)
    return image_set("blurred", images, labelled=True)


@pytest.mark.parametrize("folds", [2, 5])
def test_p_of_equal_sets_is_uniform_because_folds_share_their_images(folds):
    draws = range(250)
    found = [
        held_out_scores(fit_means, normal(60, k), normal(60, 1000 + k), folds=folds, seed=k).auc()
        for k in draws
    ]
    assert kstest([one.p for one in found], "uniform").pvalue > 0.001
    size = 60 // folds
    alone = null_variance(np.arange(size), np.arange(size) + 0.5) / folds
    assert 1.5 < np.var([one.value for one in found]) / alone < 2.6
    assert kstest([one.value for one in found], "norm", (0.5, np.sqrt(alone))).pvalue < 0.05


def test_trees_do_not_find_more_than_there_is_in_equal_sets():
    found = [
        held_out_scores(fit_trees, normal(60, k), normal(60, 1000 + k), folds=2, seed=k).auc().p
        for k in range(25)
    ]
    assert kstest(found, "uniform").pvalue > 0.001


@pytest.mark.parametrize("fit", [fit_trees, fit_means])
def test_a_set_against_itself_is_at_one_half_exactly(fit):
    rows = normal(80, 0)
    found = held_out_scores(fit, rows, rows, folds=4, seed=0).auc()
    assert found.value == 0.5 and found.p >= 0.5


@pytest.mark.parametrize("fit", [fit_trees, fit_means])
def test_separable_sets_are_separated_and_undefined_values_are_allowed(fit):
    far = normal(80, 1, shift=20.0)
    assert held_out_scores(fit, normal(80, 0), far, folds=4, seed=0).auc().value == 1.0
    if fit is fit_trees:
        rows = normal(80, 0)
        rows[:, 0] = np.nan
        found = held_out_scores(fit, rows, far, folds=4, seed=0).auc()
        assert found.value == 1.0 and found.p < 1e-6


def test_more_training_images_find_more():
    sets = [np.concatenate([normal(1000, k, shift=0.15 * k)], axis=0) for k in (0, 1)]
    values = [
        held_out_scores(fit_means, *sets, folds=2, seed=0, size=size).auc().value
        for size in (4, 400)
    ]
    assert values[1] > values[0] + 0.02


def test_every_image_is_held_out_once_or_the_first_fold_alone():
    found = held_out_scores(fit_means, normal(30, 0), normal(20, 1), folds=5, seed=0)
    assert len(found.scores) == 50 and found.is_generated.sum() == 20
    np.testing.assert_array_equal(np.bincount(found.fold), [10] * 5)
    first = held_out_scores(fit_means, normal(30, 0), normal(20, 1), folds=5, seed=0, tested=1)
    np.testing.assert_array_equal(first.scores, found.scores[found.fold == 0])


@pytest.mark.usefixtures("optax_promotion")
def test_the_network_sees_blur_and_each_image_alone(real, blurred):
    half = [np.concatenate([one.images[k::2] for one in (real, blurred)]) for k in (0, 1)]
    labels = np.repeat([0, 1], 120)
    predict = fit_cnn(half[0], labels, seed=0, steps=250)
    logs = predict(half[1])
    assert (logs.argmax(axis=1) == labels).mean() > 0.9
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(predict(half[1][7:8]), logs[7:8], rtol=1e-5)


@pytest.mark.usefixtures("optax_promotion")
def test_the_network_depends_on_the_seed_alone(real):
    images, labels = real.images[:64], np.arange(64) % 2
    first, again, other = (fit_cnn(images, labels, seed=s, steps=5)(images) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.usefixtures("optax_promotion")
@pytest.mark.parametrize("kind", ["trees", "cnn"])
def test_rows_have_values_floors_and_definitions(kind, real, fresh, blurred, monkeypatch):
    fit = functools.partial(fit_cnn, steps=120) if kind == "cnn" else fit_trees
    quick = dataclasses.replace(KINDS[kind], fit=fit, sizes=(50, 25_000))
    monkeypatch.setitem(KINDS, kind, quick)
    both = pair(real, blurred, fresh, seed=0)
    full, small = CLASSIFIER_METRICS[f"classifier/{kind}"](both, BUDGET, 3)
    assert (full.metric, small.metric) == (f"classifier/{kind}", f"classifier/{kind}@50")
    assert full.n == 240
    assert full.value > 0.9 and full.p < 1e-6
    assert abs(full.floor - 0.5) < 0.15
    assert "training images" in full.note and "DeLong" in full.note


def test_every_size_has_a_definition():
    for kind in KINDS:
        metric = CLASSIFIER_METRICS[f"classifier/{kind}"]
        rows = [metric.name, *(f"classifier/{kind}@{size}" for size in KINDS[kind].sizes)]
        assert len({metric.definition(row) for row in rows}) == len(rows)


def test_labels_of_generated_images_train_as_well_as_real_ones_if_they_are_right(real, fresh):
    metric = CLASSIFIER_METRICS["classifier/tstr/trees"]
    (row,) = metric(pair(real, fresh, real.take(np.arange(240)[::-1]), seed=0), BUDGET, 0)
    assert row.value > 0.9 and row.floor > 0.9 and row.p is None
    wrong = ImageSet("w", fresh.images, fresh.table, ~fresh.is_track)
    (bad,) = metric(pair(real, wrong, fresh, seed=0), BUDGET, 0)
    assert bad.value < 0.1 and bad.floor > 0.9
    (bare,) = metric(pair(real, ImageSet("b", fresh.images, fresh.table), None, seed=0), BUDGET, 0)
    assert np.isnan(bare.value) and bare.note.startswith("skipped: ")
    tracks = fresh.take(np.flatnonzero(fresh.is_track))
    with pytest.raises(TooFewImagesError, match="0 images, at least 20"):
        metric(pair(real, tracks, fresh, seed=0), BUDGET, 0)


def test_what_is_right_is_counted():
    rows, labels = normal(100, 0), np.repeat([False, True], 50)
    rows[labels] += 10.0
    right = transferred(fit_means, (rows, labels), (rows[::-1], labels), seed=0)
    assert right.shape == (100,) and not right.any()


def test_real_images_are_attributed_to_the_generator_they_resemble():
    sets = [normal(200, 1), normal(250, 2, shift=1.0), normal(200, 3, shift=-1.0)]
    found = attribute(fit_trees, normal(300, 4), sets, folds=3, seed=0)
    assert found.real.argmax() == 0 and found.real.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(found.held_out.argmax(axis=1), [0, 1, 2])
    equal = attribute(fit_trees, normal(300, 4), [normal(200, 5), normal(200, 6)], folds=3, seed=0)
    assert abs(equal.real[0] - 0.5) < 5 * equal.stderr[0] and 0 < equal.stderr[0] < 0.1
    with pytest.raises(ValueError, match="1 generated set; which of them needs at least 2"):
        attribute(fit_trees, normal(300, 4), sets[:1], folds=3, seed=0)


def test_too_few_images_are_said(real):
    few = real.take(np.arange(40))
    with pytest.raises(TooFewImagesError, match="40 images, at least 50"):
        CLASSIFIER_METRICS["classifier/trees"](pair(few, few, few, seed=0), BUDGET, 0)


def test_figures_hold_the_numbers_of_the_rows(real, fresh, blurred):
    both = pair(real, blurred, fresh, seed=0)
    rows = CLASSIFIER_METRICS["classifier/trees"](both, BUDGET, 3)
    _, scores = draw(both, 3)
    assert scores["roc"]["real and generated"]["auc"] == rows[0].value
    assert scores["roc"]["real and real"]["auc"] == rows[0].floor
    assert sum(scores["scores"]["real"]) == 240
    figure, sizes = draw_sizes(rows)
    assert sizes["trees"]["auc"] == [rows[0].value] and sizes["trees"]["size"] == [192]
    assert figure.axes[0].get_xlabel()
    found = {"trees": multi_rows("trees", real, [fresh, blurred], seed=0)}
    _, shares = draw_attribution(found)
    assert shares["trees"]["fresh"]["mean"] > 0.8
    assert CLASSIFIER_METRICS["classifier/multi"].definition(found["trees"]["fresh"].metric)
    assert draw_sizes([])[1] == {}


def test_the_figure_of_a_report_shows_the_numbers_of_its_row(real, fresh, blurred):
    both, metric = pair(real, blurred, fresh, seed=0), "classifier/trees"
    row = CLASSIFIER_METRICS[metric](both, BUDGET, seed_of(metric, 3))[0]
    drawing = figures(Comparison([both], [Result(metric, 0.5, set="blurred")], BUDGET, 3))
    roc = drawing["classifier_blurred"]()[1]["roc"]
    assert roc["real and generated"]["auc"] == row.value
    assert roc["real and real"]["auc"] == row.floor
