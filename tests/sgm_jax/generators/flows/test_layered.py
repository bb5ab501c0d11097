"""Charges of layers and layers given their charge: what depends on what, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.drawer import Drawer, device_functions
from sgm_jax.step import Variables
from tests.tiny_flows import MAF, random_generator, sparse_images

SINGLE = {"model.share": False}
KINDS = {"shared": {}, "one a layer": SINGLE, "maf": MAF}


def noised(generator, images, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(images))
    return jax.jit(generator.flows.noised)(keys, jnp.asarray(images, jnp.float32))


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("shared", "one a layer")]


@pytest.mark.parametrize("kind", ["maf", *SLOW])
def test_some_layers_are_learnt_as_in_the_whole_image(kind):
    generator, params = random_generator(**KINDS[kind])
    flows = generator.flows
    drawn = noised(generator, sparse_images(5))
    assert 0 < drawn.lit.mean() < 1

    @jax.jit
    def nats(places):
        return flows.layer_nats(params, drawn, places, None)

    every = jnp.broadcast_to(jnp.arange(6)[None], (5, 6))
    whole = np.asarray(nats(every))
    assert (whole[~np.asarray(drawn.lit)] == 0).all() and (whole[np.asarray(drawn.lit)] != 0).all()
    some = jnp.broadcast_to(jnp.asarray([4, 0, 3])[None], (5, 3))
    np.testing.assert_allclose(nats(some), whole[:, [4, 0, 3]], rtol=1e-5, atol=1e-5)
    total = jax.jit(lambda: flows.log_prob(params, drawn, None))()
    energy = jax.jit(lambda: flows.energy_nats(params, drawn, None))()
    np.testing.assert_allclose(total, energy + whole.sum(1), rtol=1e-4)


@pytest.mark.parametrize("options", [{"training.layers": 3}, SINGLE | {"training.layers": 2}])
def test_the_layers_of_a_step_stand_for_all_lit_ones(options):
    generator, _ = random_generator(**options)
    images = sparse_images(6)
    images[0, ::2, 1] = 50
    images[1] = 70
    images[2] = 0
    drawn = noised(generator, images)
    batch = {"index": jnp.arange(6)}

    @jax.jit
    def weights(keys):
        def of_step(key):
            places, weights = generator._some(key, batch, drawn)
            return jax.vmap(lambda i, w: jnp.zeros(6).at[i].add(w))(places, weights)

        return jax.vmap(of_step)(keys)

    mean = np.asarray(weights(jax.random.split(jax.random.key(0), 4000)).mean(0))
    lit = np.asarray(drawn.lit)
    assert lit.any(1).tolist() == [True, True, False, True, True, True]
    np.testing.assert_allclose(mean[lit], 1, atol=0.1)


def test_a_layer_depends_on_its_charge_its_place_and_those_just_before_it():
    generator, params = random_generator()
    flows = generator.flows
    images = np.full((1, 6, 6), 60, np.uint8)
    drawn = noised(generator, images)
    place = jnp.asarray([[3]])

    @jax.jit
    def nats(levels, charges, place):
        # Only what the layer is told changes, not the layer.
        changed = drawn._replace(levels=levels, charges=charges)
        return flows.layer_nats(params, changed, place, None)[0, 0]

    told = jax.jit(jax.grad(nats, argnums=(0, 1)))(drawn.levels, drawn.charges, place)
    by_level, by_charge = (np.abs(np.asarray(x))[0] for x in told)
    # Two are seen before it.
    assert (by_level.max(1) > 0).tolist() == [False, True, True, False, False, False]
    assert (by_charge > 0).tolist() == [False, False, False, True, False, False]
    # The same pixels, with the same charge after the same layers, in another place.
    same = drawn._replace(
        pixels=jnp.broadcast_to(drawn.pixels[:, :1], drawn.pixels.shape),
        charges=jnp.broadcast_to(drawn.charges[:, :1], drawn.charges.shape),
        pixel_nats=jnp.zeros((1, 6)),
    )
    each = jax.jit(lambda places: flows.layer_nats(params, same, places, None))
    assert len(np.unique(np.asarray(each(jnp.arange(2, 6)[None])).round(4))) == 4


def test_charges_are_drawn_as_often_as_they_are_probable():
    """Of two layers: both dark, one, none; by counting, and by the density over all noise."""
    options = {"data.image_size": 2, "model.context": 1, "model.standard": (-2.0, 1.0, -1.5, 1.5)}
    generator, params = random_generator(**options)
    flows, count = generator.flows, 40000
    noise = jax.random.normal(jax.random.key(0), (count, 2))
    charges = np.asarray(jax.jit(lambda z: flows.draw_charges(params, z, None))(noise))
    assert ((charges == 0) | (charges >= 5)).all() and (charges == np.rint(charges)).all()

    @jax.jit
    def probability(levels):
        images = jnp.broadcast_to(levels[None], (count, 2, 2))
        drawn = flows.noised(jax.random.split(jax.random.key(1), count), images)
        return jnp.exp(flows.energy_nats(params, drawn, None)).mean()

    share = (charges == 0).all(1).mean()
    assert 0.01 < share < 0.99
    np.testing.assert_allclose(probability(jnp.zeros((2, 2))), share, rtol=0.1)
    # The first layer dark, and a charge of 5 to 14 in the second.
    some = [probability(jnp.asarray([[0.0, 0.0], [0.0, float(total)]])) for total in range(5, 15)]
    share = ((charges[:, 0] == 0) & (charges[:, 1] >= 5) & (charges[:, 1] < 15)).mean()
    assert share > 0.005
    np.testing.assert_allclose(np.sum(some), share, rtol=0.2)


def test_charge_goes_to_pixels_that_were_nearly_lit_not_to_all_that_are_dark():
    """A fresh flow, which draws hardly anything above the threshold."""
    options = {"data.image_size": 16, "model.context": 1, "model.blocks": 1}
    generator, random = random_generator(**options, **{"model.standard": (-2.5, 0.4, 0.0, 1.0)})
    params = jax.tree.map(jnp.zeros_like, random)
    noise = jax.random.normal(jax.random.key(0), (200, 16))
    levels, charges = jnp.zeros((200, 16, 16)), jnp.full((200, 16), 100.0)
    draw = jax.jit(generator.flows.draw_layer)
    drawn = np.asarray(draw(params, jnp.int32(3), noise, levels, charges, None))
    np.testing.assert_array_equal(drawn.sum(1), 100)
    # Whichever came nearest is brightest, but for rounding to whole levels.
    nearest = np.take_along_axis(drawn, np.asarray(noise).argmax(1)[:, None], axis=1)[:, 0]
    assert (nearest >= drawn.max(1) - 1).all()
    assert (drawn > 0).sum(1).mean() < 5


def drawn_images(generator, params, count):
    side = generator.image_shape[0]
    drawer = Drawer(generator, batch_size=8, seed=3, conditions=Conditions((side, side)))
    images = drawer.draw(Variables(params), 0, count, progress=lambda done: None)
    return np.asarray(generator.scale.from_model(images))[..., 0]


@pytest.mark.parametrize("kind", ["shared", "maf"])
def test_an_image_is_the_same_whatever_is_drawn_with_it(kind):
    generator, params = random_generator(**KINDS[kind], **{"sampling.at_once": 2})
    many, few = (drawn_images(generator, params, count) for count in (20, 3))
    np.testing.assert_array_equal(few, many[:3])
    # One device alone, without the others.
    start, advance, finish = device_functions(
        generator.drawing(Conditions((6, 6))), generator.image_shape, seed=3
    )
    index = jnp.arange(4, 6, dtype=jnp.int32)

    def alone(variables):
        state = advance(variables, start(index, {}), index, {}, 0, 7)
        return finish(variables, state, {}), state["charges"]

    images, charges = jax.jit(alone)(Variables(params))
    images = np.asarray(generator.scale.from_model(images))[..., 0]
    np.testing.assert_allclose(images, many[4:6], atol=1e-3)
    assert len(np.unique(many, axis=0)) > 10
    # Whole levels, none of them faint, and of each layer as much as was drawn for it.
    levels = np.rint(many)
    np.testing.assert_allclose(many, levels, atol=1e-3)
    assert ((levels == 0) | (levels >= 5)).all() and levels.max() <= 255
    unsaturated = np.rint(images).max(2) < 255
    assert unsaturated.any() and np.asarray(charges).max() > 0
    np.testing.assert_array_equal(
        np.rint(images).sum(2)[unsaturated], np.asarray(charges)[unsaturated]
    )


def test_conditions_reach_the_charges_and_the_layers():
    options = {"data.condition": "labels", "data.particles": ("muon", "proton")}
    options |= {"model.condition": ("particle", "momentum")}
    generator, params = random_generator(**options)
    flows = generator.flows
    drawn = noised(generator, np.full((2, 6, 6), 40, np.uint8))

    @jax.jit
    def nats(particle, momentum):
        condition = {"particle": particle, "momentum": momentum}
        vector = generator.asked.vector(params, condition, 2)
        places = jnp.broadcast_to(jnp.arange(6)[None], (2, 6))
        layers = flows.layer_nats(params, drawn, places, vector)
        return flows.energy_nats(params, drawn, vector), layers

    base = jnp.zeros(2, jnp.int32), jnp.full((2, 3), 200.0)
    first = nats(*base)
    for changed in ((base[0] + 1, base[1]), (base[0], -base[1])):
        for before, after in zip(first, nats(*changed), strict=True):
            assert (np.abs(np.asarray(after) - np.asarray(before)) > 1e-3).all()
