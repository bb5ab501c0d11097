"""First stages: images through codes and back, on one level, on two, and as published."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.data import PixelScale
from sgm_jax.generators.vqvae import codebook
from sgm_jax.generators.vqvae.published import Published
from sgm_jax.models.double import Double
from sgm_jax.run import parallel
from tests.tiny_vqvae import PUBLISHED, TWO_LEVELS, first_stage_of, scattered, sparse_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
FIXTURE = Path(__file__).parents[3] / "fixtures/vqvae_published/published.npz"


def batch_of(stage, images):
    scale = PixelScale.from_config(stage.config.data)
    index = np.arange(len(images), dtype=np.int32)
    return {"image": scale.to_model(images[..., None]), "index": index}


def trained(stage, images, steps):
    """Return the variables after so many steps with the same images, and all metrics."""
    state = parallel.replicate(jax.jit(stage.initial_state)(jax.random.key(0)))
    update, key = parallel.train_function(stage.train_step), jax.random.key(1)
    told = []
    for _ in range(steps):
        batch = jax.tree.map(lambda x: x[None], batch_of(stage, images))
        state, metrics = update(state, key, batch)
        told.append({name: float(values[0]) for name, values in metrics.items()})
    return jax.device_get(state.averaged), told


def rebuilt(stage, variables, images):
    """Return images on the scale 0..255 as they come back from their codes."""
    x = batch_of(stage, images)["image"]
    back = jax.jit(stage.reconstructed)(variables, x)
    return np.asarray(PixelScale.from_config(stage.config.data).from_model(back))[..., 0]


FAST = {
    "first.lr": 0.01,
    "first.batch_size": 8,
    "optim.schedule": "inverse_sqrt",
    "optim.decay_start": 100,
    "model.decay": 0.9,
    "model.commitment": 1.0,
}


@pytest.mark.parametrize(
    "levels",
    [{}, pytest.param(TWO_LEVELS, marks=pytest.mark.slow)],
    ids=["one level", "two levels"],
)
def test_a_few_patterns_come_back_exactly(levels):
    patterns = sparse_images(2, seed=3)
    stage = first_stage_of(**levels, **FAST, **{"model.channels": (8, 16)})
    variables, told = trained(stage, np.tile(patterns, (4, 1, 1)), 300)
    assert told[-1]["loss"] < 0.1 * told[0]["loss"]
    # All vectors begin at 0, so that only the first is used; the others revive.
    assert told[0]["used_codes"] == 1 < told[-1]["used_codes"]
    back = rebuilt(stage, variables, patterns)
    # Zeros are exact; a level is one that its squared error tells from others.
    np.testing.assert_array_equal(back > 0, patterns > 0)
    np.testing.assert_allclose(back, patterns, atol=12)
    np.testing.assert_allclose(back, back.round(), atol=1e-3)


def test_codes_of_two_levels_lie_on_two_grids_and_make_the_image():
    stage = first_stage_of(**TWO_LEVELS, **{"data.image_size": 16})
    variables = scattered(lambda key: stage.initial_state(key).averaged)
    x = batch_of(stage, sparse_images(3, 16))["image"]
    assert stage.grids == ((2, 2), (4, 4))

    @jax.jit
    def all_of(variables, x):
        codes = stage.codes(variables, x)
        books = stage.books(variables)
        quantised, outputs, _ = stage.passed(variables, x, train=False)
        return codes, books, quantised, outputs, stage.outputs(variables, codes)

    codes, books, quantised, outputs, again = all_of(variables, x)
    assert [c.shape for c in codes] == [(3, 2, 2), (3, 4, 4)]
    for q, book, own in zip(quantised, books, codes, strict=True):
        np.testing.assert_array_equal(q.codes, own)
        np.testing.assert_array_equal(codebook.nearest(q.encodings, book), own)
    np.testing.assert_allclose(outputs, again, atol=1e-4)
    # The fine codes see the coarse ones, and the decoder sees both.
    for level, place in ((0, (0, 1, 1)), (1, (0, 2, 2))):
        changed = list(codes)
        changed[level] = codes[level].at[place].set((codes[level][place] + 1) % 6)
        other = jax.jit(stage.outputs)(variables, tuple(changed))
        assert np.abs(other - again)[0].max() > 1e-3
        np.testing.assert_array_equal(other[1:], again[1:])


def test_statistics_do_not_depend_on_the_devices():
    images, stage = sparse_images(8), first_stage_of()
    state = jax.jit(stage.initial_state)(jax.random.key(0))
    batch = batch_of(stage, images)
    results = []
    for count in (1, 4):
        step = parallel.mapped_step(stage.train_step, devices=jax.devices()[:count])
        shared = jax.tree.map(lambda x, n=count: x.reshape(n, 1, -1, *x.shape[1:]), batch)
        new, metrics = step(jax.tree.map(jnp.copy, state), jax.random.key(1), shared)
        results.append(jax.device_get((new.params, new.extra, metrics)))
    # Sums over images in another order.
    options = {"rtol": 1e-4, "atol": 1e-5}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **options), *results)
    assert results[0][2]["used_codes"] >= 1


def test_the_published_one_learns_by_gradient():
    images = np.tile(sparse_images(2, seed=3), (4, 1, 1))
    stage = first_stage_of(**FAST | PUBLISHED)
    variables, told = trained(stage, images, 60)
    assert stage.log_prob is None and set(variables.params) == {"network", "books"}
    assert told[-1]["loss"] < 0.5 * told[0]["loss"]
    assert "perplexity" in told[0] and "wrong_hits" not in told[0]
    # It is used with the statistics that it has followed.
    begun = jax.jit(stage.initial_state)(jax.random.key(0)).extra["statistics"]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), begun, variables.extra["statistics"])
    assert all(value > 1e-3 for value in jax.tree.leaves(moved))


def of_torch(arrays, part):
    """Return the published network's variables from those of PyTorch."""
    down = {"weight": (2, 3, 1, 0)}
    params, statistics = {}, {}
    for name, values in arrays.items():
        if not name.startswith(part):
            continue
        layer, *number, kind = name.split(".")[1:]
        layer = "_".join([layer, *number])
        values = values.astype(np.float32)
        if layer.startswith("norms"):
            if kind.startswith("running"):
                statistics.setdefault(layer, {})[kind.removeprefix("running_")] = values
            else:
                params.setdefault(layer, {})["scale" if kind == "weight" else "bias"] = values
        elif kind == "bias":
            params.setdefault(layer, {})["bias"] = values
        elif layer.startswith(("up", "last")):
            # A transposed convolution of PyTorch is one with the kernel turned round.
            params.setdefault(layer, {})["kernel"] = values.transpose(2, 3, 0, 1)[::-1, ::-1]
        else:
            params.setdefault(layer, {})["kernel"] = values.transpose(down[kind])
    statistics = {
        layer: {"mean": values["mean"], "var": values["var"]}
        for layer, values in statistics.items()
    }
    return params, statistics


