"""Autoregressive generators through the commands: trained on what is known, they draw it."""

import json

import jax
import numpy as np
import pytest

from sgm_jax.conditions import Request
from sgm_jax.generators.autoregressive.orders import by_entropy
from sgm_jax.likelihood import measure
from sgm_jax.run.restore import load_state
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import from_run
from tests.tiny_sarm import sarm_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
TRAINED = {
    "data.image_size": 4,
    "training.n_iters": 300,
    "training.batch_size": 32,
    "training.log_freq": 100,
    "training.eval_freq": 300,
    "training.snapshot_freq": 300,
    "training.snapshot_freq_for_preemption": 300,
    "optim.lr": 0.01,
    "optim.schedule": "linear",
    "model.ema_rate": 0.95,
    "sampling.at_once": 64,
    "eval.num_images": 256,
}


def write(folder, images):
    for name in ("train", "test"):
        np.save(folder / f"{name}.npy", images.astype(np.uint8))


def trained(folder, **overrides):
    """Train in a folder with images; return the configuration."""
    config = sarm_config(folder, **TRAINED | overrides)
    train(config, folder / "run")
    return config


def drawn(config, folder, count, **request):
    """Return images of a run ``[count, H, W]``."""
    out = folder / "_".join(["out", *request.values()])
    sample(config, folder / "run", num_samples=count, request=Request(**request), out=out)
    return np.load(out / "samples.npz")["samples"][..., 0]


@pytest.mark.parametrize("trunk", ["causal_conv", pytest.param("made", marks=pytest.mark.slow)])
def test_of_two_images_each_gets_half_the_probability(trunk, tmp_path):
    two = np.random.default_rng(1).choice([0, 0, 7, 90, 255], (2, 4, 4))
    write(tmp_path, np.tile(two, (128, 1, 1)))
    options = {"model.head": "dd", "model.trunk": trunk, "model.inner": 16}
    options |= {"training.n_iters": 600, "training.snapshot_freq": 600}
    options |= {"training.snapshot_freq_for_preemption": 600, "training.eval_freq": 600}
    config = trained(tmp_path, **options)
    summary = measure(config, tmp_path / "run")
    assert summary["kind"] == "exact" and summary["network_evaluations"] == 1
    bits = np.load(tmp_path / "run/likelihood/step_000600/likelihood.npz")["bits_per_dim"]
    np.testing.assert_allclose(np.exp2(-16 * bits), 0.5, atol=0.06)
    images = drawn(config, tmp_path, 512)
    first, second = ((images == image).all((1, 2)).sum() for image in two)
    assert first + second > 480 and abs(first - second) < 150
    # The likelihoods of what was drawn, beside those of the test images.
    measure(config, tmp_path / "run", images=str(tmp_path / "out" / "samples.npz"))
    bits = np.load(tmp_path / "run/likelihood/step_000600_samples/likelihood.npz")["bits_per_dim"]
    known = (images == two[0]).all((1, 2)) | (images == two[1]).all((1, 2))
    probable = np.exp2(-16 * bits) > 0.4
    np.testing.assert_array_equal(probable, known[:256])


def lit_by_chance(rng, count):
    """Independent pixels, lit with a probability of their own; their share and bits an image."""
    share = np.linspace(0.05, 0.8, 16).reshape(4, 4)
    bits = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)).sum() + share.sum()
    lit = rng.random((count, 4, 4)) < share
    return np.where(lit, rng.choice([40, 200], lit.shape), 0), bits


def rows_of_a_chain(rng, count):
    """Rows in which a pixel is mostly what its left neighbour is."""
    lit = rng.random((count, 4, 4)) < 0.5
    for column in range(1, 4):
        stays = rng.random((count, 4)) < 0.9
        lit[:, :, column] = np.where(stays, lit[:, :, column - 1], ~lit[:, :, column - 1])
    stay = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    # A lit pixel has one of two levels, and half of them are lit.
    return np.where(lit, rng.choice([40, 200], lit.shape), 0), 4 * (1 + 3 * stay) + 8


