"""Trunks: what a pixel's features depend on, and that drawing sees the same features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.autoregressive.causal_conv import CausalConv, kept_numbers
from sgm_jax.generators.autoregressive.made import Made
from sgm_jax.generators.autoregressive.neighbours import neighbours
from sgm_jax.generators.autoregressive.orders import ORDERS, by_entropy, ranks, shuffled
from tests.tiny_sarm import random_parameters

SIZE = (4, 4)
SPIRAL = "spiral_in_clockwise"
PIXELS = 16
ALL = {name: order(SIZE) for name, order in ORDERS.items()}
ALL["random"] = shuffled(SIZE, 3)
ALL["entropy"] = by_entropy(np.random.default_rng(0).integers(0, 5, (9, *SIZE)))

conv = functools.partial(CausalConv, size=SIZE, features=3, channels=6, width=3, first_kernel=3)
local = functools.partial(conv, sums=False)
TRUNKS = {
    "one block": functools.partial(local, dilations=(1,)),
    "three blocks": functools.partial(local, dilations=(1, 2, 1)),
    "sums": functools.partial(conv, dilations=(1,)),
    "attention": functools.partial(local, dilations=(1,), attention=(0,), heads=2),
    "made of one layer": functools.partial(Made, size=SIZE, features=3, hidden=31, layers=0),
    "made": functools.partial(Made, size=SIZE, features=3, hidden=64, layers=2, inner=5),
}


def with_parameters(trunk, channels=2, vector=None):
    inputs = jnp.zeros((1, *trunk.size, channels))
    return random_parameters(trunk.init, inputs, vector)


def dependence(trunk):
    """Return how strongly the features of pixel i depend on the value of pixel j, ``[i, j]``."""
    params = with_parameters(trunk)

    def features(x):
        return trunk.apply(params, x.reshape(1, *SIZE, 2)).reshape(PIXELS, -1)

    x = jax.random.uniform(jax.random.key(1), (PIXELS, 2))
    slopes = np.asarray(jax.jit(jax.jacrev(features))(x))
    return np.abs(slopes).max(axis=(1, 3))


def reached(order, first_kernel, dilations):
    """Return which earlier pixels a stack of masked convolutions sees, by walking through it."""
    when, place = ranks(order), np.stack(np.divmod(np.arange(PIXELS), SIZE[1]), axis=1)
    apart = place[:, None] - place[None]

    def near(reach, dilation):
        steps = np.abs(apart)
        return ((steps % dilation == 0) & (steps <= reach * dilation)).all(axis=-1)

    sees = near(first_kernel // 2, 1) & (when[:, None] > when)
    for dilation in dilations:
        through = near(1, dilation) & (when[:, None] >= when)
        sees = sees | (through.astype(int) @ sees.astype(int) > 0)
    return sees


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        *((kind, order) for kind in TRUNKS for order in ("row", "random")),
        *((kind, order) for kind in ("three blocks", "made") for order in ALL),
    ],
)
def test_a_pixel_depends_on_all_earlier_ones_that_it_should_see_and_on_no_other(order, kind):
    trunk = TRUNKS[kind](order=ALL[order])
    slopes, when = dependence(trunk), ranks(ALL[order])
    earlier = when[:, None] > when
    assert (slopes[~earlier] == 0).all()
    if kind in ("one block", "three blocks"):
        np.testing.assert_array_equal(slopes > 0, reached(ALL[order], 3, trunk.dilations))
    else:
        assert (slopes[earlier] > 0).all()


def drawn_features(trunk, params, inputs, vector=None):
    """Return the features that drawing sees, ``[B, N, features]``, of images that are given."""
    rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    order = jnp.asarray(np.array(trunk.order))

    def one(row, vector):
        def step(kept, pixel):
            features, kept = trunk.apply(params, kept, pixel, vector, method="look")
            return trunk.apply(params, kept, pixel, row[pixel], method="absorb"), features

        kept = trunk.bind(params).empty(inputs.shape[-1])
        _, features = jax.lax.scan(step, kept, order)
        return features[ranks(trunk.order)]

    return jax.jit(jax.vmap(one))(rows, vector)


CACHED = TRUNKS | {
    "asked": functools.partial(conv, dilations=(2,), conditional=True),
    "asked made": functools.partial(
        Made, size=SIZE, features=3, hidden=20, layers=1, conditional=True
    ),
    "long": functools.partial(conv, dilations=(1, 2, 3), block=2),
}


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        *((kind, "random") for kind in CACHED),
        *((kind, order) for kind in ("sums", "attention", "made") for order in ("row", SPIRAL)),
    ],
)
def test_drawing_sees_the_features_of_the_finished_image(order, kind):
    trunk = CACHED[kind](order=ALL[order])
    inputs = jax.random.uniform(jax.random.key(1), (3, *SIZE, 2))
    vector = jax.random.normal(jax.random.key(2), (3, 4)) if trunk.conditional else None
    params = with_parameters(trunk, vector=vector)
    apply = jax.jit(trunk.apply)
    whole = apply(params, inputs, vector).reshape(3, PIXELS, -1)
    seen = drawn_features(trunk, params, inputs, vector)
    np.testing.assert_allclose(seen, whole, atol=1e-5)
    if vector is not None:
        others = apply(params, inputs, -vector).reshape(3, PIXELS, -1)
        # Also the first pixel, of which nothing else is known; a dense network has a bias there.
        first = trunk.order[0] if isinstance(trunk, CausalConv) else trunk.order[1]
        assert (jnp.abs(others - whole)[:, first] > 1e-4).all()


@pytest.mark.parametrize("side", [8, 16])
def test_by_rows_only_the_last_rows_are_kept(side):
    row = ORDERS["row"]((side, side))
    near = neighbours(row, (side, side), kernel=3, dilation=2, itself=True)
    # Two rows above, and two pixels more.
    assert near.count == 2 * side + 3
    wide = CausalConv(row, (side, side), 3, width=4, dilations=(1, 2), sums=False, first_kernel=3)
    assert kept_numbers(wide, 2) == 2 * (side + 2) + 4 * (side + 2) + 4 * (2 * side + 3)


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("trunk", "most"),
    [
        (CausalConv(ORDERS["row"]((8, 8)), (8, 8), 16, dilations=(1, 2, 4)), 1.5),
        (CausalConv(ORDERS["spiral_out_clockwise"]((8, 8)), (8, 8), 16, dilations=(1, 2)), 3),
        (CausalConv(shuffled((8, 8), 1), (8, 8), 16, dilations=(1,), attention=(0,)), 3),
        (Made(ORDERS["row"]((8, 8)), (8, 8), 16, hidden=126, layers=2), 1.3),
        (Made(shuffled((8, 8), 1), (8, 8), 16, hidden=512, layers=1), 1.3),
    ],
    ids=["by rows", "spiral", "attention", "made", "wide made"],
)
def test_drawing_costs_about_as_much_as_one_evaluation(trunk, most):
    inputs = jnp.zeros((4, 8, 8, 2))
    params = trunk.init(jax.random.key(0), inputs)
    whole = flops(trunk.apply, params, inputs)
    kept = jax.vmap(lambda row: trunk.bind(params).empty(2))(inputs)

    def step(params, kept, pixel, value):
        def one(kept, value):
            features, kept = trunk.apply(params, kept, pixel, method="look")
            return features, trunk.apply(params, kept, pixel, value, method="absorb")

        return jax.vmap(one)(kept, value)

    each = flops(step, params, kept, jnp.int32(5), inputs[:, 0, 0])
    assert 0.3 < 64 * each / whole < most


def test_the_features_of_known_pixels_are_not_made():
    order = ALL["spiral_out_clockwise"]
    trunk = Made(order, SIZE, 3, hidden=16, layers=1, known=4)
    slopes, when = dependence(trunk), ranks(order)
    assert (slopes[when < 4] == 0).all()
    rest = when >= 4
    earlier = when[:, None] > when
    assert (slopes[rest][earlier[rest]] > 0).all() and (slopes[~earlier] == 0).all()
