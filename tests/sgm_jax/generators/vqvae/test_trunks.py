"""Networks of priors: what a code depends on, and that drawing sees the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.generators.autoregressive.causal_conv import CausalConv
from sgm_jax.generators.autoregressive.orders import row
from sgm_jax.generators.vqvae.codes import Embedded
from sgm_jax.generators.vqvae.gated_pixelcnn import GatedPixelCNN
from tests.tiny_vqvae import scattered

SIZE, CLASSES = (6, 6), 3
gated = functools.partial(
    GatedPixelCNN, row(SIZE), SIZE, 4, channels=5, layers=3, first_kernel=5, kernel=3
)
snail = functools.partial(
    CausalConv, row(SIZE), SIZE, 4, channels=6, width=3, first_kernel=5, dilations=(1, 2), heads=2
)
TRUNKS = {
    "correct": gated(),
    "wide": gated(layers=2, first_kernel=3, kernel=5),
    "as published": gated(published=True, first_kernel=7),
    "asked and told": gated(conditional=True, told=True),
    "attention": snail(sums=False, attention=(1,)),
    "attention asked": snail(sums=False, attention=(0,), conditional=True),
}


def prepared(name):
    """Return a trunk that sees vectors, its parameters, and what it is asked and told."""
    trunk = Embedded(TRUNKS[name], channels=2, frozen=name == "as published")
    vector = context = None
    if TRUNKS[name].conditional:
        vector = jax.random.normal(jax.random.key(3), (2, 4))
    if "told" in name:
        context = jax.random.normal(jax.random.key(4), (2, *SIZE, 3))
    inputs = jnp.zeros((2, *SIZE, CLASSES))
    return trunk, scattered(trunk.init, inputs, vector, context), vector, context


def dependence(name):
    """Return how strongly the features of place i depend on the code of place j, ``[i, j]``."""
    trunk, params, vector, context = prepared(name)
    vector, context = (None if x is None else x[:1] for x in (vector, context))

    def features(x):
        return trunk.apply(params, x.reshape(1, *SIZE, CLASSES), vector, context).reshape(36, -1)

    x = jax.random.uniform(jax.random.key(1), (36, CLASSES))
    slopes = np.asarray(jax.jit(jax.jacrev(features))(x))
    return np.abs(slopes).max(axis=(1, 3))


@pytest.mark.parametrize("name", [name for name in TRUNKS if name != "as published"])
def test_a_code_depends_on_its_neighbours_before_it_and_on_none_after(name):
    slopes = dependence(name)
    assert (slopes[np.triu_indices(36)] == 0).all()
    rows, columns = np.divmod(np.arange(36), 6)
    left, above = (columns > 0).nonzero()[0], (rows > 0).nonzero()[0]
    assert (slopes[left, left - 1] > 0).all()
    assert (slopes[above, above - 6] > 0).all()
    right = ((rows > 0) & (columns < 5)).nonzero()[0]
    assert (slopes[right, right - 5] > 0).all()


def test_the_vertical_stack_hides_nothing_above():
    # All of the five rows above and of the five places to the left, as wide as three layers see.
    slopes = dependence("correct")
    rows, columns = np.divmod(np.arange(36), 6)
    down, across = rows[:, None] - rows, np.abs(columns[:, None] - columns)
    seen = ((down > 0) & (down <= 4) & (across <= 4)) | (
        (down == 0) & (columns[:, None] > columns) & (across <= 4)
    )
    np.testing.assert_array_equal(slopes > 0, seen)


def test_the_published_mask_hides_the_row_above_and_the_place_to_the_left():
    slopes = dependence("as published")
    rows, columns = np.divmod(np.arange(36), 6)
    down = rows[:, None] - rows
    across = columns[:, None] - columns
    # Rows from the second above on, and places from the second to the left on.
    seen = ((down >= 2) & (down <= 5) & (np.abs(across) <= 5)) | (
        (down == 0) & (across >= 2) & (across <= 5)
    )
    np.testing.assert_array_equal(slopes > 0, seen)


@pytest.mark.parametrize("name", TRUNKS)
def test_drawing_sees_the_features_of_the_finished_codes(name):
    trunk, params, vector, context = prepared(name)
    inputs = jax.nn.one_hot(jax.random.randint(jax.random.key(1), (2, *SIZE), 0, 3), CLASSES)
    whole = jax.jit(trunk.apply)(params, inputs, vector, context).reshape(2, 36, -1)
    told = None if context is None else context.reshape(2, 36, -1)

    def one(row, vector, told):
        def step(kept, place):
            known = None if told is None else told[place]
            features, kept = trunk.apply(params, kept, place, vector, known, method="look")
            return trunk.apply(params, kept, place, row[place], method="absorb"), features

        kept = trunk.bind(params).empty(CLASSES)
        return jax.lax.scan(step, kept, jnp.arange(36))[1]

    seen = jax.jit(jax.vmap(one))(inputs.reshape(2, 36, -1), vector, told)
    np.testing.assert_allclose(seen, whole, atol=1e-5)
    for name, changed in (("vector", vector), ("context", context)):
        if changed is not None:
            others = {"vector": vector, "context": context} | {name: -changed}
            moved = jax.jit(trunk.apply)(params, inputs, **others).reshape(2, 36, -1) - whole
            # Of the first place, too, before which nothing is known.
            assert (jnp.abs(moved)[:, 0] > 1e-4).any()


def test_vectors_of_a_codebook_are_not_learnt():
    trunk, params, *_ = prepared("as published")
    inputs = jax.nn.one_hot(jnp.zeros((1, *SIZE), jnp.int32), CLASSES)
    grads = jax.jit(jax.grad(lambda p: (trunk.apply(p, inputs) ** 2).sum()))(params)["params"]
    assert (grads["vectors"] == 0).all()
    assert (grads["trunk"]["last"]["kernel"] != 0).any()
