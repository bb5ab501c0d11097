import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.condition import ANY
from sgm_jax.models.momentum_map import MAP, MomentumMap, seen_along
from sgm_jax.models.ncsnpp import NCSNpp

SIDE = 8


@pytest.fixture(scope="module")
def small():
    """Return a map with random last layers, the parameters that it begins with, and an input."""
    layer = MomentumMap(features=6, side=SIDE, momentum_scale=300.0)
    embedding = jax.random.normal(jax.random.key(1), (3, 5))
    momentum = jnp.array([[0.0, 0, 300], [100, 200, -50], [10, -400, 0]])
    fresh = layer.init(jax.random.key(0), momentum, embedding)["params"]
    kernel = jax.random.normal(jax.random.key(2), fresh["last"]["kernel"].shape)
    return layer, fresh, fresh | {"last": {"kernel": kernel}}, momentum, embedding


def test_a_momentum_to_the_right_sees_columns_along_and_rows_aside():
    seen = seen_along(jnp.array([[5.0, 0, 2]]), SIDE)[0]
    along, aside, band = seen[..., 0], seen[..., 1], seen[..., 4]
    assert np.all(np.diff(along, axis=1) > 0)
    np.testing.assert_allclose(along, along[:1].repeat(SIDE, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.abs(aside), np.abs(aside[:, :1]).repeat(SIDE, axis=1), atol=1e-6)
    # The narrowest band is bright to the right of the middle, beside the row of the start.
    assert np.unravel_index(band.argmax(), band.shape)[1] >= SIDE // 2
    assert band[:, SIDE // 2 :].sum() > 10 * band[:, : SIDE // 2 - 1].sum()
    assert np.all(band[SIDE // 2, 5:] > 100 * band[0, 5:])


def test_the_map_turns_with_the_momentum(small):
    layer, _, params, _, embedding = small
    apply = jax.jit(layer.apply)
    right = apply({"params": params}, jnp.tile(jnp.array([[30.0, 0, 250]]), (3, 1)), embedding)
    down = apply({"params": params}, jnp.tile(jnp.array([[30.0, 250, 0]]), (3, 1)), embedding)
    np.testing.assert_allclose(down, np.rot90(right, -1, axes=(1, 2)), atol=1e-4)


def test_it_begins_with_nothing_and_knows_nothing_of_any_momentum(small):
    layer, fresh, params, momentum, embedding = small
    apply = jax.jit(layer.apply)
    assert not apply({"params": fresh}, momentum, embedding).any()
    some = momentum.at[1].set(ANY["momentum"])
    told = apply({"params": params}, some, embedding)
    assert not told[1].any()
    np.testing.assert_allclose(
        told[::2], apply({"params": params}, momentum, embedding)[::2], atol=1e-5
    )
    assert np.abs(told[0]).max() > 0.1


def test_gradients_are_finite_without_momentum_and_for_one_out_of_the_plane(small):
    layer, _, params, _, embedding = small
    momentum = jnp.array([ANY["momentum"], [300.0, 0, 0], [0.0, 1, 1]])

    def loss(params, momentum):
        return (layer.apply({"params": params}, momentum, embedding) ** 2).sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, momentum)
    for leaf in jax.tree.leaves(gradients[0]):
        assert np.isfinite(leaf).all()
    assert np.isfinite(gradients[1][1:]).all()


def test_a_network_has_it_where_a_momentum_is_a_condition():
    net = NCSNpp(
        image_size=8,
        num_channels=1,
        nf=8,
        ch_mult=(1,),
        num_res_blocks=1,
        attn_resolutions=(),
        space_to_depth=2,
        init_scale=1.0,
        momentum_map=True,
    )
    x, t = jnp.zeros((2, 8, 8, 1)), jnp.ones(2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)["params"]
    assert MAP not in shapes
    net = net.clone(condition=("momentum",))
    params = jax.jit(net.init)(jax.random.key(0), x, t)["params"]
    apply = jax.jit(net.apply)
    asked = {"momentum": jnp.array([[0.0, 0, 300], [0.0, 300, 0]])}
    before = apply({"params": params}, x, t, condition=asked)
    params = params | {MAP: jax.tree.map(lambda leaf: leaf + 0.3, params[MAP])}
    np.testing.assert_array_equal(
        apply({"params": params}, x, t),
        apply({"params": params}, x, t, condition={"momentum": jnp.full((2, 3), jnp.nan)}),
    )
    assert np.abs(apply({"params": params}, x, t, condition=asked) - before).max() > 1e-4
