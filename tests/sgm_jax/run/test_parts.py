"""What was finished before a kill is used again, by the same recipe only."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from sgm_jax.run.files import TEMPORARY
from sgm_jax.run.parts import RECIPE, differences, open_parts

NAMES = [f"squares/{number}.npy" for number in range(4)]
KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from sgm_jax.run.parts import open_parts
with open_parts(Path(sys.argv[1]), {"seed": 1, "shape": (2, 3)}, fix="") as parts:
    for number in range(2):
        parts.save(f"squares/{number}.npy", np.array(number**2))
    (parts.folder / "squares/2.npy.tmp").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def opened(folder, **changes):
    recipe = {"seed": 1, "shape": (2, 3)} | changes
    return open_parts(folder, recipe, fix="choose another --out")


@pytest.fixture
def killed(tmp_path):
    """The folder of a run that was killed when it had two of four parts."""
    folder = tmp_path / "parts"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return folder


def test_a_killed_run_goes_on_with_the_parts_that_are_missing(killed):
    with opened(killed) as parts:
        assert parts.missing(NAMES) == NAMES[2:]
        assert not list(killed.rglob(f"*{TEMPORARY}"))
        for name in parts.missing(NAMES):
            parts.save(name, np.array(int(name[8]) ** 2))
        assert [int(parts.load(name)) for name in NAMES] == [0, 1, 4, 9]
        parts.remove()
    assert not killed.exists()


def test_another_recipe_is_refused_with_what_differs_and_nothing_is_touched(killed):
    with (
        pytest.raises(ValueError, match=r"seed: 1 there, 2 here\): choose another --out"),
        opened(killed, seed=2),
    ):
        pass
    with opened(killed) as parts:
        assert parts.missing(NAMES) == NAMES[2:]


def test_a_damaged_recipe_is_named(killed):
    (killed / RECIPE).write_text("{")
    with pytest.raises(ValueError, match=r"recipe\.json is damaged"), opened(killed):
        pass


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty and holds no recipe"), opened(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_folder_in_use_is_refused(tmp_path):
    with opened(tmp_path), pytest.raises(ValueError, match="in use"), opened(tmp_path):
        pass


@pytest.mark.parametrize("finished", [0, 1])
def test_an_error_keeps_what_is_finished_and_no_empty_folder(tmp_path, finished):
    folder = tmp_path / "parts"
    with pytest.raises(ArithmeticError), opened(folder) as parts:
        for name in NAMES[:finished]:
            parts.save(name, np.zeros(1))
        raise ArithmeticError
    assert folder.exists() == bool(finished)


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", [{"value": 1.5}]), ("a.npz", {"x": np.arange(3)})]
)
def test_parts_of_every_kind_come_back_or_are_refused_by_name(tmp_path, name, content):
    with opened(tmp_path) as parts:
        parts.save(name, content)
        np.testing.assert_equal(parts.load(name), content)
        parts.path(name).write_bytes(b"{half")
        with pytest.raises(ValueError, match=f"{name} is damaged .*; delete it and repeat"):
            parts.load(name)


def test_recipes_are_compared_by_the_names_that_the_new_one_has(tmp_path):
    path = tmp_path / RECIPE
    path.write_text('{"seed": 1, "config": {"a": 1, "old": 2}, "seconds": 3.5}')
    assert differences({"seed": 1, "config": {"a": 1, "old": 2}}, path, fix="") == []
    assert differences({"config": {"a": 3}, "count": 4}, path, fix="") == [
        "config.a: 1 there, 3 here",
        "config.old: 2 there, None here",
        "count: None there, 4 here",
    ]
