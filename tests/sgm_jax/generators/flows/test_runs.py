"""Flows through the commands: trained, stopped, gone on with, drawn from and measured."""

import json

import jax
import numpy as np
import pytest

from sgm_jax import generator as contract
from sgm_jax.conditions import Request
from sgm_jax.likelihood import measure
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.restore import load_state
from sgm_jax.run.workdir import read_config
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import from_weights, stored_config
from tests.tiny_flows import MAF, flows_config, write_sets

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module", params=["coupling", pytest.param("maf", marks=pytest.mark.slow)])
def finished(request, tmp_path_factory):
    """A run in one go."""
    folder = tmp_path_factory.mktemp(request.param)
    write_sets(folder)
    options = MAF if request.param == "maf" else {}
    with jax.numpy_dtype_promotion("standard"):
        config = flows_config(folder, **options, **{"training.keep_best": True})
        train(config, folder / "run")
    return folder, options


def state_of(run, step=4):
    return load_state(contract.build(stored_config(run)), run, step)


def test_stopped_anywhere_it_ends_where_the_uninterrupted_one_ends(finished, tmp_path):
    folder, options = finished
    for last in (2, 4):
        train(flows_config(folder, **options | {"training.n_iters": last}), tmp_path / "run")
    assert digest(state_of(tmp_path / "run")) == digest(state_of(folder / "run"))
    assert len(read_config(folder / "run")["model.standard"]) == 4


def drawn(folder, out, **options):
    """Return eight images of a run ``[8, 6, 6]``."""
    config = flows_config(folder, **options)
    path = sample(config, folder / "run", num_samples=8, out=out) / "samples.npz"
    return np.load(path)["samples"][..., 0]


def test_a_run_is_drawn_from_and_measured(finished, tmp_path):
    folder, options = finished
    levels = drawn(folder, tmp_path / "out", **options)
    assert levels.shape == (8, 6, 6) and not ((levels > 0) & (levels < 5)).any()
    summary = measure(flows_config(folder, **options), folder / "run")
    # Beside exact ones and other bounds they must not stand without a word.
    assert summary["kind"] == "dequantised"
    assert np.isfinite(summary["bits_per_dim"]) and summary["probe_stderr"] > 0


@pytest.mark.slow
def test_drawn_layers_can_be_ended_in_the_other_way_with_the_same_weights(finished, tmp_path):
    folder, options = finished
    ways = [
        drawn(folder, tmp_path / way, **options | {"model.postprocess": way})
        for way in ("l2lflows", "caloflow")
    ]
    assert (ways[0] != ways[1]).any()


def test_the_weights_of_the_lowest_test_loss_are_kept(finished, tmp_path):
    run = finished[0] / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    note = json.loads((run / "best.json").read_text())
    assert len(losses) == 2 and note == {
        "step": min(losses, key=losses.get),
        "eval_loss": min(losses.values()),
    }
    trained = from_weights(str(run / "best.npz"))
    state = state_of(run, note["step"])
    assert trained.step == note["step"] and digest(trained.load()) == digest(state.averaged)


@pytest.mark.slow
def test_a_run_that_begins_with_weights_sees_charge_as_they_do(finished, tmp_path):
    folder, options = finished
    np.save(tmp_path / "train.npy", np.load(folder / "train.npy") // 2)
    np.save(tmp_path / "test.npy", np.load(folder / "test.npy"))
    options = options | {"training.initial_weights": str(folder / "run/best.npz")}
    options |= {f"training.{name}": 1 for name in ("n_iters", "eval_freq", "snapshot_freq")}
    with pytest.raises(ValueError, match=r"model.alpha: 0\.01 there, 0\.02 here"):
        train(flows_config(tmp_path, **options, **{"model.alpha": 0.02}), tmp_path / "run")
    train(flows_config(tmp_path, **options), tmp_path / "run")
    before, after = (read_config(x / "run")["model.standard"] for x in (folder, tmp_path))
    assert before == after


@pytest.mark.slow
def test_what_is_drawn_shows_the_particle_that_is_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    particle = rng.integers(0, 2, 512)
    images = np.zeros((512, 6, 6), np.uint8)
    for half in range(2):
        lit = rng.random((512, 3, 6)) < 0.5
        images[:, 3 * half : 3 * half + 3] = 100 * (lit & (particle == half)[:, None, None])
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}.npy", images)
        np.savez(tmp_path / f"{split}.npz", particle=particle)
    options = {"training.batch_size": 64, "training.n_iters": 1000, "model.ema_rate": 0.99}
    options |= {f"training.{name}_freq": 1000 for name in ("eval", "snapshot")}
    options |= {"training.log_freq": 100, "training.snapshot_freq_for_preemption": 1000}
    options |= {"optim.lr": 5e-3, "model.blocks": 4, "model.energy_blocks": 4}
    options |= {"model.hidden": 32, "model.energy_hidden": 32, "model.bins": 8}
    options |= {"data.condition": str(tmp_path / "{split}.npz"), "sampling.at_once": 32}
    options |= {"data.particles": ("muon", "proton"), "model.condition": ("particle",)}
    config = flows_config(tmp_path, **options)
    train(config, tmp_path / "run")
    shares = []
    for name in ("muon", "proton"):
        request = Request(particle=name)
        out = sample(config, tmp_path / "run", num_samples=64, request=request, out=tmp_path / name)
        drawn = np.load(out / "samples.npz")["samples"][..., 0].astype(float)
        shares.append(drawn[:, :3].sum() / drawn.sum())
        assert 0.3 < (drawn > 0).mean() / (images > 0).mean() < 2
    assert shares[0] > 0.85 and shares[1] < 0.15
