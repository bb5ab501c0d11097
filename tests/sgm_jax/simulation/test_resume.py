"""Runs that were interrupted, killed or out of disk go on to the same bytes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgm_jax.run.lock import locked
from sgm_jax.simulation.config import default_simulation_config
from sgm_jax.simulation.dataset import LABELS
from sgm_jax.simulation.generate import simulate

pytest.importorskip("calzone")
pytestmark = pytest.mark.usefixtures("data_folder")
ROOT = Path(__file__).parents[3]
SEED = 6
SCRIPT = """
import resource, sys
from sgm_jax.run.lock import locked
from sgm_jax.simulation.config import default_simulation_config
from sgm_jax.simulation.generate import simulate

if __name__ == "__main__":
    workers, limit = int(sys.argv[2]), int(sys.argv[3])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    config = default_simulation_config()
    config.num_train, config.num_test, config.events_per_chunk = 120, 20, 6
    config.num_workers, config.particles_per_event = workers, (1, 2)
    try:
        simulate(config, sys.argv[1], seed=6, progress=False)
    except OSError as error:
        sys.exit(f"OSError {error.errno}: {error}")
"""


def settings(**changes):
    config = default_simulation_config()
    config.num_train, config.num_test, config.events_per_chunk = 120, 20, 6
    config.num_workers, config.particles_per_event = 1, (1, 2)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "run.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_folder):
    out = tmp_path_factory.mktemp("whole") / "data"
    simulate(settings(), out, seed=SEED, progress=False)
    return files(out)


def start(script, out, workers=1, file_limit=0):
    command = [sys.executable, str(script), str(out), str(workers), str(file_limit)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def chunks(out):
    return sorted((out.parent / f"{out.name}.partial/chunks").glob("*.npz"))


def wait_for_chunks(process, out, count):
    while len(chunks(out)) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


@pytest.mark.parametrize(("workers", "count"), [(1, 1), (2, 5)])
def test_a_killed_run_goes_on_to_the_same_bytes(whole, script, tmp_path, workers, count):
    out = tmp_path / "data"
    process = start(script, out, workers)
    wait_for_chunks(process, out, count)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists() and len(chunks(out)) >= count
    simulate(settings(num_workers=2), out, seed=SEED, progress=False)
    assert files(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_four_processes_make_the_same_bytes(whole, tmp_path):
    simulate(settings(num_workers=4), tmp_path / "data", seed=SEED, progress=False)
    assert files(tmp_path / "data") == whole


@pytest.fixture(scope="module")
def failed(tmp_path_factory, script, whole):
    """A run that has made all its chunks but could not write its label file."""
    out = tmp_path_factory.mktemp("failed") / "data"
    process = start(script, out, file_limit=len(whole[Path(LABELS)]) - 1)
    message = process.communicate(timeout=120)[1]
    return out.parent, process.returncode, message


@pytest.fixture
def unfinished(failed, tmp_path):
    folder, status, message = failed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "data", status, message


def test_a_full_disk_ends_with_one_clear_error_and_keeps_the_chunks(unfinished):
    out, status, message = unfinished
    assert status == 1
    last = message.strip().splitlines()
    assert len(last) == 1 and last[0].startswith(f"OSError {errno.EFBIG}:")
    assert "data.partial is full" in last[0] and "same command" in last[0]
    assert not out.exists() and len(chunks(out)) > 5
    left = {path.name for path in out.with_name("data.partial").iterdir()}
    assert left == {"chunks", "lock", "recipe.json"}


def test_after_making_room_finished_chunks_are_not_made_again(unfinished, whole, monkeypatch):
    out, _, _ = unfinished
    # Without Geant4's data no chunk can be made.
    (out.parent / "nothing").mkdir()
    marker = Path(os.environ["GEANT4_DATA_DIR"]) / "ARGON_ONLY.txt"
    shutil.copy(marker, out.parent / "nothing")
    monkeypatch.setenv("GEANT4_DATA_DIR", str(out.parent / "nothing"))
    simulate(settings(), out, seed=SEED, progress=False)
    assert files(out) == whole


def test_a_disk_too_small_for_one_chunk_leaves_nothing(script, tmp_path):
    process = start(script, tmp_path / "data", file_limit=2000)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and f"OSError {errno.EFBIG}" in message
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_does_not_go_on_with_the_chunks_of_this_one(unfinished):
    out, _, _ = unfinished
    before = files(out.parent)
    with pytest.raises(ValueError, match=r"noise_mev: 0.0 there, 0.1 here.*delete"):
        simulate(settings(noise_mev=0.1), out, seed=SEED, progress=False)
    assert files(out.parent) == before


def test_a_foreign_folder_of_that_name_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data.partial/data").mkdir(parents=True)
    (tmp_path / "data.partial/data/thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no recipe.json"):
        simulate(settings(), tmp_path / "data", seed=SEED, progress=False)
    assert (tmp_path / "data.partial/data/thesis.txt").read_text() == "precious"


def test_two_processes_may_not_make_one_data_set_at_once(tmp_path):
    with (
        locked(tmp_path / "data.partial", fix=""),
        pytest.raises(ValueError, match=r"data\.partial is in use by another run .process"),
    ):
        simulate(settings(), tmp_path / "data", seed=SEED, progress=False)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def finished(whole, tmp_path):
    out = tmp_path / "data"
    for name, content in whole.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    (tmp_path / "data.partial/chunks").mkdir(parents=True)
    return out


def test_a_run_killed_before_it_tidied_up_is_tidied_by_the_next(whole, finished):
    recipe = finished.with_name("data.partial") / "recipe.json"
    recipe.write_bytes(whole[Path("recipe.json")])
    assert simulate(settings(), finished, seed=SEED, progress=False).reused
    assert [path.name for path in finished.parent.iterdir()] == ["data"]
    assert files(finished) == whole


def test_a_foreign_folder_beside_a_whole_data_set_is_left_alone(finished):
    (finished.with_name("data.partial") / "thesis.txt").write_text("precious")
    assert simulate(settings(), finished, seed=SEED, progress=False).reused
    assert (finished.with_name("data.partial") / "thesis.txt").read_text() == "precious"