def test_the_published_networks_are_those_of_pytorch():
    arrays = dict(np.load(FIXTURE))
    network = Published()
    params, statistics = of_torch(arrays, "encoder")
    params |= of_torch(arrays, "decoder")[0]
    variables = {"params": params, "batch_stats": statistics}
    x, z, encoded, decoded = (
        arrays[name].astype(np.float32).transpose(0, 2, 3, 1)
        for name in ("x", "z", "encoded", "decoded")
    )

    def encode(variables, x):
        zeros = jnp.zeros((2, 8))
        (q,) = network.apply(
            variables, x, lambda _, z: codebook.quantise(z, zeros), method="encode"
        )
        return q.encodings

    np.testing.assert_allclose(jax.jit(encode)(variables, x), encoded, rtol=1e-5, atol=1e-5)
    assert (encoded >= 0).all() and (encoded > 0).mean() > 0.1
    decode = jax.jit(lambda v, z: network.apply(v, (z,), method="decode"))
    np.testing.assert_allclose(decode(variables, z), decoded, rtol=1e-5, atol=1e-5)

    # In training it normalises by the batch, of all devices, and follows its mean.
    def encode_in_training(variables, x):
        zeros = jnp.zeros((2, 8))
        (q,), changed = network.apply(
            variables,
            x,
            lambda _, z: codebook.quantise(z, zeros),
            True,
            method="encode",
            mutable=["batch_stats"],
        )
        return q.encodings, changed["batch_stats"]

    mapped = jax.jit(jax.vmap(encode_in_training, in_axes=(None, 0), axis_name=parallel.AXIS))
    found, followed = mapped(variables, x[:, None])
    expected = arrays["encoded_in_training"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-4)
    for i in range(2):
        mean = followed[f"norms_{i}"]["mean"][0]
        np.testing.assert_allclose(mean, arrays[f"followed_mean_{i}"], rtol=1e-4)


def test_the_published_loss_is_three_means():
    stage = first_stage_of(**PUBLISHED)
    variables = scattered(lambda key: stage.initial_state(key).averaged)
    images = sparse_images(4)
    batch = batch_of(stage, images)
    loss, _ = jax.jit(stage.eval_loss)(variables, None, batch)
    quantised, outputs, _ = jax.jit(lambda v, x: stage.passed(v, x, train=False))(
        variables, batch["image"]
    )
    x = images[..., None] / 255 * 10
    apart = ((quantised[0].encodings - quantised[0].vectors) ** 2).mean()
    np.testing.assert_allclose(loss, ((outputs - x) ** 2).mean() + 2 * apart, rtol=1e-5)
    assert (outputs >= 0).all()


def test_it_draws_nothing_and_says_so():
    with pytest.raises(ValueError, match="draws no images: train its prior"):
        first_stage_of().drawing(None)


def test_a_finer_grid_has_four_places_of_each():
    x = jnp.arange(12.0).reshape(1, 2, 3, 2)
    kernel = jnp.zeros((3, 3, 2, 8)).at[1, 1, :, jnp.arange(8)].set(jnp.eye(2)[jnp.arange(8) % 2])
    params = {"four": {"kernel": kernel, "bias": jnp.repeat(jnp.array([0.0, 100, 200, 300]), 2)}}
    fine = Double(2).apply({"params": params}, x)
    expected = np.asarray(x).repeat(2, axis=1).repeat(2, axis=2)
    expected += np.tile([[0, 100], [200, 300]], (2, 3))[None, :, :, None]
    np.testing.assert_array_equal(fine, expected)
