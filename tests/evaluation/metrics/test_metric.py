import math

import pytest

from evaluation.metrics.metric import Result, join_notes


def test_a_floor_is_taken_from_the_same_metric_at_the_same_n():
    found = Result("w1/paper", 5.0, n=100).with_floor(Result("w1/paper", 4.0, n=100))
    assert (found.value, found.floor) == (5.0, 4.0)


@pytest.mark.parametrize("floor", [Result("w1/paper", 4.0, n=90), Result("w1/other", 4.0, n=100)])
def test_another_metric_or_n_is_no_floor(floor):
    with pytest.raises(ValueError, match=r"w1/paper at n = 100 must be that metric .* got w1"):
        Result("w1/paper", 5.0, n=100).with_floor(floor)


def test_what_did_not_converge_has_no_value():
    failed = Result("w1/paper", 5.0, 0.1, note="few").unconverged("stopped")
    assert math.isnan(failed.value) and failed.stderr is None and failed.status == "not converged"
    assert failed.note == "few; stopped"


def test_only_notes_that_say_something_are_joined():
    assert join_notes("", "a", "", "b") == "a; b" and join_notes() == ""
