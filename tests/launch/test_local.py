"""Processes on this machine: who they are, what ends them, and that they are one run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from launch import local
from tests.tiny_run import write_images

ROOT = Path(__file__).parents[2]
WHO = """
import os, sys
print("noise\\rrank", os.environ["JAX_PROCESS_ID"], "of", os.environ["JAX_NUM_PROCESSES"],
      os.environ["JAX_COORDINATOR_ADDRESS"], os.environ["XLA_FLAGS"])
"""


def python(code):
    return [sys.executable, "-c", code]


def test_each_process_knows_who_it_is_and_its_lines_say_it(capfd, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x --xla_force_host_platform_device_count=8")
    assert local.launch(python(WHO), processes=3, devices=2) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    for index, line in enumerate(lines):
        assert line.startswith(f"[{index}] rank {index} of 3 127.0.0.1:")
        assert line.endswith("--xla_dump_to=x  --xla_force_host_platform_device_count=2")
    assert len({line.split()[5] for line in lines}) == 1


def only_in(index, code, otherwise):
    return python(f"""
import os, signal, sys, time
if os.environ["JAX_PROCESS_ID"] == "{index}":
    {code}
else:
    {otherwise}
""")


@pytest.mark.parametrize(
    ("end", "status", "text"),
    [
        ("sys.exit(3)", 3, "process 1 ended with status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "process 1 was ended by SIGKILL"),
    ],
)
def test_where_one_fails_the_others_are_ended_and_its_status_is_returned(capfd, end, status, text):
    began = time.monotonic()
    command = only_in(1, end, "time.sleep(600)")
    assert local.launch(command, processes=2, devices=1, patience_seconds=0.5) == status
    assert time.monotonic() - began < 60
    out = capfd.readouterr().out
    assert text in out and "process 0 still runs after 0.5 s: killed" in out


def test_others_that_notice_by_themselves_have_time_for_their_last_words(capfd):
    last_words = "time.sleep(1.5); print('lost a process'); sys.exit(5)"
    command = only_in(1, "sys.exit(3)", last_words)
    assert local.launch(command, processes=2, devices=1, patience_seconds=60.0) == 3
    assert "[0] lost a process" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_reaches_every_process_as_sigterm(number, tmp_path):
    code = f"""
import os, pathlib, signal, sys, time
me = os.environ["JAX_PROCESS_ID"]
def leave(number, frame):
    print("saved", me, signal.Signals(number).name)
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
pathlib.Path({str(tmp_path)!r}, me).touch()
time.sleep(600)
"""
    command = [sys.executable, "-m", "launch.local", "--processes=2", "--", *python(code)]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
    launcher.send_signal(number)
    out, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 143
    assert "[0] saved 0 SIGTERM" in out and "[1] saved 1 SIGTERM" in out


def test_the_second_request_ends_those_that_do_not_listen(tmp_path):
    code = f"""
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(tmp_path)!r}, "ready").touch()
time.sleep(600)
"""
    command = [sys.executable, "-m", "launch.local", "--processes=1", "--", *python(code)]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    assert "SIGTERM to all processes" in launcher.stdout.readline()
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 137


def test_shares_of_the_cores_are_equal_and_apart():
    cores = os.sched_getaffinity(0)
    shares = [local.share_of_cores(index, len(cores)) for index in range(len(cores))]
    assert set().union(*shares) == cores and all(len(share) == 1 for share in shares)


def test_more_pinned_processes_than_cores_are_refused():
    with pytest.raises(ValueError, match=r"--pin: \d+ processes cannot share \d+ cores"):
        local.launch(python(""), processes=10**4, devices=1, pin=True)


@pytest.mark.parametrize("arguments", [[], ["--processes=0", "--", "true"], ["--devices=0", "x"]])
def test_a_command_line_that_cannot_run_is_refused(arguments):
    with pytest.raises(SystemExit) as refusal:
        local.parse(arguments)
    assert refusal.value.code == 2


def run_main(folder, *arguments, processes, devices):
    """Run the program on a tiny configuration; return its exit status."""
    config = folder / "config.py"
    options = {"training.n_iters": 20, "training.snapshot_freq": 20, "training.eval_freq": 20}
    options |= {"training.snapshot_freq_for_preemption": 20}
    config.write_text(
        "from pathlib import Path\n"
        "from tests.tiny_run import tiny_config\n"
        f"def get_config():\n    return tiny_config(Path({str(folder)!r}), **{options})\n"
    )
    command = [sys.executable, "-m", "sgm_jax.main", f"--config={config}", *arguments]
    return local.launch(command, processes=processes, devices=devices)


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotion")
def test_two_processes_eight_devices_and_one_give_the_same_network_and_images(
    tmp_path, monkeypatch
):
    import jax

    from sgm_jax.generators import score
    from sgm_jax.run import checkpoints
    from tests.tiny_run import tiny_config

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_images(tmp_path)
    config = tiny_config(tmp_path)
    like = jax.eval_shape(score.build(config).initial_state, jax.random.key(0))
    states, images = [], []
    for processes, devices in ((1, 1), (1, 8), (2, 4)):
        workdir = tmp_path / f"{processes}x{devices}"
        for mode in ("train", "sample"):
            arguments = (f"--workdir={workdir}", f"--mode={mode}")
            assert run_main(tmp_path, *arguments, processes=processes, devices=devices) == 0
        states.append(checkpoints.load(workdir, 20, like))
        with np.load(workdir / "samples/step_000020/samples.npz") as stack:
            images.append(stack["raw"])
    for state in states[1:]:
        for one, other in zip(
            jax.tree.leaves(states[0].params), jax.tree.leaves(state.params), strict=True
        ):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    for other in images[1:]:
        np.testing.assert_allclose(other, images[0], rtol=0, atol=1e-5 * np.abs(images[0]).max())
    losses = json.loads((tmp_path / "2x4/metrics.jsonl").read_text().splitlines()[0])
    assert losses["step"] == 1


KILLED = """
import os, signal, time
from sgm_jax.run.command import run_command
def work():
    from sgm_jax.run import distributed, parallel
    distributed.initialize()
    if os.environ["JAX_PROCESS_ID"] == "1":
        time.sleep(2.0)
        os.kill(os.getpid(), signal.SIGKILL)
    parallel.wait_for_all()
