import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.layers import (
    GroupNorm,
    default_init,
    draws_in_place,
    example_dropout,
    group_norm,
    packed_draws,
)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (32, 8), (160, 32)])
def test_group_norm_equals_the_textbook_form_with_its_gradient(key, channels, groups):
    x = 3.0 + jax.random.normal(key, (2, 6, 4, channels))
    scale = jax.random.normal(jax.random.fold_in(key, 1), (channels,))
    bias = jax.random.normal(jax.random.fold_in(key, 2), (channels,))
    textbook = nn.GroupNorm(num_groups=groups, epsilon=1e-6, use_fast_variance=False)

    def ours(x, scale, bias):
        return group_norm(x, scale, bias, groups=groups)

    def theirs(x, scale, bias):
        return textbook.apply({"params": {"scale": scale, "bias": bias}}, x)

    args = (x, scale, bias)
    np.testing.assert_allclose(ours(*args), theirs(*args), atol=1e-5)
    weights = jax.random.normal(jax.random.fold_in(key, 3), x.shape)
    for mine, other in zip(
        *(
            jax.grad(lambda *a, f=f: (weights * f(*a)).sum(), (0, 1, 2))(*args)
            for f in (ours, theirs)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-3)


def test_group_norm_survives_a_large_mean(key):
    x = 1e4 + jax.random.normal(key, (1, 16, 16, 8))
    y = group_norm(x, jnp.ones(8), jnp.zeros(8), groups=2)
    np.testing.assert_allclose(y.std(), 1.0, rtol=1e-2)


@pytest.mark.parametrize("kind", ["noise", "large mean", "dead middle row", "bright middle row"])
def test_group_norm_of_bfloat16_equals_that_of_the_same_numbers_in_float32(key, kind):
    x = jax.random.normal(key, (2, 16, 16, 8)) * 0.5 + 10.0 * (kind == "large mean")
    if "row" in kind:
        x = x.at[:, 8].set(0.0 if "dead" in kind else 50.0)
    x = x.astype(jnp.bfloat16)
    scale, bias, weights = (
        jax.random.normal(jax.random.fold_in(key, i), shape)
        for i, shape in enumerate([(8,), (8,), x.shape])
    )

    def value_and_gradient(x):
        def loss(x):
            y = group_norm(x, scale, bias, groups=2)
            return (weights * y).sum(), y

        gradient, y = jax.grad(loss, has_aux=True)(x)
        return y, gradient.astype(jnp.float32)

    y, gradient = value_and_gradient(x)
    expected, expected_gradient = value_and_gradient(x.astype(jnp.float32))
    np.testing.assert_allclose(y, expected, atol=2e-5)
    # Gradients of bfloat16 have its eight bits.
    np.testing.assert_allclose(
        gradient, expected_gradient, rtol=2**-8, atol=1e-5 * np.abs(expected_gradient).max()
    )


def test_channels_that_do_not_divide_into_groups_are_refused(key):
    with pytest.raises(ValueError, match="132 channels do not divide into 32 groups"):
        GroupNorm().init(key, jnp.ones((1, 2, 2, 132)))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_zeroes_at_its_rate_and_keeps_the_mean(key, rate):
    x = jnp.ones((64, 16, 16, 8))
    y = np.asarray(example_dropout(x, key, jnp.arange(64), rate=rate))
    error = 5.0 * np.sqrt(rate * (1.0 - rate) / x.size)
    assert abs(np.mean(y == 0.0) - rate) < error
    np.testing.assert_allclose(y[y != 0.0], 1.0 / (1.0 - rate), rtol=1e-4)
    between = np.corrcoef((y == 0.0).reshape(64, -1)[:2])[0, 1]
    assert abs(between) < 5.0 / np.sqrt(x[0].size)


def test_dropout_of_an_example_depends_on_its_number_only(key):
    x = jax.random.normal(key, (4, 3, 3, 5))
    numbers = jnp.array([7, 0, 3, 12])
    whole = example_dropout(x, key, numbers, rate=0.3)
    order = jnp.array([2, 0])
    part = example_dropout(x[order], key, numbers[order], rate=0.3)
    np.testing.assert_array_equal(part, whole[order])
    assert np.any(whole != example_dropout(x, jax.random.key(1), numbers, rate=0.3))


def test_dropout_at_rate_zero_changes_nothing(key):
    x = jax.random.normal(key, (2, 3, 3, 4))
    np.testing.assert_array_equal(example_dropout(x, key, jnp.arange(2), rate=0.0), x)


@pytest.mark.parametrize("shape", [(2, 1, 2), (4, 3, 4), (16, 16, 8), (2, 5, 6)])
def test_draws_are_the_same_for_every_kind_of_device(key, shape):
    words = jax.random.key_data(key)
    in_place = jnp.concatenate(draws_in_place(words, shape))
    np.testing.assert_array_equal(in_place, packed_draws(words, shape).astype(jnp.uint32))


@pytest.mark.parametrize(("scale", "variance"), [(1.0, 1.0), (0.1, 0.1), (0.0, 1e-10)])
def test_initial_weights_have_the_variance_of_their_mean_fan(key, scale, variance):
    weights = default_init(scale)(key, (3, 3, 40, 60))
    np.testing.assert_allclose(weights.var(), variance / (9 * 50), rtol=0.05)
    np.testing.assert_allclose(jnp.abs(weights).max(), jnp.sqrt(3 * variance / 450), rtol=0.01)
