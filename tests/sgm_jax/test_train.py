"""Training: stopping anywhere loses nothing, and every refusal comes before anything is touched."""

import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image

from sgm_jax.config import check
from sgm_jax.data import to_uint8
from sgm_jax.generators import score
from sgm_jax.run import checkpoints
from sgm_jax.run.interruption import Interrupted
from sgm_jax.run.log import LOGGER
from sgm_jax.sample import sample
from sgm_jax.train import check_pair, open_sets, train
from tests.tiny_run import EDM, tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    write_images(path)
    return path


def _metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {(line["step"], name): value for line in lines for name, value in line.items()}


def _assert_identical(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


DDPM = {
    "training.continuous": False,
    "sampling.predictor": "ancestral_sampling",
    "model.num_scales": 50,
    "model.ema_rates": (0.1, 0.15),
}


@pytest.mark.parametrize(
    "options",
    [EDM, pytest.param({}, marks=pytest.mark.slow), pytest.param(DDPM, marks=pytest.mark.slow)],
    ids=["edm", "noise", "ddpm"],
)
def test_stopped_and_resumed_equals_never_stopped(folder, tmp_path, options):
    whole = train(tiny_config(folder, **options), tmp_path / "whole")
    train(tiny_config(folder, **options, **{"training.n_iters": 3}), tmp_path / "parts")
    resumed = train(tiny_config(folder, **options), tmp_path / "parts")
    _assert_identical(whole, resumed)
    like = jax.eval_shape(lambda: whole)
    _assert_identical(whole, checkpoints.load(tmp_path / "parts", 4, like))
    ours, theirs = _metrics(tmp_path / "whole"), _metrics(tmp_path / "parts")
    for step in range(1, 5):
        assert ours[step, "loss"] == theirs[step, "loss"]
    assert ours[4, "eval_loss"] == theirs[4, "eval_loss"]


def test_weights_their_average_and_the_optimiser_all_move(folder, tmp_path):
    config = tiny_config(folder)
    before = score.build(config).initial_state(jax.random.key(0))
    after = train(config, tmp_path / "run")
    for name in ("params", "ema_params"):
        pairs = zip(
            jax.tree.leaves(getattr(before, name)),
            jax.tree.leaves(getattr(after, name)),
            strict=True,
        )
        assert all(np.abs(np.asarray(a) - np.asarray(b)).max() > 0 for a, b in pairs)
    assert int(after.step) == 4


def test_learning_lowers_the_loss_of_one_repeated_image(folder, tmp_path):
    one = np.load(folder / "train.npy")[:1].repeat(8, axis=0)
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}.npy", one)
    options = {"optim.lr": 5e-3, "training.n_iters": 120, "training.eval_freq": 20}
    options |= {"training.snapshot_freq_for_preemption": 120, "training.snapshot_freq": 120}
    train(tiny_config(tmp_path, **EDM, **options), tmp_path / "run")
    metrics = _metrics(tmp_path / "run")
    assert metrics[120, "eval_loss"] < 0.75 * metrics[20, "eval_loss"]


def test_several_steps_in_one_dispatch_give_the_same_losses(folder, tmp_path):
    train(tiny_config(folder), tmp_path / "one")
    options = {"training.n_jitted_steps": 2, "training.log_freq": 2}
    options |= {"training.snapshot_freq_for_preemption": 2}
    train(tiny_config(folder, **options), tmp_path / "two")
    ours, theirs = _metrics(tmp_path / "one"), _metrics(tmp_path / "two")
    for step in (2, 4):
        np.testing.assert_allclose(ours[step, "loss"], theirs[step, "loss"], rtol=1e-5)


def test_sigterm_saves_the_state_and_leaves(folder, tmp_path):
    run = tmp_path / "run"
    never = {"training.snapshot_freq": 10**6, "training.snapshot_freq_for_preemption": 10**6}
    config = tiny_config(folder, **never, **{"training.n_iters": 10**6})

    def kill_after_some_steps():
        while not (run / "metrics.jsonl").is_file() or (5, "loss") not in _metrics(run):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill_after_some_steps, daemon=True).start()
    with pytest.raises(Interrupted, match="SIGTERM"):
        train(config, run)
    last = max(step for step, name in _metrics(run) if name == "loss")
    assert checkpoints.steps(run) == [last]
    assert "Interrupted" in (run / "log.txt").read_text()


def test_a_number_that_is_not_finite_stops_the_run_with_its_name_and_step(folder, tmp_path):
    config = tiny_config(folder, **{"optim.lr": 1e30, "training.n_iters": 50})
    with pytest.raises(FloatingPointError, match=r"(loss|norm) is .* at step \d+"):
        train(config, tmp_path / "run")


def test_the_workdir_tells_what_ran(folder, tmp_path):
    run = tmp_path / "run"
    train(tiny_config(folder, **EDM, **{"training.snapshot_sampling": True}), run)
    stored = json.loads((run / "config.json").read_text())
    pixels = np.load(folder / "train.npy") / 255
    np.testing.assert_allclose(stored["data"]["std"], pixels.std(), rtol=1e-5)
    made = json.loads((run / "provenance.jsonl").read_text())
    assert made["versions"]["jax"] == jax.__version__ and "8 x" in made["devices"]
    assert Image.open(run / "samples/step_000004.png").width > 2 * 16
    shown = run / "real_and_drawn.png", run / "loss.png"
    made = [path.stat().st_mtime_ns for path in shown]
    # Once more changes nothing, and a picture that was lost comes back.
    shown[0].unlink()
    train(tiny_config(folder, **EDM, **{"training.snapshot_sampling": True}), run)
    assert shown[0].is_file() and shown[1].stat().st_mtime_ns == made[1]
    # The newest two for a restart, and every second step for good.
    assert checkpoints.steps(run) == [2, 3, 4]


