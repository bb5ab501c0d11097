import re

import numpy as np
import pytest

from launch.benchmark import evaluator


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in {"MMD_IMAGES": 40, "W1_IMAGES": 50, "FEATURES": 16}.items():
        monkeypatch.setattr(evaluator, name, value)


def test_toy_images_are_thin_tracks_of_grey_levels():
    images = evaluator.toy_images(200, seed=0)
    assert images.shape == (200, 64 * 64) and images.dtype == np.float32
    assert images.min() == 0.0 and images.max() <= 255.0
    assert (images == np.rint(images)).all()
    lit = (images > 0).sum(axis=1)
    assert lit.min() >= 8 and lit.max() <= 128


@pytest.mark.parametrize("name", ["distances", "w1", "fid"])
def test_both_ways_to_compute_agree(name):
    found = evaluator.COMPARISONS[name]()
    assert found.value == pytest.approx(found.other_value, rel=1e-6)
    assert found.seconds > 0.0 and found.other_seconds > 0.0


def test_the_table_has_a_line_for_each_and_a_dash_for_what_is_not_installed():
    whole = evaluator.Comparison("W1", 1.5, 7.25, "POT", 3.0, 7.25, 0.5)
    text = evaluator.table([whole, whole._replace(other_seconds=None, other_value=None)])
    rows = text.splitlines()
    assert re.search(r"W1 +1\.50 +7\.25 +POT +3 +7\.25 +0\.5$", rows[1])
    assert re.search(r"POT +- +- +0\.5$", rows[2])
