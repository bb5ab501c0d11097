"""Equal sets must give every p as often as every other: 80 pairs of small sets."""

import numpy as np
import pytest
from scipy.stats import kstest

from evaluation.images.segments import Segments
from evaluation.images.sets import ImageSet, pair
from evaluation.metrics import table
from evaluation.metrics.budget import Budget
from evaluation.metrics.observables import measure
from tests.evaluation.drawn_images import drawn_images

DRAWS, COUNT, FEATURES = 80, 70, 72
BUDGET = Budget(None, None, None, 199, 199, 2)
METRICS = ("physics/charge", "physics/correlation", "looking", "ssnet/certainty", "ssnet/scores")
METRICS += ("mmd/unbiased", "mmd/median", "sliced_w1", "kid", "fid/pca")
APPROXIMATE = ("chi2_two_sample",)  # p from a distribution that few images only approach
TIED = ("ks", "chi2_paper", "chi2")  # of few possible values, so that p may only be too large

pytestmark = pytest.mark.slow


def drawn_set(seed):
    """Return a set with a made-up table of SSNet and features, all equally distributed."""
    rng = np.random.default_rng([seed, 7])
    images = drawn_images(COUNT, seed=seed, size=16)
    scores = rng.poisson(rng.gamma(2.0, 1.0, (COUNT, 3, 1)), (COUNT, 3, 50))
    columns = {
        "is_track": np.ones(COUNT, bool),
        "certainty": rng.beta(5, 1, COUNT),
        "scores": scores,
    }
    features = np.maximum(rng.standard_normal((COUNT, FEATURES)), 0).astype(np.float32)
    one = ImageSet("s", images, measure(images))
    return one.labelled(Segments(columns, "", np.arange(COUNT), features))


@pytest.fixture(scope="module")
def found():
    """Every p of every row, by id."""
    p = {}
    other = drawn_set(10_000)
    for draw in range(DRAWS):
        both = pair(drawn_set(2 * draw), drawn_set(2 * draw + 1), other, seed=draw)
        for metric in METRICS:
            for row in table.METRICS[metric](both, BUDGET, draw):
                if row.p is not None and not row.metric.endswith(APPROXIMATE):
                    p.setdefault(row.metric, []).append(row.p)
    return p


def test_p_is_uniform_in_equal_sets(found):
    assert len(found) > 20
    not_uniform = {}
    for metric, values in found.items():
        assert len(values) == DRAWS, metric
        # A permutation p is one of 200 numbers: spread it over its step.
        spread = np.array(values) - np.random.default_rng(0).random(DRAWS) / 200
        side = "greater" if metric.endswith(TIED) else "two-sided"
        agreement = kstest(spread, "uniform", alternative=side).pvalue
        if agreement <= 0.001:
            not_uniform[metric] = agreement
    assert not_uniform == {}
