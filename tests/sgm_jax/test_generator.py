"""The contract: the commands serve a family that shares nothing with the score model."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from sgm_jax.conditions import Request
from sgm_jax.config import check
from sgm_jax.generator import GENERATORS
from sgm_jax.likelihood import measure
from sgm_jax.run import checkpoints
from sgm_jax.run.restore import load_state
from sgm_jax.sample import sample
from sgm_jax.train import train
from tests import toy_family
from tests.tiny_command import environment
from tests.tiny_run import tiny_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
STEPS = 60
LEVELS = {0: 40, 1: 200}  # of the lit half: the lower one, or the upper one


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(GENERATORS, "toy", "tests.toy_family")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two kinds, three quarters of them of kind 1."""
    folder = tmp_path_factory.mktemp("toy")
    for name in ("train", "test"):
        images = np.zeros((40, 16, 16), np.uint8)
        images[::4, 8:], images[1::4, :8] = LEVELS[0], LEVELS[1]
        images[2::4, :8], images[3::4, :8] = LEVELS[1], LEVELS[1]
        np.save(folder / f"{name}.npy", images)
    return folder


def toy_config(folder, **overrides):
    options = {"generator": "toy", "data.centered": False, "data.random_flip": False}
    options |= {"training.n_iters": STEPS, "training.log_freq": 10, "training.eval_freq": STEPS}
    options |= {"training.snapshot_freq": STEPS, "training.snapshot_freq_for_preemption": 20}
    config = tiny_config(folder, **options | overrides)
    check(config)
    return config


LABELS = {"label": np.array([0, 1, 1], np.int32)}
COMMAND = """
import os, signal, sys, time
from pathlib import Path
from sgm_jax.generator import GENERATORS
from sgm_jax.run.progress import Progress
from sgm_jax.train import train
from tests.sgm_jax.test_generator import toy_config
GENERATORS["toy"] = "tests.toy_family"
folder, run, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
step = Progress.step
def step_or_die(self, number, metrics, *, seconds):
    step(self, number, metrics, seconds=seconds)
    if number == kill_at:
        while not (run / "checkpoints" / "20").exists():  # it is written in the background
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
Progress.step = step_or_die
train(toy_config(folder), run)
"""


def train_apart(folder, run, *, devices, kill_at=-1):
    """Train in a process of its own; return its exit status."""
    command = [sys.executable, "-c", COMMAND, str(folder), str(run), str(kill_at)]
    env = environment(devices) | {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=env, timeout=300, check=False).returncode


@pytest.fixture(scope="module")
def trained(folder):
    GENERATORS["toy"] = "tests.toy_family"
    with jax.numpy_dtype_promotion("standard"):
        state = train(toy_config(folder), folder / "run")
    del GENERATORS["toy"]
    return state


def test_all_of_the_state_is_trained_and_kept(folder, trained):
    assert int(trained.step) == STEPS
    # Three quarters of the images are of label 1.
    seen = 8 * STEPS
    np.testing.assert_allclose(trained.extra, [seen / 4, 3 * seen / 4], rtol=0.1)
    loaded = load_state(toy_family.build(toy_config(folder)), folder / "run", STEPS)
    jax.tree.map(np.testing.assert_array_equal, loaded, trained)


@pytest.mark.slow
def test_killed_and_resumed_on_one_device_it_ends_with_the_bits_of_the_whole_run(folder, tmp_path):
    assert train_apart(folder, tmp_path / "whole", devices=1) == 0
    assert train_apart(folder, tmp_path / "parts", devices=1, kill_at=30) == -signal.SIGKILL
    assert max(checkpoints.steps(tmp_path / "parts")) == 20
    assert train_apart(folder, tmp_path / "parts", devices=1) == 0
    digests = [checkpoints.expected(tmp_path / run / "checkpoints") for run in ("whole", "parts")]
    assert digests[0][STEPS] == digests[1][STEPS]


def test_one_device_and_eight_agree(folder, trained, tmp_path):
    assert train_apart(folder, tmp_path / "alone", devices=1) == 0
    alone = load_state(toy_family.build(toy_config(folder)), tmp_path / "alone", STEPS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, trained
    )


def test_an_image_has_its_condition_and_depends_on_its_number_only(folder, trained, tmp_path):
    request = Request(condition=LABELS)
    config = toy_config(folder)
    few = sample(config, folder / "run", num_samples=3, request=request, out=tmp_path / "few")
    config = toy_config(folder, **{"eval.batch_size": 16})
    many = sample(config, folder / "run", num_samples=20, request=request, out=tmp_path / "many")
    few, many = (np.load(out / "samples.npz")["raw"] for out in (few, many))
    np.testing.assert_allclose(few, many[:3], atol=1e-3)
    upper = many[:, :8].mean((1, 2, 3)) > many[:, 8:].mean((1, 2, 3))
    np.testing.assert_array_equal(upper, LABELS["label"][np.arange(20) % 3] == 1)


def test_conditions_that_a_family_cannot_fulfil_are_refused(folder, trained, tmp_path):
    with pytest.raises(ValueError, match="draws images of a label"):
        sample(toy_config(folder), folder / "run", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exact_likelihoods_are_those_of_the_distribution(folder, trained):
    summary = measure(toy_config(folder), folder / "run")
    assert summary["kind"] == "exact" and summary["probe_stderr"] == 0
    params, counts = trained.ema_params, np.asarray(trained.extra)
    x = np.load(folder / "test.npy")[:8, ..., None] / 255
    std, means = np.exp(params["log_std"]), np.asarray(params["means"])
    squares = ((x[:, None] - means) ** 2).sum((2, 3, 4))
    each = np.log(counts / counts.sum()) - squares / (2 * std**2)
    each -= 256 * np.log(std * np.sqrt(2 * np.pi) * 255)
    bits = -np.logaddexp(*each.T) / (256 * np.log(2))
    np.testing.assert_allclose(summary["bits_per_dim"], bits.mean(), rtol=1e-4)


def test_a_family_refuses_its_own_fields_at_the_door(folder):
    with pytest.raises(ValueError, match=r"data\.centered is True; the toy family"):
        toy_config(folder, **{"data.centered": True})
    with pytest.raises(ValueError, match="config.generator is 'ganz'; it can be: 'score'.*'toy'"):
        toy_config(folder, generator="ganz")
