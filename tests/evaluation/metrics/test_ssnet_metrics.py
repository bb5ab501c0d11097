from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from evaluation.figures.distributions import figures
from evaluation.figures.figure import Comparison
from evaluation.images.segments import Segments
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.observables import measure
from evaluation.metrics.ssnet import COUNTS, METRICS, fraction_rows, score_rows
from evaluation.ssnet.network import CLASSES

BUDGET = Budget(None, None, None, 999, 19, 10)


def seen(count, seed, *, tracks=0.7, sure=8.0, pixels=60, name="s"):
    """Return a set of which only SSNet's table is of interest."""
    rng = np.random.default_rng(seed)
    lit = rng.poisson(pixels, (count, 3))
    scores = np.stack([rng.multinomial(n, np.full(50, 0.02)) for n in lit.ravel()])
    scores = scores.reshape(count, 3, 50)
    # Pixels of an image share their score more than they would by chance.
    scores[np.arange(count), 2, rng.binomial(49, sure / (1 + sure), count)] += pixels
    table = {
        "is_track": rng.random(count) < tracks,
        "is_track_lit": rng.random(count) < tracks,
        "num_track": rng.poisson(pixels, count),
        "num_shower": rng.poisson(20, count),
        "track_pixels": lit[:, 0],
        "shower_pixels": lit[:, 1],
        "certainty": rng.beta(sure, 1, count),
        "scores": scores,
    }
    return ImageSet(name, np.zeros((count, 8, 8), np.uint8)).labelled(
        Segments(table, "", np.arange(count))
    )


def all_rows(generated):
    both = pair(seen(600, 0), generated, seen(600, 1), seed=0)
    return {r.metric: r for metric in METRICS for r in metric(both, BUDGET, 3)}


@pytest.fixture(scope="module")
def equal():
    return all_rows(seen(600, 2))


def test_equal_sets_differ_by_chance_and_every_row_is_complete(equal):
    assert len(equal) == 2 + 4 * len(COUNTS) + 3 * len(CLASSES)
    for row in equal.values():
        assert None not in (row.value, row.stderr, row.floor, row.p) and row.n == 600
        assert row.p > 0.001


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        ({"tracks": 0.5}, ["ssnet/track_fraction", "ssnet/track_fraction_lit"]),
        ({"pixels": 64}, ["ssnet/track_pixels/w1", "ssnet/num_track/ks", "ssnet/num_track/w1"]),
        ({"sure": 5.0}, ["ssnet/certainty/chi2_two_sample", "ssnet/scores/track/w1"]),
    ],
)
def test_what_differs_is_caught_by_its_rows(change, caught):
    found = all_rows(seen(600, 4, **change))
    assert all(found[name].p <= 0.001 for name in caught)


def test_the_fraction_is_signed_with_the_binomial_error_and_p():
    real, generated = seen(400, 0), seen(100, 5, tracks=0.5)
    row = fraction_rows(pair(real, generated, None, seed=0), BUDGET, 0)[0]
    shares = [one.is_track.mean() for one in (real, generated)]
    variances = [s * (1 - s) / n for s, n in zip(shares, (400, 100), strict=True)]
    assert row.value == pytest.approx(shares[1] - shares[0])
    assert row.stderr == pytest.approx(np.sqrt(sum(variances)))
    about = 2 * norm.sf(abs(row.value) / row.stderr)
    assert about / 3 < row.p < 3 * about
    assert f"{100 * shares[1]:.1f} % of generated" in row.note


def test_scores_of_one_set_against_itself_are_equal():
    one = seen(60, 0)
    for row in score_rows(pair(one, one, one, seed=0), BUDGET, 0):
        assert row.value == 0.0 and row.p == 1.0


def test_pixels_that_share_their_image_do_not_make_chance_significant():
    low, budget = 0, Budget(None, None, None, 99, 19, 2)
    for seed in range(20):
        both = pair(seen(60, 2 * seed), seen(60, 2 * seed + 1), None, seed=0)
        low += sum(row.p < 0.02 for row in score_rows(both, budget, seed)[6:])
    assert low <= 6  # of 60; pixels taken as independent give about half of them


def test_without_ssnet_every_metric_says_what_to_do():
    plain = ImageSet("s", np.zeros((30, 8, 8), np.uint8))
    for metric in METRICS:
        for row in metric(pair(plain, plain, None, seed=0), BUDGET, 0):
            assert row.note.startswith("skipped: ") and "--ssnet" in row.note
            assert metric.definition(row.metric)


def test_too_few_images_are_said():
    few = seen(12, 0)
    for metric in METRICS:
        with pytest.raises(TooFewImagesError, match="12 images|at least 20"):
            metric(pair(few, few, few, seed=0), BUDGET, 0)


def comparison(real, generated):
    sets = [replace(one, table=measure(one.images)) for one in (real, generated)]
    return Comparison([pair(*sets, None, seed=0)], [], BUDGET, 0)


def test_figures_hold_the_counts_of_every_set():
    sets = (seen(50, 0, name="real"), seen(30, 1, name="generated"))
    drawn = figures(comparison(*sets))
    assert sum(name.startswith("ssnet_") for name in drawn) == 1 + len(COUNTS) + len(CLASSES)
    _, numbers = drawn["ssnet_track_pixels"]()
    assert {who: sum(found) for who, found in numbers["counts"].items()} == {
        "real": 50,
        "generated": 30,
    }
    _, numbers = drawn["ssnet_scores_track"]()
    assert sum(numbers["counts"]["real"]) == sets[0].segments.table["scores"][:, 2].sum()
    _, numbers = drawn["ssnet_fractions"]()
    assert numbers["is_track"]["generated"] == pytest.approx(sets[1].is_track.mean())
    plain = ImageSet("plain", np.zeros((3, 8, 8), np.uint8))
    drawn = figures(comparison(sets[0], plain))
    assert "charge" in drawn and not any(name.startswith("ssnet_") for name in drawn)
