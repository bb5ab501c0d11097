"""A weaker network leads by contrast: the closed form, what it costs, files, refusals."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.autoguidance import read_weaker
from sgm_jax.conditions import Conditions, Request, Weaker
from sgm_jax.drawer import Drawer
from sgm_jax.generators.score import build
from sgm_jax.guidance import autoguided
from sgm_jax.sample import sample
from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.ode import ProbabilityFlow
from sgm_jax.samplers.solvers import NoiseLevelSampler, dpm_solver
from sgm_jax.sde import VPSDE, SubVPSDE
from sgm_jax.step import Variables
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run
from tests.classifiers import classifier_config, write_particles
from tests.gaussian_scores import white
from tests.tiny_run import EDM, tiny_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
FOUR = EDM | {"sampling.method": "dpm_solver", "sampling.num_steps": 4}
TWO = {"training.n_iters": 2}
# What both networks take pixels of deviation 1 for.
BETTER, WEAKER = 0.8, 0.64


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
@pytest.mark.parametrize(
    "sampler",
    [
        NoiseLevelSampler(VPSDE(), 80, solver=dpm_solver, sigma_min=0.01, sigma_max=80.0),
        NoiseLevelSampler(SubVPSDE(), 40, sigma_min=0.01, sigma_max=80.0),
        ProbabilityFlow(VPSDE(), rtol=1e-4, atol=1e-4),
    ],
    ids=["dpm_solver", "heun", "ode"],
)
def test_gaussian_pixels_come_out_as_wide_as_the_closed_form_says(sampler, weight, key):
    sde = sampler.sde
    score = autoguided(white(sde, BETTER), white(sde, WEAKER), weight=weight)
    keys = image_keys(key, jnp.arange(64))
    images = jax.jit(lambda keys: sampler(keys, score, (64, 8, 8, 1)).images)(keys)
    alone = jax.jit(lambda keys: sampler(keys, white(sde, BETTER), (64, 8, 8, 1)).images)(keys)
    # The flow of y = x / a is dy / dsigma = sigma y (w / (s1^2 + sigma^2) - (w - 1) / (s2^2 +
    # sigma^2)): from large noise, each pixel arrives at s1^w / s2^(w - 1) times its latent.
    expected = (BETTER / WEAKER) ** (weight - 1)
    np.testing.assert_allclose(images / alone, expected, rtol=0.01)


def test_an_equal_network_and_a_weight_of_1_change_nothing(key):
    sde = VPSDE()
    x, t = jax.random.normal(key, (3, 4, 4, 1)), jnp.array([0.1, 0.5, 0.9])
    plain = white(sde, BETTER)(x, t)
    same = autoguided(white(sde, BETTER), white(sde, BETTER), weight=3.0)(x, t)
    np.testing.assert_array_equal(same, plain)
    one = autoguided(white(sde, BETTER), white(sde, WEAKER), weight=1.0)(x, t)
    np.testing.assert_allclose(one, plain, rtol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two particles, a run of each kind of network, and a classifier."""
    folder = tmp_path_factory.mktemp("autoguidance")
    write_particles(folder)
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder, **FOUR, **TWO), folder / "plain")
        train(classifier_config(folder, **TWO, **{"optim.warmup": 0}), folder / "classifier")
        export_weights(
            from_run(tiny_config(folder, **FOUR, **TWO), folder / "plain", checkpoint=1),
            folder / "early.npz",
        )
    return folder


def config_of(folder, weaker, **changes):
    return tiny_config(folder, **FOUR | TWO | {"sampling.weaker": str(weaker)} | changes)


def test_a_weaker_network_may_be_smaller_and_knows_the_condition(folder, key):
    conditional = FOUR | {"data.std": 0.1, "data.condition": "labels"}
    conditional |= {"model.condition": ("particle",), "data.particles": ("muon", "proton")}
    better, smaller = (
        build(tiny_config(folder, **conditional | {"model.nf": width})) for width in (12, 8)
    )

    def moved(generator):
        params = jax.jit(generator.initial_state)(key).params
        return jax.tree.map(lambda a: a + 0.05 * jax.random.normal(key, a.shape), params)

    params, theirs = moved(better), moved(smaller)
    rows = {"particle": np.array([0, 1], np.int32)}
    weaker = Weaker(smaller.score, lambda: theirs, 2.0, {})
    conditions = Conditions((16, 16), condition=rows, weaker=weaker)
    drawing = better.drawing(conditions)
    assert drawing.nfe == 2 * drawing.num_steps
    assert better.drawing(dataclasses.replace(conditions, condition=None)).nfe == drawing.nfe

    variables = Variables(params, {"weaker": theirs})
    x, t = jax.random.normal(key, (2, 16, 16, 1)), jnp.array([0.3, 0.6])
    asked = {"condition": {"particle": jnp.array([0, 1], jnp.int32)}}
    ours = drawing.score(variables, asked)(x, t)
    first = better.score(params, asked["condition"])(x, t)
    second = smaller.score(theirs, asked["condition"])(x, t)
    np.testing.assert_allclose(ours, 2 * first - second, rtol=1e-4, atol=1e-3)
    assert np.abs(first - second).max() > 0.05

    def images(batch_size):
        drawer = Drawer(better, batch_size=batch_size, seed=3, conditions=conditions)
        return drawer.draw(variables, 0, 4, progress=lambda done: None)

    np.testing.assert_allclose(images(8), images(16), atol=1e-4)


