"""One process at a time in a folder, also where the file system has no locks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from sgm_jax.run.lock import HOLDER, locked

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
