import dataclasses
import json

import numpy as np
import pytest

from evaluation import power
from evaluation.metrics import table
from tests.evaluation.drawn_images import drawn_images


@pytest.fixture
def line(tmp_path):
    for name, count, seed in (("real", 80, 0), ("train", 160, 1)):
        np.save(tmp_path / f"{name}.npy", drawn_images(count, seed=seed, size=32))
    given = [f"--{name}={tmp_path}/{name}.npy" for name in ("real", "train")]
    given += [f"--out={tmp_path}/out", f"--work={tmp_path}/work", "--n=80"]
    return [*given, "--metrics=physics/holes,physics/charge_per_pixel"]


def test_the_table_tells_flaws_from_chance_and_a_killed_study_goes_on(line, tmp_path, monkeypatch):
    given, ran = power.parse(line), []
    original = table.METRICS["physics/holes"]

    def dying(pair, *rest):
        ran.append(pair.generated.name)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return original.compute(pair, *rest)

    metric = dataclasses.replace(original, compute=dying)
    monkeypatch.setitem(table.METRICS, "physics/holes", metric)
    with pytest.raises(KeyboardInterrupt):
        power.measure_power(given)
    content = power.measure_power(given)
    # Two at a time, in any order: each once, and the one that was killed again.
    assert sorted(ran) == sorted([*power.CASES, ran[2]])
    noticed = {
        case: [r["metric"] for r in content["rows"] if r["set"] == case and power.verdict(r)[1]]
        for case in power.CASES
    }
    assert noticed["same"] == []
    assert "physics/all/holes/w1" in noticed["dropped_2_percent"]
    assert "physics/all/charge_per_pixel/w1" in noticed["blurred_0.5_px"]
    text = power.render(json.loads(json.dumps(content)))
    assert "| same | 0 | 8 | none |" in text
    assert "| physics/all/holes/w1 | p " in text and "**p 0.000999**" in text
    with pytest.raises(ValueError, match="another recipe"):
        power.measure_power(power.parse([*line, "--seed=1"]))


def test_floor_and_spoiled_images_are_different_images(line):
    sets = power.load_cases(power.parse(line))
    assert sets.keys() == {"real", "train", *power.CASES}
    assert {len(one) for one in sets.values()} == {80}
    own = {image.tobytes() for image in sets["train"].images}
    assert own.isdisjoint(image.tobytes() for image in sets["same"].images)
    assert len({one.facts["hash_of_used"] for one in sets.values()}) == len(sets)


def test_too_few_training_images_are_refused_with_the_numbers(line):
    with pytest.raises(ValueError, match="got 80 and 160: lower --n"):
        power.load_cases(power.parse([*line, "--n=81"]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"p": 0.0009}, ("p 0.0009", True)),
        ({"p": 0.5}, ("p 0.5", False)),
        ({"value": 1.0, "floor": 6.0}, ("z -3.5", True)),
        ({"value": 6.0, "floor": 2.0}, ("z 2.8", False)),
        ({"stderr": None}, ("no error", None)),
        ({"status": "skipped"}, ("skipped", None)),
    ],
)
def test_a_row_is_judged_by_p_or_else_by_its_distance_from_the_floor(change, expected):
    row = {"status": "ok", "p": None, "value": 1.0, "stderr": 1.0, "floor": 1.0}
    assert power.verdict(row | change) == expected
