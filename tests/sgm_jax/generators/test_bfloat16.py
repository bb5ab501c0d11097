"""bfloat16 for the features, float32 for all that is kept: what it may and may not change."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.config import check, flatten
from sgm_jax.generator import Purpose, run_key
from sgm_jax.generators import score
from sgm_jax.models.blocks import Conv, Dense, ResampleConv
from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.run import parallel
from sgm_jax.run.workdir import differences
from tests.small_network import SMALL
from tests.tiny_run import EDM, tiny_config

# Half a unit in the last of bfloat16's eight binary digits.
ROUNDING = 2.0**-9
MINI = SMALL | {"ch_mult": (1,), "attn_resolutions": ()}
HALF = {"training.dtype": "bfloat16"}
LABELS = jnp.array([3.0, 400.0])


def distance(one, other):
    """Return the norm of a difference over that of what is compared with."""
    return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))


def drawn(tree):
    """Return weights of order 1/sqrt(fan), so that every branch shows in the output."""
    rng = np.random.default_rng(0)
    fans = jax.tree.map(lambda a: np.prod(a.shape[:-1]) if a.ndim > 1 else 4.0, tree)
    return jax.tree.map(
        lambda a, fan: rng.standard_normal(a.shape, np.float32) / np.float32(np.sqrt(fan)),
        tree,
        fans,
    )


@pytest.fixture(scope="module")
def networks():
    """Return output and gradients of one network in either type, for the same weights."""
    net = NCSNpp(**MINI)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    params = drawn(jax.eval_shape(net.init, jax.random.key(0), x, LABELS)["params"])

    def results(dtype):
        def loss(params):
            out = net.clone(dtype=dtype).apply({"params": params}, x, LABELS)
            return jnp.square(out - 1.0).mean(), out

        (_, out), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return out, gradients

    return results(jnp.float32), results(jnp.bfloat16)


def test_the_output_differs_by_a_few_roundings(networks):
    (single, _), (half, _) = networks
    assert half.dtype == jnp.float32
    assert 0.5 * ROUNDING < distance(half - single.mean(), single - single.mean()) < 8 * ROUNDING


def test_every_gradient_is_float32_and_differs_by_a_few_roundings(networks):
    (_, single), (_, half) = networks
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(half), jax.tree.leaves(single), strict=True
    ):
        assert one.dtype == jnp.float32
        # That of a key's bias is 0 but for roundings.
        if "NIN_1']['bias" not in jax.tree_util.keystr(path):
            assert distance(one, other) < 20 * ROUNDING, path


@pytest.mark.parametrize(
    "layer",
    [Conv(2, dtype=jnp.bfloat16), Dense(2, dtype=jnp.bfloat16)]
    + [ResampleConv(2, up, (1, 3, 3, 1), jnp.bfloat16) for up in (True, False)],
    ids=["conv", "dense", "up", "down"],
)
def test_the_gradient_of_a_bias_is_summed_in_float32(layer):
    x = jnp.ones((1, 64, 64, 4), jnp.bfloat16)
    params = layer.init(jax.random.key(0), x)

    def total(params):
        return layer.apply(params, x).astype(jnp.float32).sum()

    out = jax.eval_shape(layer.apply, params, x)
    assert out.dtype == jnp.bfloat16
    # Added one by one, ones in bfloat16 stop at 256.
    np.testing.assert_array_equal(jax.grad(total)(params)["params"]["bias"], out.size / 2)


def test_the_network_sees_noise_far_below_the_background(key):
    net = NCSNpp(**MINI, dtype=jnp.bfloat16)
    noise = jax.random.normal(key, (1, 8, 8, 1))
    params = drawn(jax.eval_shape(net.init, key, noise, LABELS[:1])["params"])
    # A contrast, blind to the background.
    edge = np.zeros((3, 3, 1, 8), np.float32)
    edge[1, 1], edge[1, 2] = 1.0, -1.0
    params["002_conv"] = {"kernel": edge, "bias": np.zeros(8, np.float32)}

    @jax.jit
    def first_features(x):
        kept = {"capture_intermediates": lambda layer, _: layer.name == "002_conv"}
        _, found = net.apply({"params": params}, x, LABELS[:1], **kept, mutable="intermediates")
        return found["intermediates"]["002_conv"]["__call__"][0][:, :, :-1]

    seen = first_features(-1.0 + 1e-3 * noise)
    assert distance(seen, 1e-3 * first_features(noise)) < ROUNDING


def training(dtype):
    """Return a first state and an update of it, in a training that converges fast."""
    options = EDM | {"training.dtype": dtype, "data.std": 0.4, "optim.lr": 1e-2}
    config = tiny_config(Path(), **options)
    generator = score.build(config)
    key = run_key(config.seed, Purpose.INITIALISATION)
    return lambda: generator.initial_state(key), generator.train_step


def batch(number):
    """Return a square of charge, eight times, and the numbers of the images."""
    image = np.zeros((1, 8, 16, 16, 1), np.float32)
    image[:, :, 3:9, 5:14] = 1.0
    return {"image": image, "index": np.arange(8 * number, 8 * number + 8, dtype=np.int32)[None]}


@pytest.mark.usefixtures("optax_promotion")
def test_all_that_is_kept_of_a_training_is_float32():
    start, step = training("bfloat16")
    given = jax.eval_shape(start), jax.random.key(0), batch(0)
    state, metrics = jax.eval_shape(parallel.train_function(step), *given)
    kept = jax.tree.leaves((state.params, state.ema_params, state.opt_state, metrics["loss"]))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32"), jnp.dtype("int32")}
    assert {leaf.ndim for leaf in kept if leaf.dtype == jnp.int32} == {0}


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotion")
def test_a_loss_curve_lies_nearer_to_its_own_in_float32_than_to_that_of_another_seed():
    found = {}
    for dtype in ("float32", "bfloat16"):
        start, step = training(dtype)
        update = parallel.train_function(step)
        for seed in range(2):
            state, losses = parallel.replicate(start()), []
            for number in range(40):
                state, metrics = update(state, jax.random.key(seed), batch(number))
                losses.append(metrics["loss"][0])
            found[dtype, seed] = np.array(losses)
    for seed in range(2):
        single, half = found["float32", seed], found["bfloat16", seed]
        assert single[-10:].mean() < 0.7 * single[:10].mean()
        other = found["float32", 1 - seed]
        assert abs(half - single).mean() < 0.2 * abs(other - single).mean()
        np.testing.assert_allclose(half.mean(), single.mean(), rtol=0.02)


def test_an_unknown_type_is_refused_with_the_known_ones(tmp_path):
    config = tiny_config(tmp_path, **{"training.dtype": "float16"})
    with pytest.raises(ValueError, match="dtype is 'float16'; .* 'float32', 'bfloat16'"):
        check(config)


def test_a_run_keeps_its_type(tmp_path):
    single, half = (flatten(tiny_config(tmp_path, **options)) for options in ({}, HALF))
    assert differences(half, single) == ["training.dtype: 'float32' there, 'bfloat16' here"]
