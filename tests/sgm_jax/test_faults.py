"""What happens to a run when the machine, the disk or the user gets in its way."""

import os
import random
import resource
import signal
import subprocess
import time

import numpy as np
import pytest

from sgm_jax.run import checkpoints
from tests.tiny_command import environment, run_command, tiny_command
from tests.tiny_run import write_images

STEPS, SAVE_EVERY = 240, 6
LONG = {"training.n_iters": STEPS, "training.snapshot_freq_for_preemption": SAVE_EVERY}
LONG |= {"training.snapshot_freq": 1000, "training.eval_freq": 1000}
KILLS = 20


def folder_steps(run):
    return checkpoints.steps(run)


def start(command):
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )


def kill_after(process, number, *, reached):
    """Send a signal once ``reached()``; return the exit status, 0 if it was done before."""
    deadline = time.monotonic() + 120
    while process.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, text = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL, 128 + signal.SIGTERM), text
    return process.returncode


@pytest.mark.slow
def test_training_killed_at_twenty_random_steps_ends_bit_for_bit_the_same(tmp_path):
    write_images(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ended = run_command(tiny_command(tmp_path, f"--workdir={whole}", **LONG))
    assert ended.returncode == 0, ended.stderr
    dice, killed = random.Random(0), 0
    command = tiny_command(tmp_path, f"--workdir={parts}", **LONG)
    for kill in range(KILLS):
        # Each life makes at least one checkpoint, so that the soak comes to an end.
        begun = max(folder_steps(parts), default=0)
        aim = begun + SAVE_EVERY + dice.randrange(SAVE_EVERY)
        number = signal.SIGTERM if kill % 4 == 3 else signal.SIGKILL
        log = parts / "metrics.jsonl"
        before = log.stat().st_size if log.is_file() else 0  # of lives that got further

        def reached(aim=aim, log=log, before=before):
            return log.is_file() and f'"step": {aim},' in log.read_text()[before:]

        killed += kill_after(start(command), number, reached=reached) != 0
    assert killed == KILLS
    assert run_command(command).returncode == 0
    hashes = [checkpoints.expected(run / "checkpoints")[STEPS] for run in (whole, parts)]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_sampling_killed_at_random_draws_the_same_images(tmp_path):
    write_images(tmp_path)
    run = tmp_path / "run"
    assert run_command(tiny_command(tmp_path, f"--workdir={run}")).returncode == 0

    def drawing(name):
        arguments = ("--mode=sample", "--num_samples=200", f"--samples_dir={tmp_path / name}")
        return tiny_command(tmp_path, f"--workdir={run}", *arguments)

    assert run_command(drawing("whole")).returncode == 0
    for batches in (1, 5, 12):

        def reached(batches=batches):
            return len(list((tmp_path / "parts/parts").glob("*.npy"))) >= batches

        kill_after(start(drawing("parts")), signal.SIGKILL, reached=reached)
    assert run_command(drawing("parts")).returncode == 0
    for name in ("samples", "raw"):
        one, other = (np.load(tmp_path / d / "samples.npz")[name] for d in ("whole", "parts"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(tmp_path):
    write_images(tmp_path)
    run = tmp_path / "run"
    assert run_command(tiny_command(tmp_path, f"--workdir={run}")).returncode == 0
    hashes = checkpoints.expected(run / "checkpoints")

    def no_room():
        # A file larger than this cannot be written: what a full disk says comes as an OSError.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    longer = tiny_command(tmp_path, f"--workdir={run}", **{"training.n_iters": 30})
    ended = run_command(longer, preexec_fn=no_room)
    assert ended.returncode != 0
    assert "could not be written to" in ended.stdout
    assert "Complete checkpoints: 3" in ended.stdout
    assert checkpoints.steps(run)[-1] in hashes
    ended = run_command(longer)
    assert ended.returncode == 0, ended.stderr
    assert checkpoints.steps(run)[-1] == 30


@pytest.mark.slow
def test_two_runs_cannot_share_a_workdir_and_other_images_are_refused(tmp_path):
    write_images(tmp_path)
    run = tmp_path / "run"
    command = tiny_command(tmp_path, f"--workdir={run}", **{"training.n_iters": 100_000})
    first = start(command)
    try:
        # Stopped before its first step it would keep nothing, and other images would be welcome.
        log = run / "metrics.jsonl"
        while first.poll() is None and not (log.is_file() and '"step": 1,' in log.read_text()):
            time.sleep(0.05)
        second = run_command(command)
        assert second.returncode == 1
        assert f"in use by another run (process {first.pid}" in second.stdout
    finally:
        first.terminate()
        first.communicate(timeout=120)
    write_images(tmp_path, seed=1)
    other = run_command(command)
    assert other.returncode == 1
    assert "was trained on other images" in other.stdout


def kill_in_a_write(command, folder):
    """Kill a run while it writes a checkpoint that has one before it; return the step."""
    process = start(command)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        drafts = list(folder.glob("*.orbax-checkpoint-tmp*")) if folder.is_dir() else []
        if drafts and any(path.name.isdigit() for path in folder.iterdir()):
            process.kill()
            break
    _, text = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, text
    left = [path.name.partition(".")[0] for path in folder.glob("*.orbax-checkpoint-tmp*")]
    return int(left[0]) if left else None


@pytest.mark.slow
def test_a_run_killed_while_it_writes_goes_on_from_the_checkpoint_before(tmp_path):
    write_images(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_command(tiny_command(tmp_path, f"--workdir={whole}", **LONG)).returncode == 0
    command = tiny_command(tmp_path, f"--workdir={parts}", **LONG)
    # Now and then the write is done before the signal arrives.
    attempts = (kill_in_a_write(command, parts / "checkpoints") for _ in range(5))
    unfinished = next(step for step in attempts if step is not None)
    newest = folder_steps(parts)[-1]
    assert unfinished not in folder_steps(parts) and newest < unfinished
    ended = run_command(command)
    assert ended.returncode == 0, ended.stderr
    assert f"the checkpoint of step {unfinished} was not written" in ended.stdout
    assert f"going on from the checkpoint of step {newest}" in ended.stdout
    hashes = [checkpoints.expected(run / "checkpoints")[STEPS] for run in (whole, parts)]
    assert hashes[0] == hashes[1]


# Every look at the clock is an hour before the one before.
BACKWARDS = """
import itertools, runpy, sys, time
hours = itertools.count()
real = time.time
time.time = lambda: real() - 3600 * next(hours)
time.time_ns = lambda: int(time.time() * 1e9)
sys.argv = sys.argv[1:]
runpy.run_module("sgm_jax.main", run_name="__main__")
"""


@pytest.mark.slow
def test_nothing_depends_on_the_clock_or_on_the_dates_of_files(tmp_path):
    write_images(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    few = {"training.n_iters": 6, "training.snapshot_freq_for_preemption": 1}
    assert run_command(tiny_command(tmp_path, f"--workdir={whole}", **few)).returncode == 0
    for last in (3, 6):
        python, _, _, *arguments = tiny_command(
            tmp_path, f"--workdir={parts}", **few | {"training.n_iters": last}
        )
        ended = run_command([python, "-c", BACKWARDS, "sgm_jax.main", *arguments])
        assert ended.returncode == 0, ended.stderr
        # Decades ahead, and the newer a checkpoint, the older its files.
        for path in parts.rglob("*"):
            step = next((int(p) for p in path.relative_to(parts).parts if p.isdigit()), 0)
            os.utime(path, (4e9 - 1e6 * step, 4e9 - 1e6 * step))
    assert "going on from the checkpoint of step 3" in (parts / "log.txt").read_text()
    assert checkpoints.steps(parts) == checkpoints.steps(whole) == [5, 6]
    hashes = [checkpoints.expected(run / "checkpoints")[6] for run in (whole, parts)]
    assert hashes[0] == hashes[1]
