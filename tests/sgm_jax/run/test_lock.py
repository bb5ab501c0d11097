import signal
import subprocess
import sys

import pytest

from sgm_jax.run.lock import only_run

HOLD = """
import sys, time
from pathlib import Path
from sgm_jax.run.lock import only_run
with only_run(Path(sys.argv[1])):
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
        only_run(tmp_path),
    ):
        pass


def test_a_killed_run_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_run(tmp_path):
        pass


def test_the_workdir_is_free_afterwards(tmp_path):
    for _ in range(2):
        with only_run(tmp_path / "new"):
            pass