@pytest.mark.parametrize("plan", ["one", pytest.param("blocks", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "images_of", [pytest.param(lit_by_chance, marks=pytest.mark.slow), rows_of_a_chain]
)
def test_known_distributions_are_learnt_and_drawn(images_of, plan, tmp_path):
    images, bits = images_of(np.random.default_rng(0), 4096)
    write(tmp_path, images)
    options = {"model.stages": plan, "model.head": "dd", "data.transform": "log"}
    config = trained(tmp_path, **options, **{"training.batch_size": 64})
    summary = measure(config, tmp_path / "run")
    # Not below the entropy, but by chance, and not far above.
    assert -5 * summary["stderr"] < summary["bits_per_dim"] - bits / 16 < 0.06
    found = drawn(config, tmp_path, 1024)
    error = 5 * 0.5 / 1024**0.5
    np.testing.assert_allclose((found > 0).mean(0), (images > 0).mean(0), atol=error + 0.02)
    lit = [(x > 0).astype(float) for x in (found, images)]
    along, down = (
        [(x[:, :-1] * x[:, 1:]).mean() if axis else (x[..., :-1] * x[..., 1:]).mean() for x in lit]
        for axis in (0, 1)
    )
    np.testing.assert_allclose(along[0], along[1], atol=0.04)
    np.testing.assert_allclose(down[0], down[1], atol=0.04)
    assert np.isin(found[found > 0], [40, 200]).mean() > 0.95


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A run on images whose upper half is lit by one particle and whose lower half by another."""
    folder = tmp_path_factory.mktemp("asked")
    rng = np.random.default_rng(0)
    particle = rng.integers(0, 2, 256)
    images = np.zeros((256, 4, 4))
    for half in range(2):
        lit = rng.random((256, 2, 4)) < 0.6
        images[:, 2 * half : 2 * half + 2] = 100 * (lit & (particle == half)[:, None, None])
    write(folder, images)
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", particle=particle)
    options = {
        "data.condition": str(folder / "{split}.npz"),
        "data.particles": ("muon", "proton"),
        "model.condition": ("particle",),
        "model.head": "dd",
    }
    with jax.numpy_dtype_promotion("standard"):
        return trained(folder, **options), folder


def test_one_network_draws_the_particle_that_is_asked_for(conditional):
    config, folder = conditional
    muons, protons = (drawn(config, folder, 64, particle=name) for name in ("muon", "proton"))
    upper, lower = (x[:, :2].sum() / x.sum() for x in (muons, protons))
    assert upper > 0.9 and lower < 0.1
    either = drawn(config, folder, 64)
    share = (either[:, :2].sum((1, 2)) > either[:, 2:].sum((1, 2))).mean()
    assert 0.15 < share < 0.85


def test_faint_levels_are_the_background(conditional, tmp_path):
    config, folder = conditional
    generator = from_run(config, folder / "run").generator
    variables = load_state(generator, folder / "run", 300).averaged
    images = np.load(folder / "test.npy")[:8, ..., None]
    faint = np.where(images == 0, 4, images).astype(np.uint8)
    nats = [generator.log_prob(variables, None, x, {}).nats for x in (images, faint)]
    np.testing.assert_array_equal(*nats)
    assert (np.asarray(nats[0]) < 0).all()


def test_an_order_by_entropy_is_measured_once(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, np.arange(1, 17).reshape(4, 4), (64, 4, 4)) * 10
    write(tmp_path, images)
    options = {"model.order": "entropy", "training.n_iters": 2, "eval.num_images": 8}
    options |= {"optim.schedule": "constant"}
    steps = ("eval_freq", "snapshot_freq", "snapshot_freq_for_preemption", "log_freq")
    options |= {f"training.{name}": 1 for name in steps}
    config = trained(tmp_path, **options)
    stored = json.loads((tmp_path / "run/config.json").read_text())["model"]["order_places"]
    assert tuple(stored) == by_entropy(images) != tuple(range(16))
    # Other images to go on with would have another order; that of the run stays.
    assert from_run(config, tmp_path / "run").generator.plan.stage.trunk.order == tuple(stored)
    train(sarm_config(tmp_path, **TRAINED | options | {"training.n_iters": 3}), tmp_path / "run")
    again = json.loads((tmp_path / "run/config.json").read_text())["model"]["order_places"]
    assert again == stored
    assert drawn(config, tmp_path, 8).shape == (8, 4, 4)
