"""The classifier of noised images: what it learns, resuming, and its configuration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.config import check
from sgm_jax.generator import Purpose, purpose, run_key
from sgm_jax.generators.classifier import build
from sgm_jax.run import checkpoints, parallel
from sgm_jax.train import train
from tests.classifiers import CLASSIFIER, classifier_config, write_particles
from tests.tiny_run import tiny_config

pytestmark = pytest.mark.usefixtures("optax_promotion")


def batch_of(count, key):
    """Return images of two kinds: dots above and below, the brighter the more momentum."""
    size = jax.random.uniform(key, (count,), minval=100.0, maxval=500.0)
    kind = jnp.arange(count, dtype=jnp.int32) % 2
    row = 4 + 8 * kind
    image = jnp.zeros((count, 16, 16, 1)).at[jnp.arange(count), row, 8].set(size[:, None] / 500)
    # Nothing shows the direction.
    momentum = jax.random.normal(jax.random.key(1), (count, 3))
    momentum *= (size / jnp.linalg.norm(momentum, axis=1))[:, None]
    shown = {"particle": kind, "momentum": momentum}
    return {"image": image, "index": jnp.arange(count), "condition": shown}


def test_it_learns_what_images_show_and_how_well_it_is_seen_under_noise(key, tmp_path):
    options = {"training.p_mean": -1.0, "training.p_std": 2.0, "optim.lr": 3e-3}
    classifier = build(classifier_config(tmp_path, **options, **{"data.std": 0.1}))
    batch, root = batch_of(64, key), run_key(0, Purpose.TRAINING)
    step = jax.jit(lambda state, b: classifier_step(classifier, state, root, b))
    state = classifier.initial_state(key)
    for _ in range(250):
        state, _ = step(state, batch)

    @jax.jit
    def log_posterior(condition, level):
        x, t = batch["image"], classifier.sde.time_at(jnp.full(64, level))
        mean, std = classifier.sde.marginal_prob(x, t)
        noised = mean + std[:, None, None, None] * jax.random.normal(jax.random.key(9), x.shape)
        return classifier.log_posterior(state.averaged.params, noised, t, condition)

    kind, shown = {"particle": batch["condition"]["particle"]}, batch["condition"]
    nothing = {"particle": jnp.full(64, -1)}
    # Where there is no noise to speak of all is known; where there is nothing else, the shares are.
    assert log_posterior(kind, 0.02).mean() > -0.05
    np.testing.assert_allclose(log_posterior(kind, 30.0).mean(), np.log(0.5), atol=0.2)
    np.testing.assert_allclose(log_posterior(nothing, 0.02), 0, atol=1e-5)
    # A momentum is known better than from the range alone, which has a deviation of 0.42.
    gain = log_posterior(shown, 0.02).mean() - log_posterior(shown, 30.0).mean()
    assert gain > np.log(2) + 1
    # An image of one momentum shows another less.
    other = {**shown, "momentum": shown["momentum"][::-1]}
    assert log_posterior(other, 0.02).mean() < log_posterior(shown, 0.02).mean() - 1


def classifier_step(classifier, state, key, batch):
    """Make one update on one device."""
    update = jax.vmap(classifier.train_step, (None, None, 0), axis_name=parallel.AXIS)
    state, metrics = update(state, key, jax.tree.map(lambda leaf: leaf[None], batch))
    return jax.tree.map(lambda leaf: leaf[0], (state, metrics))


def test_the_loss_does_not_depend_on_how_the_batch_is_split(key, tmp_path):
    options = {"data.std": 0.1, "model.dropout": 0.3}
    classifier = build(classifier_config(tmp_path, **options))
    params = noisy(classifier.initial_state(key).params)
    loss = jax.jit(lambda batch: classifier._loss(params, key, batch, train=True)[0])
    batch = batch_of(8, key)
    halves = [jax.tree.map(lambda rows, i=i: rows[i::2], batch) for i in (0, 1)]
    np.testing.assert_allclose(loss(batch), np.mean([loss(half) for half in halves]), rtol=1e-5)


def noisy(params, scale=0.2):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + scale * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize("sde", ["vpsde", "subvpsde", "vesde"])
def test_its_gradient_is_that_of_the_log_probability(sde, key, tmp_path):
    classifier = build(classifier_config(tmp_path, **{"data.std": 0.1, "training.sde": sde}))
    params = noisy(classifier.initial_state(key).params)
    batch, t = batch_of(4, key), jnp.array([0.05, 0.3, 0.6, 0.9])
    mean, std = classifier.sde.marginal_prob(batch["image"], t)
    z, way = jax.random.normal(key, (2, *mean.shape))
    x, way = mean + std[:, None, None, None] * z, std[:, None, None, None] * way

    @jax.jit
    def log_posterior(x):
        return classifier.log_posterior(params, x, t, batch["condition"])

    slope = jax.grad(lambda x: log_posterior(x).sum())(x)
    numeric = (log_posterior(x + 0.005 * way) - log_posterior(x - 0.005 * way)) / 0.01
    exact = (slope * way).sum((1, 2, 3))
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(exact, numeric, rtol=0.03, atol=0.03)


def test_stopped_and_resumed_it_ends_with_the_bits_of_the_whole_run(tmp_path):
    write_particles(tmp_path)
    whole = train(classifier_config(tmp_path), tmp_path / "whole")
    train(classifier_config(tmp_path, **{"training.n_iters": 2}), tmp_path / "parts")
    parts = train(classifier_config(tmp_path), tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, parts.params, whole.params)
    digests = [
        checkpoints.expected(tmp_path / run / "checkpoints")[4] for run in ("whole", "parts")
    ]
    assert digests[0] == digests[1]
    assert not (tmp_path / "whole" / "samples").exists()


def test_it_draws_nothing_and_says_so(tmp_path):
    config = classifier_config(tmp_path, **{"data.std": 0.1})
    assert "--classifier={run}" in purpose(config) and purpose(tiny_config(tmp_path)) is None
    with pytest.raises(ValueError, match="draws no images"):
        build(config).drawing(Conditions((16, 16)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.condition", (), "says what a classifier tells"),
        ("training.snapshot_sampling", True, "set it to False"),
        ("model.ch_mult", (), "one number for each level"),
        ("model.ch_mult", (1,) * 6, "must be a multiple of 64"),
        ("model.nf", 2, "multiple of 4"),
        ("model.dropout", 1.0, r"\[0, 1\)"),
        ("training.p_std", 0.0, "above 0"),
        ("training.sde", "edm", "can be: 'vpsde'"),
    ],
)
def test_configurations_that_cannot_work_are_refused(field, value, message, tmp_path):
    assert CLASSIFIER["generator"] == "classifier"
    with pytest.raises(ValueError, match=message):
        check(classifier_config(tmp_path, **{field: value}))
