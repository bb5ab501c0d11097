import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.ssnet import network
from evaluation.ssnet.network import BatchNorm, SSNet, normalise_batch, repeat_border
from evaluation.ssnet.scores import Scores, blocks, score_function
from sgm_jax.data import from_array
from sgm_jax.run import parallel
from tests.evaluation.small_ssnet import sparse_images, trained_variables

SMALL = {"filters": 2, "num_strides": 3}


@pytest.fixture(scope="module")
def variables():
    return trained_variables(SSNet("batch_statistics", **SMALL))


def as_images(array):
    return from_array(array, num_channels=1, image_size=None)


def test_border_is_repeated_and_its_gradient_is_that_of_jax(key):
    x = jax.random.normal(key, (2, 4, 6, 3))
    for padding in ((0, 0), (1, 1), (0, 1)):
        reference = functools.partial(
            jnp.pad, pad_width=((0, 0), padding, padding, (0, 0)), mode="edge"
        )
        out, back = jax.vjp(lambda x, p=padding: repeat_border(x, p), x)
        expected, expected_back = jax.vjp(reference, x)
        np.testing.assert_array_equal(out, expected)
        weight = jax.random.normal(key, out.shape)
        np.testing.assert_allclose(back(weight)[0], expected_back(weight)[0], rtol=1e-5, atol=1e-6)


def test_batch_norm_and_its_gradient_are_those_of_flax(key):
    x = 3.0 + 2.0 * jax.random.normal(key, (4, 4, 6, 3))
    scale, bias = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.0, 1.0, 2.0])
    theirs = nn.BatchNorm(use_running_average=False, epsilon=1e-5, use_fast_variance=False)

    def reference(x, scale, bias):
        params = {"params": {"scale": scale, "bias": bias}}
        return theirs.apply(params, x, mutable=["batch_stats"])[0]

    out, back = jax.vjp(lambda *a: normalise_batch(*a, None)[0], x, scale, bias)
    expected, expected_back = jax.vjp(reference, x, scale, bias)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)
    weight = jax.random.normal(jax.random.key(1), out.shape)
    for found, wanted in zip(back(weight), expected_back(weight), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_batch_norm_shared_by_devices_is_that_of_the_whole_batch(key):
    x = jax.random.normal(key, (jax.device_count(), 2, 4, 4, 3))
    scale, bias = jnp.ones(3), jnp.zeros(3)
    weight = jax.random.normal(jax.random.key(1), x.shape)

    def shared(x, weight):
        out, back = jax.vjp(lambda x: normalise_batch(x, scale, bias, parallel.AXIS)[0], x)
        return out, back(weight)[0]

    out, grad = parallel.batch_function(shared, in_axes=(0, 0))(x, weight)
    whole = x.reshape(-1, 4, 4, 3)
    expected, back = jax.vjp(lambda x: normalise_batch(x, scale, bias, None)[0], whole)
    np.testing.assert_allclose(np.reshape(out, whole.shape), expected, atol=2e-6)
    np.testing.assert_allclose(
        np.reshape(grad, whole.shape), back(weight.reshape(whole.shape))[0], atol=2e-6
    )


def test_running_statistics_move_to_those_of_the_batch_and_give_its_output(key):
    x, offset = jax.random.normal(key, (2, 4, 4, 3)), jnp.array([1.0, 2.0, 3.0])
    batch = BatchNorm(running=False, axis_name=None)
    variables = batch.init(key, x, offset)
    out, _ = batch.apply(variables, x, offset, mutable=["batch_stats"])
    for _ in range(3):
        _, kept = batch.apply(variables, x, offset, mutable=["batch_stats"])
        variables = {**variables, **kept}
    # Three steps of 0.02 from (0, 1) towards the batch's own mean and variance.
    left = 0.98**3
    stats = variables["batch_stats"]
    full = {"mean": stats["mean"] / (1 - left), "var": (stats["var"] - left) / (1 - left)}
    variables = {**variables, "batch_stats": full}
    running = BatchNorm(running=True, axis_name=None)
    np.testing.assert_allclose(running.apply(variables, x, offset), out, atol=1e-4)


def test_with_running_statistics_an_image_does_not_depend_on_its_neighbours(variables):
    images = sparse_images(32, 16)
    score = score_function(SSNet("running_statistics", **SMALL), variables)
    others = np.concatenate([images[:16], images[16:] // 2])
    # As many images: another program rounds otherwise, and the scores of this network are steep.
    here, there = score(images).scores, score(others).scores
    np.testing.assert_allclose(there[:16], here[:16], atol=1e-6)
    assert np.abs(there[16:] - here[16:]).max() > 1e-3


def test_with_batch_statistics_membership_matters_and_order_does_not(variables):
    images = sparse_images(8, 16)
    score = score_function(SSNet("batch_statistics", **SMALL), variables)
    scores = score(images).scores
    np.testing.assert_allclose(score(images[::-1]).scores[::-1], scores, atol=1e-5)
    other = images.copy()
    other[4:] *= 0.1
    assert np.abs(score(other).scores[:4] - scores[:4]).max() > 1e-3


def test_sides_of_any_length_are_filled_and_cropped(variables):
    images = sparse_images(8, 20)[:, :11]
    filled = np.pad(images, ((0, 0), (0, 5), (0, 4), (0, 0)))
    score = score_function(SSNet("running_statistics", **SMALL), variables)
    np.testing.assert_array_equal(score(images).scores, score(filled).scores[:, :11, :20])


@pytest.mark.parametrize("total", [3, 8, 19])
def test_blocks_cover_a_set_once_and_in_order(total):
    images = as_images((np.arange(total, dtype=np.uint8) + 100).repeat(4).reshape(total, 2, 2))

    def score(batch):
        assert len(batch) == 8
        return Scores(batch, batch)

    parts = list(blocks(images, score, batch_size=8))
    seen = np.concatenate([found.scores[:, 0, 0, 0] for _, found in parts])
    np.testing.assert_array_equal(seen, np.arange(total) + 100)
    assert all(rows.stop - rows.start == len(found.scores) for rows, found in parts)


def test_the_features_are_the_third_level(variables):
    images = jnp.asarray(sparse_images(1, 16))
    net = SSNet("running_statistics", **SMALL)
    output = jax.eval_shape(lambda: network.apply(net, variables, images))
    assert output.logits.shape == (1, 16, 16, 3) and output.features.shape == (1, 2, 2, 16)


def test_an_unknown_normalisation_is_refused(key):
    with pytest.raises(ValueError, match="batch_statistics, running_statistics"):
        SSNet("layer").init(key, jnp.zeros((1, 16, 16, 1)))
