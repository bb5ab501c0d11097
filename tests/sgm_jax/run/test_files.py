"""Files are written whole or not at all, and damaged ones are named."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sgm_jax.run import files


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic_write(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.bin"
    with files.atomic_write(path) as stream:
        stream.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_lines_are_appended(tmp_path):
    for number in (1, 2):
        files.append_json(tmp_path / "a.jsonl", {"n": number})
    assert (tmp_path / "a.jsonl").read_text() == '{"n": 1}\n{"n": 2}\n'


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_come_back_or_are_refused_by_name(tmp_path, name):
    path, array = tmp_path / name, np.arange(6.0).reshape(2, 3)
    files.write_arrays(path, array if name == "a.npy" else {"x": array})
    content = files.read_arrays(path, fix="delete it")
    np.testing.assert_array_equal(content if name == "a.npy" else content["x"], array)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"{name} is damaged .*; delete it"):
        files.read_arrays(path, fix="delete it")


def test_arrays_of_objects_are_not_written_and_not_read(tmp_path):
    objects = np.array([{}], object)
    for name, content in (("a.npy", objects), ("a.npz", {"x": objects})):
        with pytest.raises(ValueError, match="pickle"):
            files.write_arrays(tmp_path / name, content)
    np.save(tmp_path / "b.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match=r"b\.npy is damaged"):
        files.read_arrays(tmp_path / "b.npy", fix="")


@pytest.fixture
def cache_folder():
    files.cache_folder.cache_clear()
    yield files.cache_folder
    files.cache_folder.cache_clear()


def test_the_cache_is_where_the_user_wants_it(tmp_path, monkeypatch, cache_folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache/sgm_jax"


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", [no_home, lambda: Path("/proc/nothing")])
def test_without_a_home_the_cache_is_a_temporary_folder(tmp_path, monkeypatch, cache_folder, home):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_folder().parent == tmp_path and cache_folder().is_dir()
    assert cache_folder() == cache_folder()


def test_a_user_without_a_home_gets_one_for_the_command(tmp_path, monkeypatch, cache_folder):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with monkeypatch.context() as without:
        without.setenv("HOME", "")
        files.ensure_home()
        assert Path(os.environ["HOME"]) == Path.home() != Path("/")  # that of the user
        without.delenv("HOME")
        without.setattr(Path, "home", no_home)
        files.ensure_home()
        assert Path(os.environ["HOME"]).parent == tmp_path
        without.undo()
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    files.ensure_home()
    assert os.environ["HOME"] == str(tmp_path / "mine")
    assert cache_folder() == tmp_path / "mine/.cache/sgm_jax"


# A container's number of a user that no file of passwords knows.
NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def nobody(number):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = nobody
from pathlib import Path
from sgm_jax.run.command import run_command
def work():
    from sgm_jax.simulation.geant4 import import_calzone
    from matplotlib import pyplot
    from sgm_jax.run.files import cache_folder
    cache_folder()
    import_calzone()
    print(os.environ["HOME"], Path.home() / "there")
run_command(work, debug=False)
"""


def test_libraries_start_without_a_home(tmp_path):
    pytest.importorskip("calzone")
    command, environment = [sys.executable, "-c", NOBODY], os.environ | {"TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0 and "Matplotlib" not in ended.stderr, ended.stderr
    home, there = ended.stdout.splitlines()[-1].split()
    assert Path(home).parent == tmp_path and there == f"{home}/there"
    assert not list(tmp_path.iterdir())


def test_blocks_come_back_as_one_array(tmp_path):
    rows = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    count = np.array([1, 2], np.uint8)
    arrays = {
        "rows": (rows.shape, np.float32, iter([rows[:4], rows[4:]])),
        "count": ((2,), np.uint8, [count]),
    }
    files.write_blocks(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as stack:
        np.testing.assert_array_equal(stack["rows"], rows)
        np.testing.assert_array_equal(stack["count"], count)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((5, 2), np.uint8), "rows takes float32"),
        (np.zeros((5, 3), np.float32), "rows takes float32"),
        (np.zeros((4, 2), np.float32), "was to have 5 rows and got 4"),
    ],
)
def test_a_wrong_block_leaves_no_file(tmp_path, block, message):
    with pytest.raises(ValueError, match=message):
        files.write_blocks(tmp_path / "a.npz", {"rows": ((5, 2), np.float32, [block])})
    assert list(tmp_path.iterdir()) == []
