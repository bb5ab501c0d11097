"""A training under conditions, and what is watched of it: with the toy family, whose parts look."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax import generator as contract
from sgm_jax import watch
from sgm_jax.data.images import evenly_spaced
from sgm_jax.generator import GENERATORS
from sgm_jax.run.checkpoints import digest
from sgm_jax.step import Variables
from sgm_jax.train import open_conditions, open_sets, train, training_batches
from sgm_jax.trained import from_weights
from tests import toy_family
from tests.tiny_run import tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
COUNT = {"train": 20, "test": 20}


class Looking(toy_family.ToyGenerator):
    """A generator whose loss is the momentum to the right, and whose images show it in one grey."""

    def eval_loss(self, variables, key, batch):
        return batch["condition"]["momentum"][:, 2].mean(), {}

    def drawing(self, conditions):
        return Showing()


class Showing(toy_family.ToyDrawing):
    def finish(self, variables, state, given):
        asked = given["condition"]
        grey = 100 * asked["particle"] + asked["momentum"][:, 2]
        return jnp.ones(state.shape) * grey[:, None, None, None] / 255


@pytest.fixture(autouse=True)
def looking(monkeypatch):
    def build(config):
        return Looking((config.data.image_size, config.data.image_size, 1))

    parts = ("check", "check_new", "free_fields")
    family = {name: getattr(toy_family, name) for name in parts} | {"build": build}
    monkeypatch.setitem(GENERATORS, "looking", SimpleNamespace(**family))


@pytest.fixture
def config(tmp_path):
    write_images(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in COUNT.items():
        momentum = rng.integers(5, 100, (count, 3)).astype(np.float32)
        np.savez(tmp_path / f"{split}.npz", particle=rng.integers(2, size=count), momentum=momentum)
    options = {"generator": "looking", "data.centered": False, "training.n_iters": 2}
    options |= {"data.condition": str(tmp_path / "{split}.npz"), "eval.num_images": 16}
    options |= {"data.particles": ("muon", "proton"), "model.condition": ("particle", "momentum")}
    return tiny_config(tmp_path, **options | {"training.snapshot_sampling": True})


def shown(folder, split):
    with np.load(folder / f"{split}.npz") as arrays:
        return dict(arrays)


def test_test_images_are_watched_with_what_they_show(tmp_path, config, monkeypatch):
    grids = []
    monkeypatch.setattr(watch, "save_grid", lambda path, images: grids.append(images))
    train(config, tmp_path / "run")
    test = shown(tmp_path, "test")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [line["eval_loss"] for line in map(json.loads, lines) if "eval_loss" in line]
    np.testing.assert_allclose(losses, test["momentum"][:16, 2].mean(), rtol=1e-5)
    # Samples are asked for what the test images beside them show.
    rows = evenly_spaced(COUNT["test"], config.eval.batch_size)
    grey = 100 * test["particle"][rows] + test["momentum"][rows, 2]
    np.testing.assert_array_equal(grids[-1][:, 0, 0, 0], grey)


def test_the_range_of_momenta_is_kept_from_the_first_start(tmp_path, config):
    config.training.snapshot_sampling = False
    train(config, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["momentum_range"]
    known = shown(tmp_path, "train")
    sizes = np.linalg.norm(known["momentum"], axis=1)
    groups = [sizes, *(sizes[known["particle"] == kind] for kind in range(2))]
    np.testing.assert_allclose(stored, [f(group) for group in groups for f in (min, max)], 1e-6)
    config.training.n_iters = 3
    train(config, tmp_path / "run")
    again = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["momentum_range"]
    assert again == stored


def test_a_run_does_not_go_on_with_other_conditions(tmp_path, config):
    config.training.snapshot_sampling = False
    train(config, tmp_path / "run")
    known = shown(tmp_path, "train")
    known["momentum"][7] += 1
    np.savez(tmp_path / "train.npz", **known)
    config.training.n_iters = 3
    with pytest.raises(ValueError, match="trained on other images"):
        train(config, tmp_path / "run")


def test_conditions_of_too_few_images_are_refused_before_anything_is_written(tmp_path, config):
    known = shown(tmp_path, "test")
    np.savez(tmp_path / "test.npz", **{name: values[1:] for name, values in known.items()})
    with pytest.raises(ValueError, match="conditions of 19 images, and .* holds 20"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_that_sees_nothing_reads_nothing(tmp_path, config):
    config.model.condition = ()
    config.data.condition = "nowhere"
    images = open_sets(config)
    assert open_conditions(config, *images) == (None, None)
    assert "condition" not in training_batches(config, images[0]).at(0)
    # And only what it sees.
    config.model.condition = ("momentum",)
    config.data.condition = str(tmp_path / "{split}.npz")
    train_set, _ = open_conditions(config, *images)
    batch = training_batches(config, images[0], train_set).at(0)
    assert batch["condition"].keys() == {"momentum"}
    assert batch["image"].shape[0] == len(batch["condition"]["momentum"])


def test_the_weights_of_the_lowest_test_loss_are_kept(config, tmp_path):
    config.training.keep_best = True
    images = open_sets(config)
    condition = open_conditions(config, *images)[1]
    numbers = []
    progress = SimpleNamespace(write=lambda step, told: numbers.append(told["eval_loss"]))
    generator = contract.build(config)
    state = generator.initial_state(jax.random.key(0))

    def looked_at(losses):
        looking = watch.Watch(config, generator, tmp_path, images[1], progress, condition)
        for step, loss in losses.items():
            looking._loss = lambda *args, loss=loss: loss
            params = jax.tree.map(lambda leaf, step=step: leaf + step, state.params)
            looking.evaluate(step, Variables(params, state.extra))
        return json.loads((tmp_path / watch.BEST_NOTE).read_text())

    assert looked_at({1: 3.0, 2: 1.0, 3: 2.0}) == {"step": 2, "eval_loss": 1.0}
    kept = from_weights(str(tmp_path / watch.BEST))
    expected = jax.tree.map(lambda leaf: leaf + 2, state.params)
    assert kept.step == 2 and digest(kept.load().params) == digest(expected)
    # Another start knows the best of those before; a loss that is no number is none.
    assert looked_at({4: 1.5, 5: float("nan")})["step"] == 2
    assert looked_at({6: 0.5})["step"] == 6 and len(numbers) == 6
