import dataclasses
import threading

import pytest

from evaluation.images.sets import ImageSet, pair
from evaluation.metrics import compute
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Metric, Result
from evaluation.metrics.table import choose
from sgm_jax.run.parts import Parts
from tests.evaluation.drawn_images import drawn_images

ALONE = Budget(None, None, None, 20, 20, 4)
TOGETHER = dataclasses.replace(ALONE, at_once=2)


@pytest.fixture
def pairs():
    real, generated = (ImageSet(n, drawn_images(40, seed=k, size=16)) for k, n in enumerate("rg"))
    return [pair(real, generated, None, seed=0)]


def test_metrics_at_once_give_the_rows_of_one_after_the_other(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "_processors", lambda: 2)
    metrics = choose("looking,mmd/median,w1,neighbours/l2,memorisation/duplicates")
    found = [
        compute.compute(pairs, metrics, budget, seed=0, parts=Parts(tmp_path / str(budget.at_once)))
        for budget in (ALONE, TOGETHER)
    ]
    for first, second in zip(*found, strict=True):
        assert dataclasses.replace(first, seconds=second.seconds) == second


def meeting(name, own, other):
    """Return a metric that ends only after another one has begun as well."""

    def rows(pair, budget, seed):
        own.set()
        assert other.wait(20)
        return [Result(f"w1/{name}", 1.0)]

    return rows


def test_two_metrics_run_at_once_and_rows_stay_in_order(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "_processors", lambda: 2)
    events = threading.Event(), threading.Event()
    metrics = [
        Metric("a", meeting("corrected", *events), {"w1": "W1"}),
        Metric("b", meeting("paper", *events[::-1]), {"w1": "W1"}),
    ]
    found = compute.compute(pairs, metrics, TOGETHER, seed=0, parts=Parts(tmp_path))
    assert [row.metric for row in found] == ["w1/corrected", "w1/paper"]


@pytest.mark.parametrize("budget", [ALONE, TOGETHER])
def test_an_interruption_ends_it_and_keeps_what_is_done(pairs, tmp_path, monkeypatch, budget):
    monkeypatch.setattr(compute, "_processors", lambda: 2)
    begun = []

    def stop(pair, budget, seed):
        begun.append("stop")
        raise KeyboardInterrupt

    def fine(pair, budget, seed):
        begun.append("fine")
        return [Result("w1/paper", 1.0)]

    # With threads the last metric is begun first.
    names = ["fine0", "stop", "fine1"] if budget is ALONE else ["fine1", "stop", "fine0"]
    order = [Metric(name, stop if name == "stop" else fine, {"w1": "W1"}) for name in names]
    with pytest.raises(KeyboardInterrupt):
        compute.compute(pairs, order, budget, seed=0, parts=Parts(tmp_path))
    assert (tmp_path / "rows/fine0@g.json").is_file() and "stop" in begun