def _broken_set(case, folder):
    images = np.load(folder / "train.npy")
    if case == "no such folder":
        return "nowhere"
    if case.endswith("folder"):
        (folder / "png").mkdir()
        if case == "truncated folder":
            for i in range(3):
                Image.fromarray(images[i]).save(folder / f"png/larcv_64_{i}.png")
            whole = (folder / "png/larcv_64_1.png").read_bytes()
            (folder / "png/larcv_64_1.png").write_bytes(whole[: len(whole) // 2])
        return "png"
    wrong = {
        "nan": images + np.float32(np.nan),
        "colour": np.stack([images, images, images // 2], axis=-1),
        "size": images[:, :8],
        "range": images - 1.5,
    }[case]
    np.save(folder / "wrong.npy", wrong)
    return "wrong.npy"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no such folder", "--mode=simulate.*8300355"),
        ("empty folder", "png"),
        ("truncated folder", "larcv_64_1.png"),
        ("nan", "wrong.npy"),
        ("colour", "wrong.npy"),
        ("size", "16"),
        ("range", "wrong.npy"),
    ],
)
def test_bad_images_are_refused_and_nothing_is_touched(case, message, tmp_path):
    write_images(tmp_path)
    path = tmp_path / _broken_set(case, tmp_path)
    config = tiny_config(tmp_path, **{"data.train_path": str(path)})
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){message}"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_set_is_refused_where_a_run_begins(folder, tmp_path):
    config = tiny_config(folder, **{"training.batch_size": 24})
    with pytest.raises(ValueError, match=r"24 is larger .* 20 images .*batch_size=16 or less"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_test_images_from_the_training_set_are_named(folder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: said.append(text % values))
    config = tiny_config(folder)
    images, _ = open_sets(config)
    check_pair(config, images, images, begins=True)
    assert "20 of 20 test images" in said[0] and "--config.data.test_path=" in said[0]
    np.save(tmp_path / "test.npy", np.load(folder / "test.npy") // 2)
    config.data.test_path = str(tmp_path / "test.npy")
    check_pair(config, *open_sets(config), begins=True)
    assert len(said) == 1


def test_attention_that_no_level_has_is_refused_where_a_run_begins(folder, tmp_path):
    config = tiny_config(folder, **{"model.attn_resolutions": (4,)})
    with pytest.raises(ValueError, match=r'attn_resolutions="\(16,\)"'):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_that_devices_cannot_share_is_refused(folder, tmp_path):
    config = tiny_config(folder, **{"training.batch_size": 12})
    with pytest.raises(ValueError, match="12 is not divisible by 8 devices; try 8 or 16"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_configuration_is_refused(folder, tmp_path):
    train(tiny_config(folder, **{"training.n_iters": 1}), tmp_path / "run")
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(ValueError, match="model.nf: 8 there, 16 here"):
        train(tiny_config(folder, **{"model.nf": 16}), tmp_path / "run")
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_a_workdir_under_a_file_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="cannot be written"):
        train(tiny_config(folder), tmp_path / "file" / "run")


def test_the_tiny_configuration_is_valid(folder):
    check(tiny_config(folder))


def test_planes_are_trained_on_and_drawn_as_planes(tmp_path):
    rng = np.random.default_rng(0)
    planes = np.where(rng.random((20, 16, 16, 3)) < 0.1, 200, 0).astype(np.uint8)
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}.npy", planes)
    options = {"data.num_channels": 3, "data.planes": True, "training.snapshot_sampling": True}
    config = tiny_config(tmp_path, **options, **{"training.n_iters": 2})
    train(config, tmp_path / "run")
    # Beside the step's grid of 3x3 images stand three planes of each.
    with Image.open(tmp_path / "run" / "samples" / "step_000002.png") as grid:
        assert grid.width > 2.5 * grid.height
    out = sample(config, tmp_path / "run", num_samples=3)
    with np.load(out / "samples.npz") as drawn:
        samples, raw = drawn["samples"], drawn["raw"]
    assert samples.shape == raw.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(samples, to_uint8(raw, planes=True))
    assert (samples != samples[..., :1]).any()


def test_what_is_doubtful_in_the_images_is_in_the_log_before_the_first_step(tmp_path, monkeypatch):
    write_images(tmp_path)
    images = np.load(tmp_path / "train.npy")
    images[2:] = 0
    np.save(tmp_path / "train.npy", images)

    def begin(*arguments, **options):
        raise Interrupted("before the first step")

    monkeypatch.setattr("sgm_jax.train.fit", begin)
    with pytest.raises(Interrupted):
        train(tiny_config(tmp_path), tmp_path / "run")
    assert "18 of 20 images" in (tmp_path / "run" / "log.txt").read_text()
