"""The command line, as a user has it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sgm_jax import checkpoints
from tests.tiny_run import write_images

TINY = {
    "data.image_size": 16,
    "data.num_channels": 1,
    "model.nf": 8,
    "model.ch_mult": "(1,)",
    "model.num_res_blocks": 1,
    "model.attn_resolutions": "()",
    "model.num_scales": 10,
    "training.batch_size": 8,
    "training.n_iters": 3,
    "training.log_freq": 1,
    "eval.batch_size": 8,
    "eval.num_images": 8,
}


def _command(folder, *arguments, **overrides):
    paths = {f"data.{name}_path": folder / f"{name}.npy" for name in ("train", "test")}
    fields = TINY | paths | overrides
    command = [sys.executable, "-m", "sgm_jax.main", "--config=configs/larcv_png64.py"]
    return [*command, *arguments, *(f"--config.{name}={value}" for name, value in fields.items())]


def _run(command, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.run(
        command,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_DEFAULT_MATMUL_PRECISION": "highest"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_help_tells_the_modes():
    text = _run([sys.executable, "-m", "sgm_jax.main", "--help"]).stdout
    for mode in ("simulate", "train", "sample"):
        assert f"  {mode}" in text
    assert len(text.splitlines()) < 45


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.training.batchsize=2", "batchsize"),
        ("--config.model.resblock_type=resnet", "biggan"),
        ("--config.data.train_path=/nowhere", "--mode=simulate"),
        ("--mode=paint", "simulate, train, sample|simulate|train|sample"),
    ],
)
def test_a_mistake_gives_one_clear_line_and_no_traceback(tmp_path, argument, message):
    write_images(tmp_path)
    ended = _run([*_command(tmp_path, f"--workdir={tmp_path}/run"), argument])
    assert ended.returncode != 0
    assert any(part in ended.stdout + ended.stderr for part in message.split("|"))
    if "batchsize" not in argument:
        assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_one_device_and_eight_train_and_sample_the_same(tmp_path):
    write_images(tmp_path)
    losses, samples = [], []
    for devices in (1, 8):
        run = tmp_path / f"run{devices}"
        ended = _run(_command(tmp_path, f"--workdir={run}"), devices)
        assert ended.returncode == 0, ended.stderr
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)

    # The checkpoint that eight devices wrote, on eight and on one.
    for devices in (1, 8):
        out = tmp_path / f"samples{devices}"
        arguments = ("--mode=sample", f"--workdir={tmp_path}/run8", f"--samples_dir={out}")
        ended = _run(_command(tmp_path, *arguments, "--num_samples=10"), devices)
        assert ended.returncode == 0, ended.stderr
        samples.append(np.load(out / "samples.npz")["raw"])
    # 0.01 of 255 grey levels: ten steps of float32 arithmetic in another order.
    np.testing.assert_allclose(samples[0], samples[1], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_ends_where_the_uninterrupted_run_ends(tmp_path, kill):
    write_images(tmp_path)
    frequent = {"training.n_iters": 40, "training.snapshot_freq_for_preemption": 4}
    ended = _run(_command(tmp_path, f"--workdir={tmp_path}/whole", **frequent))
    assert ended.returncode == 0, ended.stderr
    command = _command(tmp_path, f"--workdir={tmp_path}/parts", **frequent)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoints.steps(tmp_path / "parts"):
        time.sleep(0.05)
    process.send_signal(kill)
    assert process.wait(timeout=120) == (-9 if kill == signal.SIGKILL else 143)
    assert 0 < checkpoints.steps(tmp_path / "parts")[-1] < 40
    ended = _run(command)
    assert ended.returncode == 0, ended.stderr
    for name in ("whole", "parts"):
        command = _command(
            tmp_path, "--mode=sample", f"--workdir={tmp_path}/{name}", "--num_samples=8"
        )
        assert _run(command).returncode == 0
    ours, theirs = (
        (tmp_path / name / "samples/step_000040/samples.npz").read_bytes()
        for name in ("whole", "parts")
    )
    assert ours == theirs
