import json

import pytest

from sgm_jax.config import flatten
from studies import choices
from studies.solvers import read_config

LINE = ["--config=configs/larcv_png64_cpu.py", "--real=a", "--train=b", "--out=c", "--steps=7"]


@pytest.mark.parametrize("name", choices.CHOICES)
def test_every_choice_is_a_configuration_that_can_run_and_differs_by_its_fields_only(name):
    given = choices.parse(LINE)
    plain = flatten(read_config(given.config))
    found = flatten(choices.configuration(given, name))
    differing = {field for field in found if found[field] != plain[field]}
    own = {"training.n_iters", "training.snapshot_sampling", "data.train_path", "data.test_path"}
    assert differing <= own | {"seed"} | set(choices.CHOICES[name])
    assert found["training.n_iters"] == 7


def test_an_unknown_choice_is_refused_with_the_known_ones():
    given = choices.parse([*LINE, "--only=edm; flow"])
    with pytest.raises(ValueError, match=r"unknown choices \['flow'\]; choose from edm; edm, low"):
        choices.study(given)


def test_the_table_has_a_line_for_each_average(tmp_path):
    number = {"value": 0.01, "stderr": 0.001}
    quality = {"physics": {"value": 20.0, "stderr": 3.0}, "mmd/unbiased": number}
    row = {"choice": "edm", "quality": quality}
    content = {
        "settings": {"config": "x.py", "steps": 7, "seed": 0, "images": 5},
        "choices": [row | {"ema_rate": rate} for rate in (0.999, 0.99)],
        "provenance": {"time": "now", "git_commit": "abc"},
    }
    text = choices.render(json.loads(json.dumps(content)))
    assert "| edm | 0.999 | 20 ± 3 | - | 10.00 ± 1.00 | - | - |" in text
    assert "| edm | 0.99 |" in text
