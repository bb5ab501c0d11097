"""Heads: distributions of whole numbers, the same both ways."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgm_jax.data import PixelScale
from sgm_jax.generators.autoregressive.heads import HEADS, UNGATED, Categorical, Levels, head_of

LINEAR, LOG = Levels(), Levels(scale=PixelScale(False, "log"))
FEW = Levels(first=1, last=3)
EVERY = [(name, levels) for name in HEADS for levels in (LINEAR, LOG, FEW)]
NAMES = [f"{name} {levels.scale.transform} {levels.first}" for name, levels in EVERY]


def head_and_values(name, levels):
    return head_of(name, levels, components=3), jnp.array(
        [0, *range(levels.first, levels.last + 1)]
    )


def features_of(head, count=5, size=1.5):
    return size * jax.random.normal(jax.random.key(2), (count, head.features))


def log_probs(head, features, values):
    """Return the log-probability of every value for each row of features."""

    @jax.jit
    @jax.vmap
    def of_all(value):
        return head.log_prob(features, jnp.full(len(features), value))

    return of_all(values)


@pytest.mark.parametrize(("name", "levels"), EVERY, ids=NAMES)
def test_probabilities_of_all_levels_add_up_to_one(name, levels):
    head, values = head_and_values(name, levels)
    features = features_of(head)
    nats = log_probs(head, features, values)
    np.testing.assert_allclose(np.exp(nats).sum(0), 1, atol=2e-6)
    np.testing.assert_allclose(np.exp(head.log_lit(features)), 1 - np.exp(nats[0]), atol=2e-6)


@pytest.mark.parametrize("lit", [False, True])
@pytest.mark.parametrize(("name", "levels"), EVERY, ids=NAMES)
def test_what_is_drawn_has_these_probabilities(name, levels, lit):
    head, values = head_and_values(name, levels)
    # A gate that is half open.
    features = features_of(head, 3, 0.7).at[:, 0].add(0.0 if name == "ungated" else 4.0)
    expected = np.exp(np.asarray(log_probs(head, features, values), np.float64)).T
    if lit:
        expected[:, 0] = 0
    expected /= expected.sum(1, keepdims=True)
    keys = jax.random.split(jax.random.key(3), 4000)
    draw = jax.vmap(jax.vmap(head.draw, in_axes=(0, None, None)), in_axes=(None, 0, None))
    drawn = np.asarray(jax.jit(draw)(keys, features, lit))
    for row, share in zip(drawn, expected, strict=True):
        counts = np.array([(row == value).sum() for value in np.asarray(values)])
        assert counts.sum() == 4000 and (not lit or counts[0] == 0)
        often = share * 4000 >= 5
        rest = [counts[~often].sum()], [share[~often].sum() * 4000]
        seen, wanted = np.append(counts[often], rest[0]), np.append(share[often] * 4000, rest[1])
        kept = wanted > 1
        chi2 = ((seen - wanted)[kept] ** 2 / wanted[kept]).sum()
        assert scipy.stats.chi2.sf(chi2, max(kept.sum() - 1, 1)) > 1e-4


@pytest.mark.parametrize("name", sorted({*HEADS} - {UNGATED}))
def test_a_temperature_moves_the_gate_and_nothing_else(name):
    head = head_of(name, FEW, components=3)
    features = features_of(head, 1, 0.7).at[:, 0].add(3.0)
    cold = dataclasses.replace(head, temperature=0.5)
    values = jnp.arange(4)
    before = np.exp(log_probs(head, features, values))[:, 0]
    np.testing.assert_array_equal(np.exp(log_probs(cold, features, values))[:, 0], before)
    keys = jax.random.split(jax.random.key(4), 20_000)
    draw = jax.vmap(lambda key: cold.draw(key, features[0]))
    seen = np.bincount(np.asarray(jax.jit(draw)(keys)), minlength=4) / len(keys)
    odds = ((1 - before[0]) / before[0]) ** 2
    expected = before * (odds / (1 + odds)) / (1 - before[0])
    expected[0] = 1 / (1 + odds)
    np.testing.assert_allclose(seen, expected, atol=0.015)


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_however_wrong_the_network_is(name):
    head, _ = head_and_values(name, LINEAR)
    values = jnp.array([0, 5, 6, 128, 255])
    for size in (0.0, 1.0, 30.0, 1000.0):
        features = features_of(head, 5, size)

        def nats(features):
            return head.log_prob(features, values).sum()

        value, slope = jax.jit(jax.value_and_grad(nats))(features)
        assert np.isfinite(value) and np.isfinite(slope).all()


def test_a_mixture_of_logistics_has_what_lies_between_the_halves_of_levels():
    head = head_of("ungated", LINEAR, components=1)
    mean, log_scale = 0.1, -1.0
    features = jnp.array([[0.3, mean, log_scale]])
    logistic = scipy.stats.logistic(0.5 + mean, np.exp(log_scale - 2.3))
    values = jnp.array([0, 5, 100, 255])
    ends = np.array([[-np.inf, 4.5], [4.5, 5.5], [99.5, 100.5], [254.5, np.inf]]) / 255
    expected = np.log(np.diff(logistic.cdf(ends))[:, 0])
    np.testing.assert_allclose(log_probs(head, features, values)[:, 0], expected, rtol=1e-4)


def test_the_truncated_normal_is_that_of_scipy():
    head = head_of("dc_normal", LINEAR, components=1)
    mean, scale = 0.3, 0.2
    features = jnp.array([[1.0, mean, np.log(scale) + 2.3]])
    low = 4.5 / 255
    normal = scipy.stats.truncnorm((low - mean) / scale, np.inf, mean, scale)
    lit = np.asarray(head.log_lit(features))
    values = jnp.array([5, 30, 90, 200, 255])
    ends = np.array([[v - 0.5, v + 0.5 if v < 255 else np.inf] for v in np.asarray(values)]) / 255
    expected = np.log(np.diff(normal.cdf(ends))[:, 0]) + lit
    np.testing.assert_allclose(log_probs(head, features, values)[:, 0], expected, rtol=2e-3)


def test_numbers_of_a_codebook_have_a_softmax():
    head = Categorical(7)
    features = features_of(head)
    nats = log_probs(head, features, jnp.arange(7))
    np.testing.assert_allclose(nats, jax.nn.log_softmax(features).T, atol=1e-6)
    np.testing.assert_allclose(np.exp(head.log_lit(features)), 1 - np.exp(nats[0]), atol=1e-6)
    np.testing.assert_array_equal(head.embed(jnp.arange(7)), np.eye(7))


@pytest.mark.parametrize("name", HEADS)
def test_a_network_sees_hits_levels_and_if_told_saturated_ones(name):
    values = jnp.array([0, 1, 2, 3])
    head = head_of(name, FEW, components=3)
    lit, charge = [0, 1, 1, 1], [0, 1 / 255, 2 / 255, 3 / 255]
    np.testing.assert_allclose(head.embed(values), np.transpose([lit, charge]), rtol=1e-6)
    told = head_of(name, dataclasses.replace(FEW, saturated=True), components=3)
    np.testing.assert_array_equal(told.embed(values)[:, :2], head.embed(values))
    np.testing.assert_array_equal(told.embed(values)[:, 2:], [[0], [0], [0], [1]])
    assert (head.channels, told.channels) == (2, 3)


@pytest.mark.parametrize("transform", ["linear", "sqrt", "log", "asinh"])
def test_images_are_cut_as_the_evaluator_cuts_them(transform):
    levels = Levels(scale=PixelScale(False, transform))
    images = np.arange(256, dtype=np.uint8)
    expected = np.where(images < 5, 0, images)
    np.testing.assert_array_equal(levels.cut(images), expected)
    np.testing.assert_array_equal(levels.cut(jnp.asarray(images)), expected)
    # Through network space, where trainings see them.
    scale = levels.scale
    np.testing.assert_array_equal(levels.cut(scale.from_model(scale.to_model(images))), expected)
    faint = Levels(first=5, last=100)
    np.testing.assert_array_equal(faint.cut(images), np.minimum(expected, 100))
