"""A stopped command ends with 143, says so without alarm, and soon."""

import signal
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [WAITING, DEAF, BROKEN, TRAINING, LONG_STEP])
def test_a_stopped_command_ends_with_143_and_without_an_error(code, number):
    status, words = ended(code, number)
    assert status == 143
    assert signal.Signals(number).name in words and "ERROR" not in words
    assert ("the state is saved" in words) == ("Stop()" in code)
