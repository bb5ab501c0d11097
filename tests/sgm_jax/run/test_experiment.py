"""The configuration that a command line means: a file, a run's own, and what differs."""

import json

import pytest

from sgm_jax.run.experiment import overridden, read_experiment, split_overrides
from tests.tiny_run import tiny_config


def test_fields_are_told_from_flags_wherever_they_stand():
    line = ["main", "--config.seed=3", "--mode", "sample", "--config", "c.py", "--config.data.std"]
    rest, fields = split_overrides([*line, "0.5", "-config.training.continuous", "--ema=1"])
    assert rest == ["main", "--mode", "sample", "--config", "c.py", "--ema=1"]
    assert fields == ["--config.seed=3", "--config.data.std=0.5", "-config.training.continuous"]


def test_fields_take_the_types_that_they_have(tmp_path):
    config = tiny_config(tmp_path)
    changes = ["--config.seed=3", "--config.model.ch_mult=(1, 2)", "--noconfig.training.continuous"]
    changed = overridden(config, [*changes, "--config.optim.lr=1"])
    assert (changed.seed, changed.model.ch_mult, changed.optim.lr) == (3, (1, 2), 1.0)
    assert changed.training.continuous is False and changed.is_locked
    assert config.seed == 42 and config.training.continuous is True
    assert overridden(config, []).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            "training.batchsize=2",
            r"--config\.training\.batchsize; .*--config\.training\.batch_size",
        ),
        ("trainig.batch_size=2", r"--config\.trainig\.batch_size"),
        ("batch_size.none.of=2", r"--config\.batch_size\.none\.of"),
        ("seed=many", r"--config\.seed"),
        ("seed.deeper=1", r"--config\.seed\.deeper"),
    ],
)
def test_what_is_no_field_is_named(field, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        overridden(tiny_config(tmp_path), [f"--config.{field}"])


def test_a_file_a_run_and_its_folder_give_the_same(tmp_path):
    config = read_experiment("configs/larcv_png64_cpu.py")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    for path in (tmp_path / "config.json", tmp_path):
        stored = read_experiment(str(path))
        assert stored.to_dict() == config.to_dict() and stored.is_locked
        assert isinstance(stored.model.ch_mult, tuple)


def test_what_is_no_configuration_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no configuration nowhere\.py"):
        read_experiment("nowhere.py")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        read_experiment(str(tmp_path / "config.json"))
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"config\.yaml is no configuration"):
        read_experiment(str(tmp_path / "config.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", r"SyntaxError: .* line 1"),
        ("import no_such_package", "no_such_package.* line 1"),
        ("x = 1", r"no function get_config\(\)"),
        ("def get_config():\n    return {'seed': 1}", "returns dict, not a ConfigDict"),
        ("def get_config():\n    x = 1\n    return x.y", "AttributeError: .* in line 3"),
    ],
)
def test_a_file_that_is_no_configuration_says_why_in_one_line(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        read_experiment(str(tmp_path / "mine.py"))
    assert str(refusal.value).startswith(f"--config={tmp_path / 'mine.py'}")
    assert "\n" not in str(refusal.value)


def test_json_of_something_else_is_refused(tmp_path):
    (tmp_path / "package.json").write_text('{"data": 1, "name": "mine"}')
    with pytest.raises(ValueError, match=r"no data, model, training; give"):
        read_experiment(str(tmp_path / "package.json"))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("training=2", r"is a section; .* such as --config\.training\."),
        ("batch_size=2", r"mean --config\.eval\.batch_size or --config\.training\.batch_size\?"),
        ("seed", "--config.seed needs a value"),
        ("seed=1.5", "whole number, such as 42"),
        ("training.continuous=perhaps", "True or False, such as True"),
        ("optim.lr=fast", "is a number, such as 0.0002"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_fits(field, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        overridden(tiny_config(tmp_path), ["--config.optim.eps=1e-3", f"--config.{field}"])
