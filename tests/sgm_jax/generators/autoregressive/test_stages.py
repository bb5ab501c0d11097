"""Plans: exact distributions of whole images, and draws from them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgm_jax.conditions import Conditions
from sgm_jax.drawer import Drawer, device_functions
from sgm_jax.generators.autoregressive.heads import HEADS
from sgm_jax.generators.autoregressive.orders import NAMES, ranks
from sgm_jax.step import Variables
from tests.tiny_sarm import FOUR_LEVELS, random_generator

SPIRAL = {"model.order": "spiral_out_clockwise"}
PLANS = {
    "one": {},
    "window": {"model.stages": "window"} | SPIRAL,
    "blocks": {"model.stages": "blocks"},
    "blocks of one pixel": {"model.stages": "blocks", "model.block": 1},
    "made": {"model.trunk": "made"},
    "window made": {"model.trunk": "made", "model.stages": "window"} | SPIRAL,
}
ENTROPY = {"model.order_places": (2, 1, 3, 0)}
IMAGES = np.array(list(itertools.product(range(4), repeat=4)), np.int32).reshape(-1, 2, 2)


def probabilities(generator, params):
    log_prob = jax.jit(generator.plan.log_prob)
    nats = np.asarray(log_prob(params, jnp.asarray(IMAGES), None), np.float64)
    assert np.isfinite(nats).all()
    return np.exp(nats)


@pytest.mark.parametrize(
    ("head", "plan"),
    [
        *((head, "one") for head in HEADS),
        *(("dc_logistic", plan) for plan in PLANS if plan != "one"),
    ],
)
def test_probabilities_of_all_images_add_up_to_one(head, plan):
    generator, params = random_generator(**FOUR_LEVELS | PLANS[plan], **{"model.head": head})
    share = probabilities(generator, params)
    np.testing.assert_allclose(share.sum(), 1, atol=1e-6)
    assert (share > 1e-6).sum() > 8


@pytest.mark.parametrize(
    ("order", "plan"),
    [
        *((order, "one") for order in NAMES if order != "row"),
        *((order, plan) for order in ("column", "random") for plan in ("blocks", "made")),
    ],
)
def test_so_they_do_in_every_order(order, plan):
    places = ENTROPY if order == "entropy" else {}
    options = FOUR_LEVELS | PLANS[plan] | {"model.order": order} | places
    share = probabilities(*random_generator(**options))
    np.testing.assert_allclose(share.sum(), 1, atol=1e-6)
    assert (share > 1e-6).sum() > 8


def draw(generator, params, count, size):
    """Return images of whole levels, drawn as ``--mode=sample`` draws them."""
    drawer = Drawer(generator, batch_size=8, seed=3, conditions=Conditions((size, size)))
    images = drawer.draw(Variables(params), 0, count, progress=lambda done: None)
    return np.asarray(generator.levels.cut(generator.scale.from_model(images)))[..., 0]


@pytest.mark.parametrize(
    ("head", "plan"), [*(("dc_logistic", plan) for plan in PLANS), ("ungated", "blocks")]
)
def test_images_are_drawn_as_often_as_they_are_probable(head, plan):
    options = FOUR_LEVELS | PLANS[plan] | {"model.head": head, "sampling.at_once": 512}
    generator, params = random_generator(**options)
    drawn, expected = draw(generator, params, 4096, 2), 4096 * probabilities(generator, params)
    counts = np.bincount(drawn.reshape(-1, 4) @ [64, 16, 4, 1], minlength=256)
    often = expected >= 5
    chi2 = ((counts - expected) ** 2 / expected)[often].sum()
    assert scipy.stats.chi2.sf(chi2, often.sum()) > 1e-3
    rare = expected[~often].sum()
    assert abs(counts[~often].sum() - rare) < 5 * (rare + 1) ** 0.5


def redrawn(head, features, keys, numbers, lit=None):
    """Return what pixels are with these features, with the keys of the numbers of their steps."""
    lit = np.zeros(features.shape[:-1], bool) if lit is None else lit

    def one(key, features, numbers, lit):
        own = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
        return jax.vmap(head.draw)(own, features, lit)

    many = jax.jit(jax.vmap(one, in_axes=(0, 0, None, 0)))
    return np.asarray(many(keys, features, jnp.asarray(numbers), lit))


def features_of(stage, params, images, **told):
    """Return the features of all pixels in their order on the image, ``[B, N, features]``."""
    features = jax.jit(stage.features)(params, images, None, **told)
    return features.reshape(len(images), -1, features.shape[-1])


def drawn_with_keys(generator, params, count):
    """Return images and their keys, drawn without devices in between."""
    keys = jax.random.split(jax.random.key(1), count)

    def steps(params, keys):
        plan = generator.plan
        state = jax.lax.fori_loop(
            0,
            plan.num_steps,
            lambda i, state: plan.step(params, i, state, keys, None),
            plan.start(count),
        )
        return state["values"].reshape(count, *plan.size)

    return jax.jit(steps)(params, keys), keys


@pytest.mark.parametrize("trunk", ["causal_conv", "made"])
def test_an_image_is_what_its_features_and_keys_say(trunk):
    generator, params = random_generator(**{"model.trunk": trunk, "model.head": "dd"})
    images, keys = drawn_with_keys(generator, params, 6)
    stage = generator.plan.stage
    features = features_of(stage, params["pixels"], images)
    again = redrawn(stage.head, features, keys, ranks(stage.trunk.order))
    np.testing.assert_array_equal(again.reshape(images.shape), images)
    assert 0.02 < (images > 0).mean() < 0.98


@pytest.mark.parametrize("head", HEADS)
def test_of_a_second_saturated_pixel_a_lower_level_is_drawn(head):
    options = FOUR_LEVELS | {"model.head": head}
    free, params = random_generator(**options)
    limited, _ = random_generator(**options, **{"sampling.one_saturated": True})
    before, _ = drawn_with_keys(free, params, 2000)
    after, _ = drawn_with_keys(limited, params, 2000)
    before, after = (np.asarray(images).reshape(-1, 4) for images in (before, after))
    assert ((after == 3).sum(1) <= 1).all()
    several = (before == 3).sum(1) > 1
    assert several.sum() > 20
    np.testing.assert_array_equal(after[~several], before[~several])
    # Up to the second saturated pixel an image stays what it was, and that one stays lit.
    second = ((before == 3).cumsum(1) == 2).argmax(1)[several]
    for old, new, place in zip(before[several], after[several], second, strict=True):
        np.testing.assert_array_equal(new[:place], old[:place])
        assert new[place] in (1, 2)


@pytest.mark.parametrize("trunk", ["causal_conv", "made"])
def test_a_window_comes_first_and_the_rest_sees_it(trunk):
    options = PLANS["window"] | {"model.trunk": trunk, "model.window": 3, "model.head": "dd"}
    generator, params = random_generator(**options)
    images, keys = drawn_with_keys(generator, params, 6)
    plan, (top, left) = generator.plan, generator.plan.corner
    square = images[:, top : top + 3, left : left + 3]
    features = features_of(plan.inner, params["inner"], square)
    again = redrawn(plan.inner.head, features, keys, ranks(plan.inner.trunk.order))
    np.testing.assert_array_equal(again.reshape(square.shape), square)
    features = features_of(plan.outer, params["outer"], images)
    when = ranks(plan.outer.trunk.order)
    again = redrawn(plan.outer.head, features, keys, when)
    outside = when >= 9
    np.testing.assert_array_equal(again[:, outside], images.reshape(6, 36)[:, outside])
    # What the outer network says of the rest does change with the window.
    other = images.at[:, top, left].add(1)
    moved = features_of(plan.outer, params["outer"], other) - features
    assert (np.abs(moved[:, outside]).max((0, 2)) > 0).all()


@pytest.mark.parametrize("order", ["row", "spiral_in_clockwise"])
def test_pixels_of_empty_blocks_are_left_out_and_no_other_block_is_empty(order):
    options = PLANS["blocks"] | {"model.order": order, "model.block": 3, "model.head": "dd"}
    generator, params = random_generator(**options)
    images, keys = drawn_with_keys(generator, params, 24)
    values, plan = np.asarray(images), generator.plan
    blocks = values.reshape(24, 2, 3, 2, 3).swapaxes(2, 3).reshape(24, 4, 9) > 0
    occupied = blocks.any(-1)
    assert 0.1 < occupied.mean() < 0.9
    grid = jnp.asarray(occupied.reshape(24, 2, 2).astype(np.int32))
    features = features_of(plan.coarse, params["blocks"], grid)
    again = redrawn(plan.coarse.head, features, keys, ranks(plan.coarse.trunk.order))
    np.testing.assert_array_equal(again > 0, occupied)

    context = np.zeros((24, 6, 6, 9), np.float32)
    padded = np.pad(occupied.reshape(24, 2, 2), ((0, 0), (1, 1), (1, 1)))
    for y, x, dy, dx in itertools.product(range(6), range(6), range(3), range(3)):
        context[:, y, x, 3 * dy + dx] = padded[:, y // 3 + dy, x // 3 + dx]
    live = context[..., 4]
    told = {"context": jnp.asarray(context), "live": jnp.asarray(live)}
    features = features_of(plan.fine, params["pixels"], images, **told)
    # The last pixel of a block that is dark so far.
    when, y, x = ranks(plan.fine.trunk.order), *np.divmod(np.arange(36), 6)
    block = y // 3 * 2 + x // 3
    last = when == np.array([when[block == b].max() for b in range(4)])[block]
    lit = values.reshape(24, 36) > 0
    others = np.stack([lit[:, block == b].sum(1) for b in range(4)], axis=1)[:, block] - lit
    forced = last[None] & (others == 0)
    numbers = 4 + np.arange(36)
    again = redrawn(plan.fine.head, features, keys, numbers, forced)
    again = np.where(live.reshape(24, 36) > 0, again, 0)
    np.testing.assert_array_equal(again.reshape(values.shape), values)
    assert forced[lit].any()


@pytest.mark.parametrize("plan", ["one", "blocks"])
def test_an_image_is_the_same_whatever_is_drawn_with_it(plan):
    generator, params = random_generator(**PLANS[plan], **{"sampling.at_once": 2})
    many = draw(generator, params, 20, 6)
    few = draw(generator, params, 3, 6)
    np.testing.assert_array_equal(few, many[:3])
    # One device alone, without the others.
    start, advance, finish = device_functions(
        generator.drawing(Conditions((6, 6))), generator.image_shape, seed=3
    )
    variables, index = Variables(params), jnp.arange(4, 6, dtype=jnp.int32)

    def alone(variables):
        state = advance(variables, start(index, {}), index, {}, 0, generator.plan.num_steps)
        return finish(variables, state, {})

    images = jax.jit(alone)(variables)
    images = generator.levels.cut(generator.scale.from_model(images))[..., 0]
    np.testing.assert_array_equal(images, many[4:6])
    assert len(np.unique(many, axis=0)) > 10