def test_what_led_is_written_down_and_read_again_from_weights(folder, tmp_path):
    config = config_of(folder, folder / "early.npz")
    out = sample(config, folder / "plain", num_samples=3)
    assert out.name == "step_000002_autoguidance_2"
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["network_evaluations"] == 8
    assert recipe["conditions"]["weaker"]["weight"] == 2.0
    assert recipe["conditions"]["weaker"]["weights"] == "early.npz"
    images = np.load(out / "samples.npz")["raw"]
    # The same file by another name, in weights that name it: the same images.
    moved = tmp_path / "moved.npz"
    moved.write_bytes((folder / "early.npz").read_bytes())
    trained = from_run(config_of(folder, moved), folder / "plain")
    export_weights(trained, tmp_path / "better.npz")
    again = sample(None, tmp_path, num_samples=3, pretrained=str(tmp_path / "better.npz"))
    np.testing.assert_allclose(np.load(again / "samples.npz")["raw"], images, atol=1e-3)
    # A weight of 1 is the network alone, and the weaker one is not read.
    config = config_of(folder, tmp_path / "gone.npz", **{"sampling.autoguidance": 1.0})
    alone = sample(config, folder / "plain", num_samples=3)
    assert alone.name == "step_000002"
    assert "weaker" not in (json.loads((alone / "recipe.json").read_text())["conditions"] or {})
    assert np.abs(np.load(alone / "samples.npz")["raw"] - images).max() > 1e-3
    # Other weights are other images.
    config = config_of(folder, folder / "early.npz", **{"sampling.autoguidance": 3.0})
    with pytest.raises(ValueError, match="another"):
        sample(config, folder / "plain", num_samples=4, out=out)


def test_it_goes_with_a_classifier_and_known_pixels(folder, tmp_path):
    request = Request(classifier=str(folder / "classifier"), particle="muon")
    config = config_of(folder, folder / "early.npz")
    out = sample(config, folder / "plain", num_samples=2, request=request)
    assert out.name == "step_000002_muon_autoguidance_2_classifier_1"
    known, mask = np.full((2, 16, 16), 90.0, np.float32), np.zeros((16, 16), bool)
    mask[:8] = True
    request = Request(inpaint=known, mask=mask)
    out = sample(config, folder / "plain", num_samples=2, request=request, out=tmp_path / "known")
    np.testing.assert_array_equal(np.load(out / "samples.npz")["samples"][:, :8], 90)


@pytest.mark.parametrize(
    ("weaker", "changes", "message"),
    [
        ("nowhere.npz", {}, "there are no such weights.*lar64"),
        ("classifier", {}, "is of the family 'classifier'"),
        ("early.npz", {"data.transform": "log"}, "data.transform: 'linear' there, 'log' in"),
        ("early.npz", {"model.beta_max": 10.0}, "model.beta_max: 20.0 there, 10.0 in"),
        ("early.npz", {"data.image_size": 32}, "data.image_size: 16 there, 32 in"),
        ("lar64_cond", {"data.scaling": "absolute"}, "data.image_size: 64 there, 16 in"),
    ],
)
def test_a_network_of_other_images_is_refused(weaker, changes, message, folder):
    path = weaker if weaker.startswith("lar64") else folder / weaker
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_weaker(config_of(folder, path, **changes))


def test_a_network_of_other_particles_is_refused(folder, tmp_path):
    known = {"data.condition": str(folder / "{split}.npz"), "model.condition": ("particle",)}
    config = tiny_config(folder, **FOUR | TWO | known | {"data.particles": ("muon", "proton")})
    train(config, tmp_path / "run")
    export_weights(from_run(config, tmp_path / "run"), tmp_path / "cond.npz")
    other = known | {"data.particles": ("muon", "kaon")}
    with pytest.raises(ValueError, match=r"particle of muon, proton.*particle of muon, kaon"):
        read_weaker(config_of(folder, tmp_path / "cond.npz", **other))
    with pytest.raises(ValueError, match="what draws without any"):
        read_weaker(config_of(folder, tmp_path / "cond.npz"))
    # One without conditions leads any.
    assert read_weaker(config_of(folder, folder / "early.npz", **other)).weight == 2.0


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(weight, folder):
    from sgm_jax.config import check

    with pytest.raises(ValueError, match=r"sampling\.autoguidance is .*it must be a number"):
        check(config_of(folder, "", **{"sampling.autoguidance": weight}))
