"""The score family with conditions: from a batch to a loss, from a request to images."""

import json
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.conditions import Conditions, Request
from sgm_jax.config import check
from sgm_jax.drawer import Drawer
from sgm_jax.generators.score import build
from sgm_jax.models.condition import PARAMETERS
from sgm_jax.models.momentum_map import MAP
from sgm_jax.models.overview import OVERVIEW
from sgm_jax.sample import sample
from sgm_jax.step import Variables
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run, read_weights
from tests.tiny_run import EDM, tiny_config, write_images

CONDITIONAL = {
    "model.condition": ("particle", "momentum"),
    "data.condition": "shown",
    "data.particles": ("muon", "proton"),
}
OPTIONS = EDM | CONDITIONAL | {"data.std": 0.1, "sampling.num_steps": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a conditional network, whose embedding says something."""
    generator = build(tiny_config(tmp_path_factory.mktemp("c"), **OPTIONS))
    params = jax.jit(generator.initial_state)(jax.random.key(0)).params
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [a + 0.2 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def batch_of(count, key):
    momentum = jax.random.normal(key, (count, 3)) * 300
    return {
        "image": 0.1 * jax.random.normal(key, (count, 16, 16, 1)),
        "index": jnp.arange(count),
        "condition": {"particle": jnp.arange(count, dtype=jnp.int32) % 2, "momentum": momentum},
    }


def drawn(generator, params, condition, count=4):
    conditions = Conditions((16, 16), condition=condition)
    drawer = Drawer(generator, batch_size=8, seed=3, conditions=conditions)
    return drawer.draw(Variables(params), 0, count, progress=lambda done: None)


@pytest.mark.parametrize("objective", ["edm", "noise"])
def test_what_is_forgotten_does_not_depend_on_how_the_batch_is_split(
    objective, weights, key, tmp_path
):
    options = OPTIONS | {"training.drop_condition": 0.3, "training.drop_field": 0.3}
    generator = build(tiny_config(tmp_path, **options | {"training.objective": objective}))
    batch, loss = batch_of(8, key), jax.jit(generator.train_loss)
    whole, _ = loss(weights, key, batch)
    halves = [jax.tree.map(itemgetter(slice(i, None, 2)), batch) for i in (0, 1)]
    parts = [loss(weights, key, half)[0] for half in halves]
    np.testing.assert_allclose(whole, np.mean(parts), rtol=1e-5)
    # Some are forgotten, and not all.
    generators = [
        build(tiny_config(tmp_path, **options | {"training.objective": objective} | change))
        for change in (
            {"training.drop_condition": 0.0, "training.drop_field": 0.0},
            {"training.drop_condition": 0.99999, "training.drop_field": 0.99999},
        )
    ]
    kept, forgotten = (jax.jit(g.train_loss)(weights, key, batch)[0] for g in generators)
    plain = {name: values for name, values in batch.items() if name != "condition"}
    np.testing.assert_allclose(forgotten, loss(weights, key, plain)[0], rtol=1e-5)
    assert len({float(value) for value in (whole, kept, forgotten)}) == 3


def test_the_loss_of_the_test_knows_what_its_images_show(weights, key, tmp_path):
    options = OPTIONS | {"training.drop_condition": 0.9}
    generator, batch = build(tiny_config(tmp_path, **options)), batch_of(8, key)
    loss = jax.jit(lambda batch: generator.eval_loss(Variables(weights), key, batch)[0])
    without = {name: values for name, values in batch.items() if name != "condition"}
    assert abs(loss(batch) - loss(without)) > 1e-4
    order = jnp.array([1, 0, 2, 3, 4, 5, 6, 7])
    moved = jax.tree.map(lambda rows: rows[order], batch["condition"])
    assert abs(loss(batch) - loss(batch | {"condition": moved})) > 1e-6


def test_other_conditions_give_other_images_and_their_own_only(weights, tmp_path):
    generator = build(tiny_config(tmp_path, **OPTIONS))
    momentum = np.array([[0, 0, 300], [0, 300, 0], [0, 0, 300], [np.nan] * 3], np.float32)
    rows = {"particle": np.array([0, 1, 0, -1], np.int32), "momentum": momentum}
    images = drawn(generator, weights, rows)
    exchanged = drawn(generator, weights, {name: r[[1, 0, 2, 3]] for name, r in rows.items()})
    differs = np.abs(images - exchanged).max(axis=(1, 2, 3)) > 1e-3
    np.testing.assert_array_equal(differs, [True, True, False, False])
    # Permuted together with the noise, they permute the images.
    drawing = generator.drawing(Conditions((16, 16), condition=rows))
    keys, order = jax.random.split(jax.random.key(5), 4), np.array([2, 3, 1, 0])

    @jax.jit
    def run(keys, rows):
        given = {"condition": rows}
        state = drawing.start(keys, (4, 16, 16, 1), given)
        state = jax.lax.fori_loop(
            0, 4, lambda i, s: drawing.step(Variables(weights), i, s, keys, given), state
        )
        return drawing.finish(Variables(weights), state, given)

    moved = run(keys[order], {name: r[order] for name, r in rows.items()})
    np.testing.assert_allclose(moved, run(keys, rows)[order], atol=1e-4)
    # Of the last image nothing is asked.
    np.testing.assert_allclose(images[3], drawn(generator, weights, None)[3], atol=1e-5)


def test_weight_0_draws_what_is_drawn_without_a_condition(weights, tmp_path):
    rows = {"particle": np.array([1], np.int32), "momentum": np.array([[0, 0, 300]], np.float32)}

    def images(weight, condition=rows):
        options = OPTIONS | {"sampling.guidance": weight}
        return drawn(build(tiny_config(tmp_path, **options)), weights, condition)

    np.testing.assert_array_equal(images(0.0), images(1.0, None))
    assert np.abs(images(1.0) - images(0.0)).max() > 1e-3
    assert np.abs(images(1.5) - images(1.0)).max() > 1e-3
    for weight, factor in ((0.0, 1), (1.0, 1), (1.5, 2)):
        generator = build(tiny_config(tmp_path, **OPTIONS | {"sampling.guidance": weight}))
        assert generator.drawing(Conditions((16, 16), condition=rows)).nfe == 7 * factor
        assert generator.drawing(Conditions((16, 16))).nfe == 7


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpm_solver", {}),
        ("dpm_solver_sde", {"observable": "total_charge", "target": 3000.0, "spread": 50.0}),
        ("ddim", {"size": (24, 32), "tile": 16, "stride": 8}),
        ("pc", {"repeats": 2}),
        ("ode", {}),
    ],
)
def test_every_sampler_and_other_conditions_go_with_it(method, more, weights, tmp_path):
    options = OPTIONS | {"sampling.method": method, "sampling.guidance": 1.5}
    options |= {"sampling.ode_rtol": 1e-2, "sampling.ode_atol": 1e-2, "sampling.ode_batch": 1}
    generator = build(tiny_config(tmp_path, **options))
    tamed = jax.tree.map(lambda leaf: 0.5 * leaf, weights)
    rows = {"particle": np.arange(2, dtype=np.int32), "momentum": np.ones((2, 3), np.float32)}
    images = []
    for condition in (rows, {name: r[[1, 1]] for name, r in rows.items()}):
        conditions = Conditions(**{"size": (16, 16), "condition": condition} | more)
        drawer = Drawer(generator, batch_size=8, seed=3, conditions=conditions)
        images.append(drawer.draw(Variables(tamed), 0, 2, progress=lambda done: None))
    assert np.isfinite(images).all()
    moved = np.abs(images[0] - images[1]).max(axis=(1, 2, 3))
    assert moved[0] > 1e-5 and moved[1] < moved[0] / 10


def test_a_network_without_conditions_refuses_them(tmp_path):
    generator = build(tiny_config(tmp_path, **EDM, **{"data.std": 0.1}))
    with pytest.raises(ValueError, match="trained without conditions, and has no particle"):
        generator.drawing(Conditions((16, 16), condition={"particle": np.zeros(1, np.int32)}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run without conditions, its weights, and a conditional one that begins with them."""
    folder = tmp_path_factory.mktemp("run")
    write_images(folder)
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        momentum = rng.normal(size=(20, 3))
        momentum *= rng.uniform(100, 500, (20, 1)) / np.linalg.norm(momentum, axis=1)[:, None]
        np.savez(folder / f"{name}.npz", particle=np.arange(20) % 2, momentum=momentum)
    plain = EDM | {"sampling.num_steps": 4, "training.n_iters": 2}
    options = plain | CONDITIONAL | {"data.condition": str(folder / "{split}.npz")}
    options |= {
        "training.initial_weights": str(folder / "w.npz"),
        "training.snapshot_sampling": True,
    }
    with jax.numpy_dtype_promotion("standard"):
        config = tiny_config(folder, **plain)
        train(config, folder / "plain")
        export_weights(from_run(config, folder / "plain"), folder / "w.npz")
        config = tiny_config(folder, **options)
        check(config)
        train(config, folder / "run")
    return folder, lambda **more: tiny_config(folder, **options | more)


@pytest.mark.usefixtures("optax_promotion")
def test_weights_without_conditions_begin_a_network_with_them(run, tmp_path):
    folder, config = run
    # The first update of a warm-up has rate 0.
    config = config(**{"training.n_iters": 1, "model.overview": 4, "model.momentum_map": True})
    state = train(config, tmp_path / "run")
    plain = read_weights(str(folder / "w.npz"))
    generator = from_run(config, tmp_path / "run").generator
    for params in (state.params, state.ema_params):
        theirs = plain.variables(build(plain.config)).params
        assert params.keys() - theirs.keys() == {PARAMETERS, OVERVIEW, MAP}
        jax.tree.map(np.testing.assert_array_equal, {n: params[n] for n in theirs}, theirs)
        x, t = jax.random.normal(jax.random.key(0), (2, 16, 16, 1)), jnp.array([0.2, 0.7])
        shown = {"particle": jnp.array([0, 1]), "momentum": 300 * jnp.ones((2, 3))}
        ours = generator.score(params, shown)(x, t)
        np.testing.assert_array_equal(ours, build(plain.config).score(theirs)(x, t))
    assert not state.params[PARAMETERS]["last"]["kernel"].any()
    assert state.params[PARAMETERS]["particle"].any()


@pytest.mark.usefixtures("optax_promotion")
def test_a_conditional_run_knows_its_momenta_and_draws_what_is_asked(run, tmp_path, monkeypatch):
    folder, config = run
    # As if the training images were simulated.
    known = {config().data.train_path: {"mev_per_level": 0.25}}
    monkeypatch.setattr("sgm_jax.sample.units", known.get)
    stored = json.loads((folder / "run" / "config.json").read_text())["data"]["momentum_range"]
    sizes = np.linalg.norm(np.load(folder / "train.npz")["momentum"], axis=1)
    groups = (sizes, sizes[::2], sizes[1::2])
    want = [end for group in groups for end in (group.min(), group.max())]
    np.testing.assert_allclose(stored, want, rtol=1e-5)
    with pytest.raises(ValueError, match="900 MeV/c, and of a muon"):
        sample(config(), folder / "run", request=Request(particle="muon", momentum="0,0,900"))
    request = Request(particle="proton", momentum_range="200:300")
    guided = config(**{"sampling.guidance": 1.5})
    out = sample(guided, folder / "run", num_samples=3, request=request)
    assert out.name == "step_000002_proton_momentum_200_to_300_guidance_1.5"
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["conditions"]["condition"]["particle"] == "proton"
    assert recipe["config"]["sampling.guidance"] == 1.5 and recipe["network_evaluations"] == 14
    assert recipe["mev_per_level"] == 0.25 and recipe["particles"] == ["muon", "proton"]
    first = dict(np.load(out / "samples.npz"))
    np.testing.assert_array_equal(first["particle"], [1, 1, 1])
    size = np.linalg.norm(first["momentum"], axis=1)
    assert ((size > 200) & (size < 300)).all() and first["momentum"].shape == (3, 3)
    # More of them go on where these end, and weights in a file know it all.
    sample(guided, folder / "run", num_samples=5, request=request)
    export_weights(from_run(config(), folder / "run"), tmp_path / "c.npz")
    pretrained = {"pretrained": str(tmp_path / "c.npz"), "out": tmp_path / "out"}
    sample(guided, tmp_path, num_samples=5, request=request, **pretrained)
    more, theirs = (dict(np.load(path / "samples.npz")) for path in (out, tmp_path / "out"))
    for name in ("momentum", "particle", "raw"):
        np.testing.assert_array_equal(more[name][:3], first[name])
        np.testing.assert_allclose(theirs[name], more[name], atol=1e-3)


@pytest.mark.usefixtures("optax_promotion")
def test_weights_with_conditions_begin_no_network_to_which_they_mean_something_else(run, tmp_path):
    folder, config = run
    export_weights(from_run(config(), folder / "run"), tmp_path / "c.npz")
    begun = {"training.initial_weights": str(tmp_path / "c.npz"), "training.n_iters": 1}
    train(config(**begun), tmp_path / "same")
    for change in ({"data.particles": ("proton", "muon")}, {"model.momentum_scale": 100.0}):
        with pytest.raises(ValueError, match="mean something else"):
            train(config(**begun, **change), tmp_path / "other")
    plain = {"model.condition": (), "data.particles": ()}
    with pytest.raises(ValueError, match="mean something else"):
        train(config(**begun | plain), tmp_path / "plain")


@pytest.mark.usefixtures("optax_promotion")
def test_a_run_does_not_go_on_when_its_images_show_something_else(run, tmp_path):
    folder, config = run
    for name in ("train", "test", "w"):
        content = dict(np.load(folder / f"{name}.npz"))
        np.savez(tmp_path / f"{name}.npz", **content)
    shown = {"data.condition": str(tmp_path / "{split}.npz")}
    train(config(**shown), tmp_path / "run")
    content = dict(np.load(tmp_path / "train.npz"))
    np.savez(tmp_path / "train.npz", **content | {"particle": 1 - content["particle"]})
    with pytest.raises(ValueError, match="trained on other images"):
        train(config(**shown, **{"training.n_iters": 4}), tmp_path / "run")
