"""Sampling: an image depends on the seed and its number, and nothing drawn is drawn twice."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from sgm_jax.conditions import Request
from sgm_jax.sample import draw, sample
from sgm_jax.train import train
from sgm_jax.trained import from_run
from tests.tiny_run import EDM, tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")


def finished(folder, options):
    """Return a run, and its configuration with overrides."""
    write_images(folder)
    # A fixture of the module cannot use one of a test, so it relaxes the promotion itself.
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder, **options), folder / "run")

    def config(**overrides):
        return tiny_config(folder, **options, **overrides)

    return folder / "run", config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("edm"), EDM)


@pytest.fixture(scope="module")
def trained_on_noise(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("noise"), {})


@pytest.fixture(params=["trained", "trained_on_noise"])
def either(request):
    """Noise levels and a Markov chain, one after the other."""
    return request.getfixturevalue(request.param)


def test_samples_come_with_grid_and_recipe(either, tmp_path):
    run, config = either
    out = sample(config(), run, out=tmp_path / "out")
    stack = np.load(out / "samples.npz")
    assert stack["samples"].shape == (12, 16, 16, 1) and stack["samples"].dtype == np.uint8
    assert stack["raw"].shape == (12, 16, 16, 1) and np.isfinite(stack["raw"]).all()
    lit = stack["samples"][stack["samples"] > 0]
    assert lit.size == 0 or lit.min() > 4
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["checkpoint_step"] == 4 and recipe["seconds_per_image"] > 0
    assert recipe["network_evaluations"] == (10 if config().sampling.method == "pc" else 35)
    assert {path.name for path in out.iterdir()} == {"samples.npz", "grid.png", "recipe.json"}


def test_image_does_not_depend_on_batch_or_count(either, tmp_path):
    run, config = either
    few = sample(config(), run, num_samples=3, out=tmp_path / "few")
    many = sample(config(**{"eval.batch_size": 16}), run, num_samples=20, out=tmp_path / "many")
    ours, theirs = np.load(few / "samples.npz")["raw"], np.load(many / "samples.npz")["raw"]
    np.testing.assert_allclose(ours, theirs[:3], atol=1e-3 * np.abs(ours).max())
    assert np.abs(theirs[0] - theirs[1]).max() > 1


def test_interrupted_sampling_goes_on_where_it_stopped(either, tmp_path, monkeypatch):
    run, config = either
    whole = sample(config(), run, num_samples=20, out=tmp_path / "whole")
    drawn = []
    from sgm_jax.sample import Drawer

    draw = Drawer.draw

    def draw_once(self, params, first, count, **kwargs):
        if drawn == [0]:
            raise KeyboardInterrupt
        drawn.append(first)
        return draw(self, params, first, count, **kwargs)

    monkeypatch.setattr(Drawer, "draw", draw_once)
    with pytest.raises(KeyboardInterrupt):
        sample(config(), run, num_samples=20, out=tmp_path / "parts")
    drawn[:] = [1]
    parts = sample(config(), run, num_samples=20, out=tmp_path / "parts")
    assert drawn == [1, 8, 16]
    assert (parts / "samples.npz").read_bytes() == (whole / "samples.npz").read_bytes()


def test_another_seed_draws_other_images(trained, tmp_path):
    run, config = trained
    ours = np.load(sample(config(), run, num_samples=1, out=tmp_path / "a") / "samples.npz")
    other = sample(config(seed=7), run, num_samples=1, out=tmp_path / "b")
    assert np.abs(ours["raw"] - np.load(other / "samples.npz")["raw"]).max() > 1


def test_bad_requests_are_refused(trained, tmp_path):
    run, config = trained
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 77; there are: 2, 3, 4"):
        sample(config(), run, checkpoint=77, out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no training run"):
        sample(config(), tmp_path, out=tmp_path / "out")
    with pytest.raises(ValueError, match="model.nf: 8 there, 16 here"):
        sample(config(**{"model.nf": 16}), run, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    sample(config(), run, num_samples=1, out=tmp_path / "out")
    with pytest.raises(ValueError, match="another recipe .*seed: 42 there, 7 here"):
        sample(config(seed=7), run, num_samples=1, out=tmp_path / "out")


def test_samples_that_are_there_are_not_drawn_again(trained, tmp_path):
    run, config = trained
    out = sample(config(), run, num_samples=1, out=tmp_path / "out")
    before = (out / "samples.npz").stat().st_mtime_ns
    assert sample(config(), run, num_samples=1, out=tmp_path / "out") == out
    assert (out / "samples.npz").stat().st_mtime_ns == before


def test_a_request_for_more_images_goes_on_where_an_earlier_one_ended(
    trained, tmp_path, monkeypatch
):
    run, config = trained
    whole = sample(config(), run, num_samples=20, out=tmp_path / "whole")
    from sgm_jax.sample import Drawer

    draw, drawn = Drawer.draw, []

    def counting(self, variables, first, count, **options):
        if first in drawn:  # an interruption, once
            raise KeyboardInterrupt
        images = draw(self, variables, first, count, **options)
        drawn.extend(range(first, first + count))
        return images

    monkeypatch.setattr(Drawer, "draw", counting)
    out = tmp_path / "out"
    sample(config(), run, num_samples=3, out=out)
    drawn.append(11)
    with pytest.raises(KeyboardInterrupt):
        sample(config(), run, num_samples=20, out=out)
    drawn.remove(11)
    # Whatever was asked for, in whatever batches: every image once, and a whole folder each time.
    sample(config(**{"eval.batch_size": 16}), run, num_samples=20, out=out)
    assert sorted(drawn) == list(range(20))
    grown, want = (np.load(folder / "samples.npz")["raw"] for folder in (out, whole))
    np.testing.assert_allclose(grown, want, atol=1e-3 * np.abs(want).max())
    assert json.loads((out / "recipe.json").read_text())["num_samples"] == 20
    assert {path.name for path in out.iterdir()} == {"samples.npz", "grid.png", "recipe.json"}
    # Fewer are there already.
    assert sample(config(), run, num_samples=5, out=out) == out and len(drawn) == 20


def test_few_images_are_drawn_in_small_batches(trained, tmp_path, monkeypatch):
    run, config = trained
    from sgm_jax.sample import Drawer

    sizes, compile_ = [], Drawer.compile

    def watched(self, variables):
        sizes.append(self.batch_size)
        return compile_(self, variables)

    monkeypatch.setattr(Drawer, "compile", watched)
    big = config(**{"eval.batch_size": 64})
    sample(big, run, num_samples=5, out=tmp_path / "a")
    sample(config(**{"eval.batch_size": 9}), run, num_samples=17, out=tmp_path / "b")
    assert sizes == [8, 8]  # there are eight devices


@pytest.mark.parametrize("how", ["link", "relative", "copy"])
def test_the_same_run_under_another_name_is_the_same_run(trained, tmp_path, monkeypatch, how):
    run, config = trained
    out = sample(config(), run, num_samples=1, out=tmp_path / "out")
    before = (out / "samples.npz").stat().st_mtime_ns
    other = tmp_path / "elsewhere"
    if how == "link":
        other.symlink_to(run)
    elif how == "copy":
        shutil.copytree(run, other)
    else:
        monkeypatch.chdir(run.parent)
        other = Path(run.name)
    assert sample(config(), other, num_samples=1, out=out) == out
    assert (out / "samples.npz").stat().st_mtime_ns == before
    # Without the note of its hash, as beside a checkpoint that was just saved, it is computed.
    if how == "copy":
        (other / "checkpoints" / "digests.jsonl").unlink()
        assert sample(config(), other, num_samples=1, out=out) == out


def test_other_weights_of_the_same_configuration_are_another_run(trained, tmp_path):
    run, config = trained
    out = sample(config(), run, num_samples=1, out=tmp_path / "out")
    changes = {"seed": 5, "training.snapshot_sampling": False}
    train(config(**changes), tmp_path / "run")
    with pytest.raises(ValueError, match="another recipe .checkpoint: "):
        sample(config(), tmp_path / "run", num_samples=1, out=out)


def test_in_memory_are_the_images_that_the_command_writes(trained, tmp_path):
    run, config = trained
    changed = config(**{"seed": 7, "sampling.sigma_min": 0.3, "model.num_scales": 10})
    out = sample(changed, run, num_samples=12, out=tmp_path / "out")
    images = draw(from_run(config(), run), 12, seed=7, sigma_min=0.3)
    assert images.shape == (12, 16, 16) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.load(out / "samples.npz")["samples"][..., 0])


def test_images_in_memory_fulfil_conditions(trained, tmp_path):
    run, config = trained
    known = np.random.default_rng(0).integers(5, 256, (2, 16, 16)).astype(np.uint8)
    left = np.arange(16)[None].repeat(16, axis=0) < 8
    request = Request(inpaint=known, mask=left, resample=1)
    images = draw(from_run(config(), run), 3, request=request)
    np.testing.assert_array_equal(images[:, left], known[[0, 1, 0]][:, left])
    assert (images[0] != images[2]).any()


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (0, {}, "num_samples is 0"),
        (1, {"sampler": "pc"}, "no sampler; it has .*method.*num_steps"),
        (1, {"method": "none"}, "sampling.method is 'none'; it can be"),
        (1, {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_drawings_are_refused(trained, number, fields, message):
    run, config = trained
    with pytest.raises(ValueError, match=message):
        draw(from_run(config(), run), number, **fields)
