"""Weights in a file: the same images as from their run, a start for training, nothing damaged."""

import hashlib
import json
import shutil
import sys

import jax
import numpy as np
import pytest

from sgm_jax import trained
from sgm_jax.run.restore import load_state
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run, from_weights, read_weights, stored_config
from tests.tiny_command import run_command
from tests.tiny_run import EDM, tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
OPTIONS = EDM | {"data.transform": "log", "model.ema_rates": (0.5,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and its averaged weights in a file."""
    folder = tmp_path_factory.mktemp("weights")
    write_images(folder)
    config = tiny_config(folder, **OPTIONS)
    with jax.numpy_dtype_promotion("standard"):
        train(config, folder / "run")
        export_weights(from_run(config, folder / "run"), folder / "w.npz")
    return folder


def test_a_file_draws_what_its_run_draws_without_a_configuration(folder, tmp_path):
    config = tiny_config(folder, **OPTIONS)
    ours = sample(config, folder / "run", num_samples=3, out=tmp_path / "run")
    source = str(folder / "w.npz")
    theirs = sample(None, tmp_path, num_samples=3, out=tmp_path / "file", pretrained=source)
    ours, theirs = (np.load(out / "samples.npz") for out in (ours, theirs))
    np.testing.assert_array_equal(ours["raw"], theirs["raw"])
    recipe = json.loads((tmp_path / "file" / "recipe.json").read_text())
    assert recipe["sha256"] == hashlib.sha256((folder / "w.npz").read_bytes()).hexdigest()
    assert recipe["checkpoint_step"] == 4


def test_the_configuration_of_a_run_is_read_back_as_it_was(folder, tmp_path):
    stored, given = stored_config(folder / "run"), tiny_config(folder, **OPTIONS)
    assert stored.data.std > 0 > given.data.std  # the run measured it
    given.data.std = stored.data.std
    assert stored.to_dict() == given.to_dict() and stored.is_locked
    with pytest.raises(FileNotFoundError, match="holds no training run"):
        stored_config(tmp_path)


def test_a_configuration_beside_the_file_says_how_to_draw(folder):
    source = str(folder / "w.npz")
    changes = {"sampling.num_steps": 7, "seed": 5, "model.num_scales": 33}
    chosen = from_weights(source, tiny_config(folder, **OPTIONS | changes)).config
    assert (chosen.sampling.num_steps, chosen.seed) == (7, 5) and chosen.data.std > 0
    assert chosen.model.num_scales == 33  # of "pc"; the network does not know it
    with pytest.raises(ValueError, match=r"another configuration: model\.nf: 8 there, 16 here"):
        from_weights(source, tiny_config(folder, **OPTIONS, **{"model.nf": 16}))


def test_training_begins_with_the_weights_and_their_scale(folder, tmp_path):
    source = str(folder / "w.npz")
    more = {"training.initial_weights": source, "optim.warmup": 10, "training.n_iters": 1}
    write_images(tmp_path, seed=3)
    config = tiny_config(tmp_path, **OPTIONS, **more)
    # The first update of a warm-up has rate 0.
    state = train(config, tmp_path / "run")
    expected = from_weights(source).load().params
    average = load_state(from_run(config, tmp_path / "run").generator, tmp_path / "run", 1)
    for params in (state.params, state.ema_params, average.ema_params):
        jax.tree.map(np.testing.assert_array_equal, params, expected)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["data"]["std"] == read_weights(source).config.data.std
    # The same weights under another name are the same; others of that name are not.
    shutil.copy(source, tmp_path / "copy.npz")
    config.training.initial_weights, config.training.n_iters = str(tmp_path / "copy.npz"), 2
    assert int(train(config, tmp_path / "run").step) == 2
    config.training.initial_weights = str(tmp_path / "other.npz")
    export_weights(from_run(config, tmp_path / "run"), tmp_path / "other.npz")
    with pytest.raises(
        ValueError, match=r"initial_weights: .*copy\.npz' there, .*other\.npz' here"
    ):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.transform": "sqrt"}, r"data\.transform: 'log' there, 'sqrt' here"),
        ({"model.nf": 16}, "another network: .* there, .* here"),
        ({"training.initial_weights": "no.npz"}, r"no weights no\.npz; give the path"),
    ],
)
def test_weights_of_something_else_are_refused(folder, tmp_path, changes, message):
    changes = {"training.initial_weights": str(folder / "w.npz")} | changes
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(tiny_config(folder, **OPTIONS | changes), tmp_path / "run")


def test_damaged_files_are_refused(folder, tmp_path, monkeypatch):
    content = (folder / "w.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"cut\.npz is damaged"):
        read_weights(str(tmp_path / "cut.npz"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is no file of weights"):
        read_weights(str(tmp_path / "other.npz"))
    # Those of the package are compared with their hash.
    monkeypatch.setattr(trained, "PACKAGED", tmp_path)
    (tmp_path / "mine.npz").write_bytes(content)
    (tmp_path / "mine.npz.sha256").write_text("0" * 64 + "  mine.npz\n")
    with pytest.raises(ValueError, match="its hash is not that of"):
        read_weights("mine")
    (tmp_path / "mine.npz.sha256").write_text(hashlib.sha256(content).hexdigest() + "  mine.npz\n")
    assert read_weights("mine").step == 4


def test_weights_of_the_package_are_whole_and_drawable():
    for name in trained.packaged():
        weights = from_weights(name)
        assert (trained.PACKAGED / f"{name}.npz.sha256").is_file()
        assert (trained.PACKAGED / f"{name}.npz").stat().st_size < 10e6
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights.load()))


def test_the_command_needs_a_configuration_or_weights():
    ended = run_command([sys.executable, "-m", "sgm_jax.main", "--mode=sample"])
    assert ended.returncode == 1 and "no --config" in ended.stdout + ended.stderr
