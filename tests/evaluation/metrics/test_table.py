import numpy as np
import pytest

from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.budget import BUDGETS, Budget
from evaluation.metrics.compute import seed_of
from evaluation.metrics.metric import Metric, on_pixels
from evaluation.metrics.mmd import mmd_paper
from evaluation.metrics.table import METRICS, choose
from tests.evaluation.drawn_images import drawn_images

BUDGET = Budget(None, None, None, 20, 20, 4)


def image_set(count, seed):
    return ImageSet("s", drawn_images(count, seed=seed, size=16))


def test_names_and_first_parts_choose_metrics_in_the_order_of_the_table():
    assert choose(None) == list(METRICS.values())
    expected = [METRICS["physics/charge"], METRICS["looking"]]
    assert choose("looking, physics/charge") == choose(["looking", "physics/charge"]) == expected
    chosen = choose("mmd")
    assert chosen and all(metric.name.startswith("mmd/") for metric in chosen)
    for bad in ("phys", "", "charge"):
        with pytest.raises(ValueError, match="unknown metrics"):
            choose(bad)


def test_a_metric_has_a_seed_of_its_own():
    seeds = {seed_of(name, seed) for name in METRICS for seed in (0, 1)}
    assert len(seeds) == 2 * len(METRICS)


def test_value_and_floor_of_pixels_are_of_one_size():
    real, generated, train = image_set(40, 0), image_set(60, 1), image_set(50, 2)
    both = pair(real, generated, train, seed=0)
    (row,) = on_pixels(mmd_paper)(both, BUDGET, 3)
    assert row.n == 40 and "floor from training images" in row.note
    equal = both.equal_sizes(seed=3)
    assert row.floor == mmd_paper(*(one.flat() for one in equal.floor), seed=3).value
    (halved,) = on_pixels(mmd_paper)(pair(real, real, None, seed=0), BUDGET, 3)
    assert halved.n == 20


@pytest.mark.parametrize(
    "name", ["mmd/paper", "mmd/unbiased", "mmd/median", "w1", "w1/annealed", "sliced_w1"]
)
def test_every_row_of_pixels_has_a_floor_and_a_definition(name):
    both = pair(image_set(60, 0), image_set(60, 1), None, seed=0)
    for row in METRICS[name](both, BUDGET, 0):
        assert row.floor is not None and np.isfinite(row.value)
        assert METRICS[name].definition(row.metric)


def test_a_row_nobody_defined_is_an_error():
    assert METRICS["sinkhorn"].definition("sinkhorn/p1/eps255")
    with pytest.raises(KeyError, match="unheard/of"):
        METRICS["sinkhorn"].definition("unheard/of")


def test_a_metric_of_ones_own_stands_beside_those_of_the_table():
    own = Metric("brightness", lambda pair, budget, seed: [], "difference of the mean pixels")
    assert choose([own, "looking"]) == [METRICS["looking"], own]
    assert choose([own]) == [own] and own.definition("brightness") == own.definitions


def test_too_few_images_are_said_before_anything_is_computed():
    few = image_set(20, 0)
    with pytest.raises(TooFewImagesError, match="10 images, at least 20"):
        METRICS["w1"](pair(few, few, None, seed=0), BUDGET, 0)


def test_budgets_grow():
    small, paper, full = BUDGETS.values()
    assert small.generated < paper.generated and full.generated is None
    assert paper.real == 10_000 and paper.generated == 50_000  # arXiv:2307.13687


def test_annealed_transport_bounds_the_exact_one_and_says_so():
    both = pair(image_set(60, 0), image_set(60, 1), None, seed=0)
    (annealed,) = METRICS["w1/annealed"](both, BUDGET, 0)
    exact, _ = METRICS["w1"](both, BUDGET, 0)
    assert exact.n == annealed.n
    assert exact.value - np.log(annealed.n) < annealed.value <= exact.value + 1e-3
    assert "W1 lies between" in annealed.note


def test_only_what_asks_ssnet_makes_it_run():
    for name in ("looking", "mmd/paper", "physics/peak", "w1"):
        assert METRICS[name].needs == ""
    for name in ("physics/charge", "ssnet/scores", "classifier/tstr/cnn"):
        assert METRICS[name].needs == "labels"
    assert METRICS["kid"].needs == "features"
