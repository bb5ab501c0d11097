import dataclasses
import math

import numpy as np
import pytest

from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics import memorisation, neighbours
from evaluation.metrics.budget import BUDGETS
from tests.evaluation.drawn_images import drawn_images

NEIGHBOUR_METRICS = {metric.name: metric for metric in (*neighbours.METRICS, *memorisation.METRICS)}
_BUDGET = dataclasses.replace(BUDGETS["small"], permutations=49)


def _set(name, seed, count=40):
    return ImageSet(name, drawn_images(count, seed=seed, size=16))


def _rows(name, sets):
    return {row.metric: row for row in NEIGHBOUR_METRICS[name](sets, _BUDGET, 3)}


@pytest.fixture
def three_sets():
    return pair(_set("real", 0, 45), _set("generated", 1), _set("train", 2, 50), seed=0)


@pytest.mark.parametrize("name", NEIGHBOUR_METRICS)
def test_rows_are_defined_have_their_size_and_depend_on_the_seed_only(name, three_sets):
    first, again = (_rows(name, three_sets) for _ in range(2))
    assert first == again
    for metric, row in first.items():
        assert NEIGHBOUR_METRICS[name].definition(metric)
        assert metric.startswith(name) and row.n >= 20 and np.isfinite(row.value)
        assert row.p is None or row.p > 0.001


def test_alike_sets_are_near_their_floors(three_sets):
    by_l2 = _rows("neighbours/l2", three_sets)
    for row in (*by_l2.values(), *_rows("neighbours/emd", three_sets).values()):
        assert row.value == pytest.approx(row.floor, rel=0.5)
    assert by_l2["neighbours/l2/real"].stderr < 0.2 * by_l2["neighbours/l2/real"].value


def test_copies_of_training_images_show_in_every_memorisation_row(three_sets):
    train = three_sets.train
    copied = np.rot90(train.images[:40], axes=(1, 2)).copy()
    copied[:30] = train.images[:30]
    copied[30] = copied[31]
    copied[39] = 0
    spoiled = dataclasses.replace(three_sets, generated=ImageSet("generated", copied))
    rows = {k: v for name in NEIGHBOUR_METRICS for k, v in _rows(name, spoiled).items()}
    for metric in ("l2/nearer", "l2/ratio", "emd/ratio", "duplicates/train"):
        assert rows[f"memorisation/{metric}"].p < 0.05, metric
    assert rows["memorisation/l2/ratio"].value == 0.0
    of_train = rows["memorisation/duplicates/train"]
    assert of_train.value == pytest.approx(39 / 40) and of_train.floor == 0.0
    assert (
        of_train.note == "39 of 40 images, 30 of them as they are; 1 without charge count as none"
    )
    twice = rows["memorisation/duplicates/generated"]
    assert twice.value == pytest.approx(2 / 40) and twice.note.startswith("2 of 40 images, 2 of")
    assert rows["memorisation/duplicates/test"].value == 0.0
    assert "1 without charge left out" in rows["memorisation/emd/ratio"].note


def test_a_leak_between_test_and_training_images_is_reported(three_sets):
    leaking = three_sets.real.images.copy()
    leaking[:9] = three_sets.train.images[:9, ::-1]
    real = ImageSet("real", leaking)
    sets = dataclasses.replace(three_sets, real=real, floor=(real, three_sets.floor[1]))
    rows = _rows("memorisation/duplicates", sets)
    assert rows["memorisation/duplicates/test"].value == pytest.approx(9 / 45)
    assert rows["memorisation/duplicates/train"].floor == pytest.approx(9 / 45)


def test_without_training_images_rows_are_skipped_with_the_fix():
    sets = pair(_set("real", 0, 60), _set("generated", 1), None, seed=0)
    for name in ("memorisation/l2", "memorisation/emd", "memorisation/duplicates"):
        for metric, row in _rows(name, sets).items():
            if metric == "memorisation/duplicates/generated":
                assert row.value == 0.0
            else:
                assert math.isnan(row.value) and row.status == "skipped"
                assert row.note.startswith("skipped") and "--train" in row.note
    row = _rows("neighbours/emd", sets)["neighbours/emd"]
    assert row.n == 20 and "halves of the real images" in row.note


def test_too_few_images_or_charges_are_said(three_sets):
    few = dataclasses.replace(three_sets, generated=_set("generated", 1, 15))
    for name in NEIGHBOUR_METRICS:
        with pytest.raises(TooFewImagesError, match="15 images, at least 20"):
            NEIGHBOUR_METRICS[name](few, _BUDGET, 0)
    empty = ImageSet("generated", np.zeros((40, 16, 16), np.uint8))
    with pytest.raises(TooFewImagesError, match="generated: 0 images"):
        NEIGHBOUR_METRICS["neighbours/emd"](
            dataclasses.replace(three_sets, generated=empty), _BUDGET, 0
        )
