"""The command line, as a user has it: in a process of its own."""

import json
import sys

import numpy as np
import pytest

from tests.tiny_command import run_command, tiny_command
from tests.tiny_run import write_images


def test_help_tells_the_modes():
    text = run_command([sys.executable, "-m", "sgm_jax.main", "--help"]).stdout
    for mode in ("simulate", "train", "sample", "likelihood", "reconstruct", "convert"):
        assert f"  {mode}" in text
    assert len(text.splitlines()) < 90


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.training.batchsize=2", "did you mean --config.training.batch_size?"),
        ("--config.batch_size=2", "--config.eval.batch_size or --config.training.batch_size"),
        ("--batch_size=2", "is typed --config.eval.batch_size or --config.training.batch_size"),
        ("--config.training.batch_size=two", "is a whole number, such as 8"),
        ("--config.model.ch_mult=abc", "list of numbers"),
        ("--config.training=2", "is a section"),
        ("--config=larcv_png46", "did you mean --config=larcv_png64"),
        ("elsewhere", "unexpected elsewhere"),
        ("--config.model.resblock_type=resnet", "biggan"),
        ("--config.data.train_path=/nowhere", "--mode=simulate"),
        ("--canvas=32x32", "--canvas is for --mode=sample or compose, not for --mode=train"),
        ("--mode=convert", "takes one of --torch_checkpoint"),
        ("--mode=paint", "simulate, train, sample|simulate|train|sample"),
    ],
)
def test_a_mistake_gives_one_clear_line_and_no_traceback(tmp_path, argument, message):
    write_images(tmp_path)
    ended = run_command([*tiny_command(tmp_path, f"--workdir={tmp_path}/run"), argument])
    assert ended.returncode != 0
    assert any(part in ended.stdout + ended.stderr for part in message.split("|"))
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_naming_only_one_of_the_two_sets_is_noticed(tmp_path):
    write_images(tmp_path)
    command = tiny_command(tmp_path, f"--workdir={tmp_path}/run")
    half = [part for part in command if "test_path" not in part]
    # The configured test images are not there, or have another size.
    ended = run_command([*half, "--config.training.n_iters=1"])
    assert ended.returncode == 1
    assert "--config.data.test_path is not: it is data/lar64/test" in ended.stdout


@pytest.mark.slow
def test_one_device_and_eight_train_and_sample_the_same(tmp_path):
    write_images(tmp_path)
    losses, samples = [], []
    for devices in (1, 8):
        run = tmp_path / f"run{devices}"
        ended = run_command(tiny_command(tmp_path, f"--workdir={run}"), devices)
        assert ended.returncode == 0, ended.stderr
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)

    # The checkpoint that eight devices wrote, on eight and on one.
    for devices in (1, 8):
        out = tmp_path / f"samples{devices}"
        arguments = ("--mode=sample", f"--workdir={tmp_path}/run8", f"--samples_dir={out}")
        ended = run_command(tiny_command(tmp_path, *arguments, "--num_samples=10"), devices)
        assert ended.returncode == 0, ended.stderr
        samples.append(np.load(out / "samples.npz")["raw"])
    # 0.01 of 255 grey levels: ten steps of float32 arithmetic in another order.
    np.testing.assert_allclose(samples[0], samples[1], atol=0.01)


@pytest.mark.slow
def test_a_workdir_alone_says_which_experiment_it_is(tmp_path):
    write_images(tmp_path)
    run = tmp_path / "run"
    workdir = f"--workdir={run}"
    ended = run_command(tiny_command(tmp_path, workdir))
    assert ended.returncode == 0, ended.stderr
    main = [sys.executable, "-m", "sgm_jax.main"]
    for arguments in (
        [workdir, "--config.training.n_iters=4"],
        [workdir, "--mode=sample", "--num_samples=2", "--config.sampling.snr=0.2"],
        [f"--config={run}/config.json", "--mode=convert", f"--export={tmp_path}/weights.npz"],
    ):
        ended = run_command([*main, *arguments])
        assert ended.returncode == 0, ended.stderr
    # Four steps, not three: the sample is of the run that went on.
    recipe = json.loads((run / "samples" / "step_000004" / "recipe.json").read_text())
    assert recipe["config"]["sampling.snr"] == 0.2
    # Weights say it too, and take what differs.
    weights = f"--pretrained={tmp_path}/weights.npz"
    arguments = ["--mode=sample", weights, f"--workdir={tmp_path}/drawn", "--num_samples=2"]
    ended = run_command([*main, *arguments, "--config.seed=7"])
    assert ended.returncode == 0, ended.stderr
    recipe = json.loads(
        (tmp_path / "drawn" / "samples" / "step_000004" / "recipe.json").read_text()
    )
    assert recipe["seed"] == 7