run_command(work, debug=False)
"""


@pytest.mark.slow
def test_where_one_is_killed_the_other_says_so_within_a_minute(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    began = time.monotonic()
    assert local.launch(python(KILLED), processes=2, devices=2) == 137
    assert time.monotonic() - began < 90
    out = capfd.readouterr().out
    assert "process 1 was ended by SIGKILL" in out
    assert any(
        line.startswith("[0]") and "another process has ended" in line for line in out.splitlines()
    )


STOPPED = """
import os, signal, time
from sgm_jax.run.command import run_command
def work():
    from sgm_jax.run import distributed, parallel
    from sgm_jax.run.interruption import Interrupted
    distributed.initialize()
    for step in range(10_000):
        if step == 5 and os.environ["JAX_PROCESS_ID"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        if parallel.stop_requested(False, step):
            if parallel.is_main():
                time.sleep(3.0)
            # The first process logs that it was stopped; this says when, in each of them.
            print("leaving at step", step, flush=True)
            raise Interrupted(f"stopped at step {step}")
run_command(work, debug=False)
"""


@pytest.mark.slow
def test_a_sigterm_to_one_process_stops_all_at_the_same_step(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = python(STOPPED)
    # No patience: they leave together, though one takes longer to say goodbye.
    assert local.launch(command, processes=2, devices=1, patience_seconds=2.0) == 143
    out = capfd.readouterr().out
    steps = [line.rsplit(" ", 1)[1] for line in out.splitlines() if "leaving at step" in line]
    assert len(steps) == 2 and steps[0] == steps[1]
    assert out.count(f"stopped at step {steps[0]}") == 1
    assert "killed" not in out


TOKEN = """
import os
from sgm_jax.run.command import run_command
def check():
    from sgm_jax.run import distributed
    distributed.initialize()
    distributed.check_shared({folders}[int(os.environ["JAX_PROCESS_ID"])])
    print("is shared")
run_command(check, debug=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_one_of_two_processes_does_not_see_is_refused_by_both(
    tmp_path, monkeypatch, capfd, shared
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    folders = [str(tmp_path / "one/run"), str(tmp_path / ("one/run" if shared else "two/run"))]
    status = local.launch(python(TOKEN.format(folders=folders)), processes=2, devices=1)
    out = capfd.readouterr().out
    assert status == (0 if shared else 1)
    said = "is shared" if shared else "of 2 processes, 2 cannot see what process 1 writes"
    assert all(
        any(said in line and line.startswith(f"[{i}]") for line in out.splitlines()) for i in (0, 1)
    )
    assert not list((tmp_path / "one").iterdir())
