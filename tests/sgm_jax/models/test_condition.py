"""The embedding of conditions: nothing asked changes nothing, and each image has its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.condition import PARAMETERS, anything, check_fields, drop, of_images
from sgm_jax.models.ncsnpp import NCSNpp
from tests.small_network import SMALL

LABELS = jnp.array([3.0, 500.0, 900.0])
ASKED = {"condition": ("particle", "momentum"), "num_particles": 5}
SHOWN = {
    "particle": jnp.array([0, 4, -1], jnp.int32),
    "momentum": jnp.array([[0, 0, 300.0], [50, -700, 1], [np.nan] * 3], jnp.float32),
}


@pytest.fixture(scope="module")
def small():
    """A conditional network with random weights, the last layer too, and images."""
    net = NCSNpp(**SMALL | ASKED)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    params = net.init(jax.random.key(0), x, LABELS)["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noisy = [
        leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)
    ]
    return net, params, jax.tree.unflatten(tree, noisy), x


def test_weights_of_a_network_without_conditions_give_their_numbers_with_any(small):
    net, fresh, random, x = small
    plain = NCSNpp(**SMALL)
    weights = {name: leaf for name, leaf in random.items() if name != PARAMETERS}
    ours = net.apply(
        {"params": weights | {PARAMETERS: fresh[PARAMETERS]}}, x, LABELS, False, None, SHOWN
    )
    np.testing.assert_array_equal(ours, plain.apply({"params": weights}, x, LABELS))


def test_no_condition_is_the_condition_that_asks_nothing(small):
    net, _, params, x = small
    nothing = of_images(net.condition, 3)
    none = net.apply({"params": params}, x, LABELS)
    np.testing.assert_array_equal(none, net.apply({"params": params}, x, LABELS, condition=nothing))
    shown = net.apply({"params": params}, x, LABELS, condition=SHOWN)
    # Nothing is asked of the last image.
    differs = jnp.abs(shown - none).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(differs > 1e-3, [True, True, False])


def test_each_field_can_be_asked_alone(small):
    net, _, params, x = small
    one = jnp.broadcast_to(x[:1], x.shape)
    nothing, labels = of_images(net.condition, 3), jnp.full(3, 100.0)
    outputs = [
        net.apply({"params": params}, one, labels, condition=condition)
        for condition in (nothing, nothing | {"particle": SHOWN["particle"]}, SHOWN)
    ]
    # Particles 0 and 4 alone, and the same with momenta: none of them is like another.
    outputs = jnp.concatenate([outputs[0][:1], outputs[1][:2], outputs[2][:2]])
    apart = jnp.abs(outputs[:, None] - outputs[None]).max(axis=(2, 3, 4))
    assert (apart + jnp.eye(5) > 1e-3).all()


def test_conditions_belong_to_their_images(small):
    net, _, params, x = small
    order = jnp.array([2, 0, 1])
    apply = jax.jit(lambda x, t, c: net.apply({"params": params}, x, t, condition=c))
    moved = jax.tree.map(lambda rows: rows[order], SHOWN)
    np.testing.assert_allclose(
        apply(x[order], LABELS[order], moved), apply(x, LABELS, SHOWN)[order], atol=1e-6
    )


def test_gradients_are_finite_where_no_momentum_is_asked(small):
    net, _, params, x = small

    def loss(params, x):
        return jnp.square(net.apply({"params": params}, x, LABELS, condition=SHOWN)).sum()

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x))
    assert all(jnp.isfinite(leaf).all() for leaf in gradients)
    assert all(leaf.any() for leaf in gradients)


def test_conditions_are_forgotten_as_often_as_asked_and_by_number(key):
    count = 20_000
    keys = jax.random.split(key, count)
    condition = {"particle": jnp.arange(count) % 5, "momentum": jnp.ones((count, 3))}
    condition["particle"] = condition["particle"].astype(jnp.int32)
    kept = drop(keys, condition, whole=0.1, field=0.2)
    particle, momentum = kept["particle"] >= 0, ~jnp.isnan(kept["momentum"]).all(axis=1)
    # 20,000 draws know such shares to 0.003.
    for share, expected in (
        (particle.mean(), 0.9 * 0.8),
        (momentum.mean(), 0.9 * 0.8),
        ((particle & momentum).mean(), 0.9 * 0.8**2),
        ((~particle & ~momentum).mean(), 0.1 + 0.9 * 0.2**2),
    ):
        np.testing.assert_allclose(share, expected, atol=0.012)
    np.testing.assert_array_equal(kept["particle"][particle], condition["particle"][particle])
    half = drop(keys[1::2], jax.tree.map(lambda r: r[1::2], condition), whole=0.1, field=0.2)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[1::2]), half, kept)
    untouched = drop(keys, condition, whole=0.0, field=0.0)
    jax.tree.map(np.testing.assert_array_equal, untouched, condition)
    everything = drop(keys, condition, whole=1.0, field=0.0)
    jax.tree.map(np.testing.assert_array_equal, everything, anything(condition))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.condition": ["energy"]}, "energy.*'particle', 'momentum'"),
        ({"model.condition": "particle"}, "it lists what the network sees"),
        ({"data.particles": ["muon", "muon"]}, "names that are all different"),
        ({"data.condition": ""}, "nothing says what the images show"),
        ({"data.particles": []}, "needs the names of the kinds"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, message):
    fields = {"model.condition": ["particle", "momentum"], "data.condition": "labels"}
    fields |= {"data.particles": ["muon", "proton"]}
    check_fields(fields)
    with pytest.raises(ValueError, match=message):
        check_fields(fields | changes)
