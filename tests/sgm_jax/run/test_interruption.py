"""A stopped command ends with 143, says so without alarm, and soon."""

import signal
import subprocess
import sys
import time

import pytest

from sgm_jax.run import checkpoints
from sgm_jax.run.interruption import NOTICES, Stop
from tests.tiny_command import environment, tiny_command
from tests.tiny_run import write_images

BEGIN = """
import time
from sgm_jax.run import interruption
from sgm_jax.run.command import run_command
interruption.PATIENCE_SECONDS = 0.3
"""
WAITING = """
def work():
    print("begun", flush=True)
    time.sleep(60)
"""
# As in the compiler: no instruction of Python is reached, and the call takes no notice.
DEAF = """
import ctypes
def work():
    lock, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    print("begun", flush=True)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)
"""
# The workers of a command get the signal as well, and their end is noticed first.
BROKEN = """
def work():
    print("begun", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("a worker died")
"""
TRAINING = """
def work():
    with interruption.Stop() as stop:
        print("begun", flush=True)
        while not stop.requested:
            time.sleep(0.01)
        raise interruption.Interrupted(f"stopped by {stop.name}; the state is saved")
"""
# A step that takes longer than the patience has its state to save.
LONG_STEP = """
def work():
    import ctypes
    with interruption.Stop() as stop:
        print("begun", flush=True)
        ctypes.PyDLL(None).usleep(900_000)  # holds on to Python
        until = time.monotonic() + 1.0
        while time.monotonic() < until and not stop.requested:
            pass
        time.sleep(0.6)
        raise interruption.Interrupted(f"stopped by {stop.name}; the state is saved")
"""


def ended(code, number):
    """Start a command, send it a signal when it has begun, and return its end and its words."""
    code = f"{BEGIN}{code}\nrun_command(work, debug=False)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    words, _ = process.communicate(timeout=60)
    return process.returncode, words


@pytest.mark.parametrize("number", NOTICES)
@pytest.mark.parametrize("code", [WAITING, BROKEN, TRAINING, LONG_STEP])
def test_a_notice_of_a_batch_system_is_a_request_to_stop(code, number):
    test_a_stopped_command_ends_with_143_and_without_an_error(code, number)


@pytest.mark.parametrize("number", NOTICES)
def test_neither_a_second_notice_nor_its_sigterm_ends_the_saving(number):
    before = signal.getsignal(number)
    with Stop() as stop:
        signal.raise_signal(number)
        assert stop.requested and stop.name == number.name
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested and stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", NOTICES)
def test_of_several_processes_the_service_that_hears_of_sigterm_is_told(number):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
    try:
        with Stop(alone=False):
            signal.raise_signal(number)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["SIGTERM"]


def test_training_saves_its_state_and_leaves_at_the_notice_of_slurm(tmp_path):
    write_images(tmp_path)
    run = tmp_path / "run"
    never = ("training.snapshot_freq_for_preemption", "training.snapshot_freq")
    long = dict.fromkeys((*never, "training.eval_freq", "training.n_iters"), 100_000)
    command = tiny_command(tmp_path, f"--workdir={run}", **long)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )
    log, deadline = run / "metrics.jsonl", time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and '"loss"' in log.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 143, text
    (step,) = checkpoints.steps(run)
    text = (run / "log.txt").read_text()
    assert step > 0 and f"stopped by SIGUSR1; the state of step {step} is saved" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [WAITING, DEAF, BROKEN, TRAINING, LONG_STEP])
def test_a_stopped_command_ends_with_143_and_without_an_error(code, number):
    status, words = ended(code, number)
    assert status == 143
    assert signal.Signals(number).name in words and "ERROR" not in words
    assert ("the state is saved" in words) == ("Stop()" in code)
