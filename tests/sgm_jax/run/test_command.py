"""How commands start and end: the guard against a wrong jax, and errors in one line."""

import configparser
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sgm_jax.run.command import check_jax, run_command
from sgm_jax.run.extras import EXTRAS
from sgm_jax.run.log import LOGGER


def test_this_jax_computes_right_numbers():
    check_jax()


def test_a_wrong_sum_is_noticed(monkeypatch):
    # As jax 0.10.2 to 0.12.0.1 do on CPU: half of the sum or more is lost.
    monkeypatch.setattr(jax, "jit", lambda f: lambda d: 0.55 * jnp.asarray(f(d)))
    with pytest.raises(RuntimeError, match="wrong numbers"):
        check_jax()


def _words(error, monkeypatch):
    said = []

    def fail():
        raise error

    monkeypatch.setattr(LOGGER, "error", lambda text, *values: said.append(text % values))
    with pytest.raises(SystemExit) as ended:
        run_command(fail, debug=False)
    assert ended.value.code == 1
    (line,) = said
    return line


def test_a_missing_package_comes_with_what_installs_it(monkeypatch):
    for name, extra in EXTRAS.items():
        line = _words(ModuleNotFoundError(f"No module named {name!r}", name=name), monkeypatch)
        assert line.startswith(f"{name} ") and f"pip install -e '.[{extra}]'" in line
    line = _words(ModuleNotFoundError("No module named 'numpy'", name="numpy"), monkeypatch)
    assert "'numpy'" in line and "pip install -e ." in line


def test_the_extras_exist():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    assert set(EXTRAS.values()) <= set(setup["options.extras_require"])


def test_an_error_that_nobody_expected_is_one_line_too(monkeypatch):
    line = _words(KeyError("lost"), monkeypatch)
    assert "KeyError: 'lost'" in line and "--debug" in line
    with pytest.raises(KeyError):
        run_command(lambda: {}["lost"], debug=True)
