"""One process at a time in a folder, also where the file system has no locks."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from sgm_jax.run import lock
from sgm_jax.run.lock import HOLDER, has_locks, locked, open_hdf5
from tests.without_locks import without_locks

HOLD = """
import sys, time
from pathlib import Path
from sgm_jax.run.lock import locked
with locked(Path(sys.argv[1]), fix="choose another"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_told_who_has_the_workdir(tmp_path, holder):
    with (
        pytest.raises(ValueError, match=f"in use by another run .process {holder.pid} on"),
        locked(tmp_path, fix="choose another"),
    ):
        pass


def test_a_killed_run_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path, fix="choose another"):
        pass


def test_the_workdir_is_free_afterwards(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "new", fix="choose another"):
            pass


def failing_with(number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_warned_of_and_used(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(fcntl, "flock", failing_with(number))
    for _ in range(2):
        with locked(tmp_path, fix=""):
            assert (tmp_path / HOLDER).is_file()
    assert "without locks" in caplog.text and "no other run uses it" in caplog.text


def test_another_error_of_the_lock_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path, fix=""):
        pass


NUMBERS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


@pytest.mark.parametrize("number", NUMBERS)
def test_without_locks_a_living_run_of_this_host_is_still_noticed(tmp_path, monkeypatch, number):
    environment = os.environ | without_locks(tmp_path, number)
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout.readline() == "held\n"
        monkeypatch.setattr(fcntl, "flock", failing_with(number))
        with (
            pytest.raises(ValueError, match=f"in use by another run .process {process.pid} on"),
            locked(folder, fix="choose another"),
        ):
            pass
    finally:
        process.kill()
        process.communicate()
    # What it left behind holds nothing.
    assert json.loads((folder / HOLDER).read_text())["process"] == process.pid
    with locked(folder, fix="choose another"):
        assert json.loads((folder / HOLDER).read_text())["process"] == os.getpid()


def test_without_locks_a_run_that_may_live_elsewhere_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    holder = {"process": os.getppid(), "host": "far", "since": "yesterday", "born": "x"}
    (tmp_path / HOLDER).write_text(json.dumps(holder))
    with locked(tmp_path, fix=""):
        pass
    assert f"process {os.getppid()} on far, since yesterday was in it" in caplog.text


def test_a_later_process_of_the_same_number_does_not_hold_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.ENOLCK))
    before = {"process": os.getppid(), "host": lock.socket.gethostname(), "since": "", "born": "1"}
    (tmp_path / HOLDER).write_text(json.dumps(before))
    with locked(tmp_path, fix=""):
        pass


WRITE = """
import errno, sys
from pathlib import Path
import jax, numpy as np
from sgm_jax.run import checkpoints
from sgm_jax.run.lock import has_locks
folder = Path(sys.argv[1])
assert not has_locks(folder)
state = {"w": np.arange(5000, dtype=np.float32), "step": np.int32(1)}
for step in (1, 2):
    store = checkpoints.Checkpoints(folder, keep_every=1)
    found = store.restore_newest(state)
    assert (step == 1) == (found is None)
    store.save(step, state | {"step": np.int32(step)})
    store.close()
"""


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_checkpoints_are_written_and_read_without_locks(tmp_path, number):
    from sgm_jax.run import checkpoints

    folder = tmp_path / "run"
    folder.mkdir()
    environment = os.environ | without_locks(tmp_path, number)
    command = [sys.executable, "-c", WRITE, folder]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not [path for path in folder.rglob("*") if "lock" in path.name]
    assert has_locks(folder)
    like = {"w": np.zeros(5000, np.float32), "step": np.int32(0)}
    found = checkpoints.load(folder, 2, like)
    assert found["step"] == 2 and found["w"][-1] == 4999


READ = """
import sys
from sgm_jax.data import open_images
from sgm_jax.run.lock import open_hdf5
with open_hdf5(sys.argv[2], "w") as file:
    file["numbers"] = [1, 2, 3]
images = open_images(sys.argv[1], num_channels=1, image_size=None)
print(int(images[0:4].sum()))
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_hdf5_is_read_and_written_without_locks(tmp_path, number):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = images
    environment = os.environ | without_locks(tmp_path, number)
    command = [sys.executable, "-c", READ, tmp_path / "images.h5", tmp_path / "labels.h5"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == f"{images.sum(dtype=int)}\n", ended.stderr
    with open_hdf5(tmp_path / "labels.h5") as file:
        assert list(file["numbers"]) == [1, 2, 3]
