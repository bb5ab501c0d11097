"""A classifier leads a generator that knows no conditions: drawn, written down and refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sgm_jax.bayes import check_noise, read_classifier
from sgm_jax.conditions import Conditions, Leading, Request
from sgm_jax.drawer import Drawer
from sgm_jax.generators import classifier as family
from sgm_jax.generators.score import build
from sgm_jax.run import checkpoints
from sgm_jax.sample import draw, sample
from sgm_jax.step import Variables
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run
from tests.classifiers import classifier_config, write_particles
from tests.tiny_run import EDM, tiny_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
PLAIN = EDM | {"sampling.method": "dpm_solver", "sampling.num_steps": 4}
MUONS = {"particle": "muon", "momentum_range": "200:300", "direction": "0,0,1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run without conditions, a classifier, and a run with conditions."""
    folder = tmp_path_factory.mktemp("bayes")
    write_particles(folder)
    short = {"training.n_iters": 2}
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder, **PLAIN, **short), folder / "plain")
        train(classifier_config(folder, **short, **{"optim.warmup": 0}), folder / "classifier")
    return folder


def request_of(folder, **fields):
    return Request(**{"classifier": str(folder / "classifier")} | fields)


def moved(params):
    """Return weights that say something."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [a + 0.05 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@pytest.fixture(scope="module")
def drawn(folder):
    """Return how random weights draw: ``drawn(rows, weight, options, more) -> images``."""
    with jax.numpy_dtype_promotion("standard"):
        config = classifier_config(folder, **{"data.std": 0.1})
        classifier = family.build(config)
        led = moved(jax.jit(classifier.initial_state)(jax.random.key(0)).params)
        plain = tiny_config(folder, **PLAIN, **{"data.std": 0.1})
        params = jax.jit(build(plain).initial_state)(jax.random.key(2)).params

    def images(rows, weight=1.0, options=None, **more):
        fields = PLAIN | {"data.std": 0.1} | (options or {})
        generator = build(tiny_config(folder, **fields))
        leading = Leading(config, classifier.log_posterior, lambda: led, weight, {})
        fields = {"condition": rows, "leading": leading if rows else None}
        conditions = Conditions(**{"size": (16, 16)} | fields | more)
        drawer = Drawer(generator, batch_size=8, seed=3, conditions=conditions)
        return drawer.draw(Variables(params, {"classifier": led}), 0, 4, progress=lambda done: None)

    return images


ROWS = {
    "particle": np.array([0, 1, 0, -1], np.int32),
    "momentum": np.array([[0, 0, 300], [0, 300, 0], [0, 0, 300], [np.nan] * 3], np.float32),
}


def test_an_image_follows_its_own_condition_only(drawn):
    images = drawn(ROWS)
    exchanged = drawn({name: rows[[1, 0, 2, 3]] for name, rows in ROWS.items()})
    differs = np.abs(images - exchanged).max(axis=(1, 2, 3)) > 1e-3
    np.testing.assert_array_equal(differs, [True, True, False, False])
    # Of the last image nothing is asked, and with a weight of 0 of none.
    plain = drawn(None)
    np.testing.assert_allclose(images[3], plain[3], atol=1e-4)
    np.testing.assert_allclose(drawn(ROWS, weight=0.0), plain, atol=1e-5)
    assert np.abs(drawn(ROWS, weight=2.0) - images)[:3].max() > 1e-3


def test_permuted_conditions_permute_images(folder):
    classifier = family.build(classifier_config(folder, **{"data.std": 0.1}))
    generator = build(tiny_config(folder, **PLAIN, **{"data.std": 0.1}))
    params = jax.jit(generator.initial_state)(jax.random.key(2)).params
    led = moved(jax.jit(classifier.initial_state)(jax.random.key(0)).params)
    leading = Leading(classifier.config, classifier.log_posterior, lambda: led, 1.0, {})
    drawing = generator.drawing(Conditions((16, 16), condition=ROWS, leading=leading))
    assert drawing.nfe == 4 and drawing.one_step_a_call

    variables = Variables(params, {"classifier": led})

    @jax.jit
    def step(i, state, keys, rows):
        return drawing.step(variables, i, state, keys, {"condition": rows})

    def run(keys, rows):
        state = drawing.start(keys, (4, 16, 16, 1), {})
        for i in range(drawing.num_steps):
            state = step(i, state, keys, rows)
        return drawing.finish(variables, state, {})

    keys, order = jax.random.split(jax.random.key(5), 4), np.array([2, 3, 1, 0])
    images = run(keys, ROWS)
    np.testing.assert_allclose(
        run(keys[order], {name: rows[order] for name, rows in ROWS.items()}),
        images[order],
        atol=1e-4,
    )
    assert np.abs(images[0] - images[2]).max() > 1e-3  # of one condition, with other noise


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpm_solver_sde", {"observable": "total_charge", "target": 3000.0, "spread": 50.0}),
        ("heun", {"size": (24, 32), "tile": 16, "stride": 8}),
        pytest.param("ode", {}, marks=pytest.mark.slow),
    ],
)
def test_every_sampler_and_other_conditions_go_with_it(method, more, drawn):
    options = {"sampling.method": method, "sampling.ode_batch": 1}
    options |= {"sampling.ode_rtol": 0.1, "sampling.ode_atol": 0.1}
    rows = {name: rows[:2] for name, rows in ROWS.items()}
    other = {name: rows[[1, 1]] for name, rows in ROWS.items()}
    # Random weights make a rough way, on which adaptive steps are many.
    images = [drawn(r, 0.05, options, **more) for r in (rows, other)]
    assert np.isfinite(images).all()
    differs = np.abs(images[0] - images[1]).max(axis=(1, 2, 3))
    assert differs[0] > 1e-5 and differs[1] < differs[0] / 10


def test_what_was_asked_and_what_led_is_written_down(folder, tmp_path):
    config = tiny_config(folder, **PLAIN, **{"training.n_iters": 2})
    out = sample(config, folder / "plain", num_samples=3, request=request_of(folder, **MUONS))
    assert out.name == "step_000002_muon_momentum_200_to_300_along_0_0_1_classifier_1"
    conditions = json.loads((out / "recipe.json").read_text())["conditions"]
    digest = checkpoints.expected(folder / "classifier" / "checkpoints")[2]
    assert conditions["classifier"]["checkpoint"] == digest
    assert conditions["classifier"]["weight"] == 1 and conditions["condition"]["particle"] == "muon"
    first = dict(np.load(out / "samples.npz"))
    np.testing.assert_array_equal(first["particle"], [0, 0, 0])
    # More of them go on where these end; another classifier's are others.
    sample(config, folder / "plain", num_samples=5, request=request_of(folder, **MUONS))
    more = dict(np.load(out / "samples.npz"))
    for name in ("momentum", "raw"):
        np.testing.assert_array_equal(more[name][:3], first[name])
    request = request_of(folder, classifier_weight=3.0, **MUONS)
    with pytest.raises(ValueError, match="another"):
        sample(config, folder / "plain", num_samples=5, request=request, out=out)
    # Weights in files do the same, without a run.
    export_weights(from_run(config, folder / "plain"), tmp_path / "p.npz")
    theirs = classifier_config(folder, **{"training.n_iters": 2, "optim.warmup": 0})
    export_weights(from_run(theirs, folder / "classifier"), tmp_path / "c.npz")
    request = request_of(folder, classifier=str(tmp_path / "c.npz"), **MUONS)
    options = {"pretrained": str(tmp_path / "p.npz"), "request": request}
    again = sample(None, tmp_path, num_samples=5, **options)
    np.testing.assert_allclose(np.load(again / "samples.npz")["raw"], more["raw"], atol=1e-3)
    recipe = json.loads((again / "recipe.json").read_text())
    assert recipe["conditions"]["classifier"]["weights"] == "c.npz"
    images = draw(from_run(config, folder / "plain"), 3, request=request_of(folder, **MUONS))
    np.testing.assert_array_equal(images, more["samples"][:3, ..., 0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "says nothing without a condition"),
        ({"particle": "kaon"}, "'kaon'; this network knows: muon, proton"),
        ({"particle": "muon", "momentum": "0,0,900"}, "900 MeV/c, .*--extrapolate"),
        ({"particle": "muon", "classifier_weight": -1.0}, "it must be a number"),
        ({"particle": "muon", "classifier_weight": float("nan")}, "it must be a number"),
        ({"classifier": None, "classifier_weight": 2.0}, "nothing without --classifier"),
        ({"particle": "muon", "classifier": "plain"}, "is of the family 'score'"),
    ],
)
def test_what_cannot_lead_is_refused(fields, message, folder, tmp_path):
    if fields.get("classifier"):
        fields = fields | {"classifier": str(folder / fields["classifier"])}
    config = tiny_config(folder, **PLAIN, **{"training.n_iters": 2})
    options = {"request": request_of(folder, **fields), "out": tmp_path / "out"}
    with pytest.raises(ValueError, match=message):
        sample(config, folder / "plain", num_samples=2, **options)
    assert not (tmp_path / "out").exists()


def test_momenta_beyond_the_classifiers_training_are_drawn_if_told_to(folder, tmp_path):
    config = tiny_config(folder, **PLAIN, **{"training.n_iters": 2})
    request = request_of(folder, momentum="0,0,900", extrapolate=True)
    out = sample(config, folder / "plain", num_samples=1, request=request, out=tmp_path / "out")
    np.testing.assert_array_equal(np.load(out / "samples.npz")["momentum"], [[0, 0, 900]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.transform": "log"}, "data.transform: 'linear' there, 'log' in what draws"),
        ({"data.scaling": "per_image"}, "data.scaling: 'none' there, 'per_image' in"),
        ({"data.image_size": 32}, "data.image_size: 16 there, 32 in"),
        ({"data.num_channels": 3}, "data.num_channels: 1 there, 3 in"),
        ({"data.centered": True, "training.objective": "noise"}, "data.centered: False there"),
        ({"training.sde": "vesde"}, "training.sde: 'vpsde' there, 'vesde' in"),
        ({"model.beta_max": 10.0}, "model.beta_max: 20.0 there, 10.0 in"),
        ({"generator": "classifier"}, "of the family 'score', and this one is of 'classifier'"),
        ({"sampling.guidance": 1.5}, "--guidance=1.5 is for networks trained with conditions"),
        (
            {"model.condition": ("particle",), "data.condition": "labels"},
            "this one knows particle itself",
        ),
    ],
)
def test_a_classifier_of_other_images_or_other_noise_is_refused(changes, message, folder):
    request = request_of(folder, particle="muon")
    with pytest.raises(ValueError, match=message):
        read_classifier(request, tiny_config(folder, **PLAIN | changes))
    # What says nothing to a classifier may differ.
    others = {"model.nf": 12, "model.num_scales": 50, "model.sigma_max": 90.0, "seed": 9}
    others |= {"data.particles": ("a", "b"), "training.objective": "velocity"}
    leading = read_classifier(request, tiny_config(folder, **PLAIN | others))
    assert tuple(leading.config.data.particles) == ("muon", "proton")
    assert read_classifier(Request(), tiny_config(folder)) is None


def test_a_classifier_of_images_of_other_units_is_refused(folder, tmp_path, caplog):
    def at(place, **units):
        """Return a configuration of images whose simulation says so."""
        images = place / "train/larcv_png_16"
        images.mkdir(parents=True)
        config = tiny_config(folder, **PLAIN).unlock()
        config.simulation.update(units)
        recipe = {"simulation": {"pixel_mm": config.simulation.pixel_mm}}
        (place / "recipe.json").write_text(json.dumps(recipe))
        config.data.train_path = str(images)
        return config

    fine, wide = at(tmp_path / "fine", pixel_mm=3.0), at(tmp_path / "wide", pixel_mm=10.0)
    check_noise("--it", fine, fine, fix="Train another")
    with pytest.raises(ValueError, match="--it .* pixel_mm 3 there, pixel_mm 10 .*Train another"):
        check_noise("--it", fine, wide, fix="Train another")
    # Without the images nobody knows: these may be others than those that are configured.
    wide.data.train_path = "elsewhere/train/larcv_png_16"
    check_noise("--it", fine, fine, fix="Train another")
    assert not caplog.messages
    check_noise("--it", fine, wide, fix="Train another")
    assert "pixel_mm 3" in caplog.text
    assert "pixel_mm 10" in caplog.text


def test_a_folder_without_a_run_says_how_to_train_one(folder, tmp_path):
    request = dataclasses.replace(request_of(folder), classifier=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="configs/classifier64.py"):
        read_classifier(request, tiny_config(folder, **PLAIN))
