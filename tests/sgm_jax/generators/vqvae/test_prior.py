"""Priors: distributions of codes, images drawn from them, and a bound of their probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.drawer import Drawer, device_functions
from sgm_jax.generators.autoregressive.heads import Levels
from sgm_jax.generators.vqvae.codes import Codes
from sgm_jax.generators.vqvae.outputs import Hits, spread
from tests.tiny_vqvae import PUBLISHED, SNAIL, TWO_LEVELS, random_prior, sparse_images

# One coarse code and four fine ones, of three each.
FEW = TWO_LEVELS | {"model.codes": 3}
ALL = np.array(list(itertools.product(range(3), repeat=5)), np.int32)


def log_probabilities(generator, variables):
    params = generator.networks(variables)
    log_prob = jax.jit(generator.plan.log_prob)
    return np.asarray(log_prob(params, jnp.asarray(ALL), None), np.float64)


@pytest.fixture(scope="module", params=["gated_pixelcnn", "causal_conv"])
def few(request):
    """A prior of two levels with 243 codes, and their probabilities."""
    options = SNAIL if request.param == "causal_conv" else {}
    generator, variables = random_prior(**FEW | options)
    return generator, variables, np.exp(log_probabilities(generator, variables))


def test_probabilities_of_all_codes_add_up_to_one(few):
    np.testing.assert_allclose(few[2].sum(), 1, atol=1e-5)
    assert (few[2] > 1e-6).sum() > 50


def test_codes_are_drawn_as_often_as_they_are_probable(few):
    generator, variables, share = few
    keys, plan = jax.random.split(jax.random.key(1), 4096), generator.plan

    @jax.jit
    def drawn(params):
        def step(i, state):
            return plan.step(params, i, state, keys, None)

        return jax.lax.fori_loop(0, plan.num_steps, step, plan.start(len(keys)))["values"]

    values = np.asarray(drawn(generator.networks(variables)))
    counts = np.bincount(values @ 3 ** np.arange(5)[::-1], minlength=243)
    often = 4096 * share >= 5
    chi2 = ((counts - 4096 * share) ** 2 / (4096 * share))[often].sum()
    assert often.sum() > 20 and scipy.stats.chi2.sf(chi2, often.sum()) > 1e-3
    rare = 4096 * share[~often].sum()
    assert abs(counts[~often].sum() - rare) < 5 * (rare + 1) ** 0.5


def test_the_likelihood_is_a_bound_of_the_sum_over_all_codes():
    generator, variables = random_prior(**FEW)
    levels = jnp.asarray(sparse_images(5)[..., None])
    result = jax.jit(lambda v, x: generator.log_prob(v, None, x, {}))(variables, levels)
    assert result.kind == "bound"
    first, output = generator.first, generator.first.output

    @jax.jit
    def of_images(variables, codes):
        outputs = first.outputs(variables.extra, generator.split(codes))
        width = spread(variables.extra.extra["error"])
        values = output.levels.cut(levels[..., 0])

        def of_image(value):
            return output.log_prob(outputs, jnp.broadcast_to(value, (len(codes), 8, 8)), width)

        scale = output.levels.scale
        found = first.codes(variables.extra, scale.to_model(values)[..., None])
        return jax.vmap(of_image)(values), found

    terms, found = of_images(variables, jnp.asarray(ALL))
    terms = np.asarray(terms, np.float64) + log_probabilities(generator, variables)
    exact = scipy.special.logsumexp(terms, axis=1)
    assert (np.asarray(result.nats) <= exact + 1e-3).all()
    # It is the term of the codes that the encoder finds.
    flat = np.concatenate([np.asarray(c).reshape(5, -1) for c in found], axis=1)
    place = flat @ 3 ** np.arange(5)[::-1]
    np.testing.assert_allclose(result.nats, terms[np.arange(5), place], rtol=1e-4)


@pytest.mark.parametrize("width", [0.01, 0.3])
def test_the_levels_of_a_pixel_have_a_probability_of_one_together(width):
    levels = Levels(5, 255, PixelScale(centered=False, transform="log"))
    values = jnp.asarray([0, *range(5, 256)], jnp.int32)[:, None, None]
    outputs = jnp.broadcast_to(jnp.array([4.0, 0.5]), (252, 1, 1, 2))
    hits = Hits(levels, 50.0)
    nats = jax.jit(hits.log_prob)(outputs, values, jnp.float32(width))
    share = np.exp(np.asarray(nats, np.float64))
    np.testing.assert_allclose(share.sum(), 1, atol=1e-5)
    lit = scipy.special.expit(4.0 + np.log(0.02))
    np.testing.assert_allclose(share[0], 1 - lit, rtol=1e-4)
    # An image has the most probable level where it is lit, and zeros elsewhere.
    image = hits.levels.scale.from_model(hits.images(outputs[:1]))
    level = hits.levels.cut(image)[0, 0, 0, 0]
    assert (level > 0) == (lit > 0.5) and hits.images(outputs[:1] - 9).max() == 0


def drawn_images(generator, variables, count):
    drawer = Drawer(generator, batch_size=8, seed=3, conditions=Conditions((8, 8)))
    return drawer.draw(variables, 0, count, progress=lambda done: None)


@pytest.mark.parametrize("kind", ["one level", "two levels"])
def test_an_image_is_the_same_whatever_is_drawn_with_it(kind):
    options = TWO_LEVELS | SNAIL if kind == "two levels" else {}
    generator, variables = random_prior(**options, **{"sampling.at_once": 2})
    many, few = (drawn_images(generator, variables, count) for count in (20, 3))
    np.testing.assert_array_equal(few, many[:3])
    # One device alone, without the others.
    start, advance, finish = device_functions(
        generator.drawing(Conditions((8, 8))), generator.image_shape, seed=3
    )
    index = jnp.arange(4, 6, dtype=jnp.int32)

    def alone(variables):
        state = advance(variables, start(index, {}), index, {}, 0, generator.plan.num_steps)
        return finish(variables, state, {})

    # The same codes; another program of the decoder rounds differently.
    np.testing.assert_allclose(jax.jit(alone)(variables), many[4:6], atol=1e-5)
    assert len(np.unique(many, axis=0)) > 5 and (many == 0).any()


def test_conditions_reach_the_codes_of_both_levels():
    options = {"data.condition": "labels", "data.particles": ("muon", "proton")}
    options |= {"model.condition": ("particle", "momentum")}
    generator, variables = random_prior(**FEW, **options)

    @jax.jit
    def nats(variables, codes, particle, momentum):
        condition = {"particle": particle, "momentum": momentum}
        return generator.nats(variables, codes, condition)

    top = jnp.arange(3).reshape(3, 1, 1)
    bottom = jnp.broadcast_to(jnp.arange(4).reshape(1, 2, 2) % 3, (3, 2, 2))
    base = jnp.zeros(3, jnp.int32), jnp.full((3, 3), 200.0)
    first = nats(variables, (top, bottom), *base)
    for changed in ((base[0] + 1, base[1]), (base[0], -base[1])):
        assert np.abs(nats(variables, (top, bottom), *changed) - first).min() > 1e-4
    # The second level by itself: with the first one's networks as before.
    asked = generator.asked.vector(variables.params, None, 1)
    stage = generator.plan.bottom
    told = {"context": jnp.zeros((1, 2, 2, 3))}
    features = jax.jit(lambda v: stage.features(variables.params["bottom"], bottom[:1], v, **told))
    assert np.abs(features(asked) - features(-asked)).max() > 1e-4


def test_without_hits_there_is_no_likelihood():
    generator, _ = random_prior(**{"model.output": "mse"})
    assert generator.log_prob is None


def test_the_published_prior_sees_the_frozen_codebook():
    generator, variables = random_prior(**PUBLISHED)
    assert "vectors" not in variables.params["pixels"]
    codes = (jnp.arange(16).reshape(4, 2, 2) % 6,)
    codes = (jnp.tile(codes[0], (1, 1, 1)),)
    nats = jax.jit(lambda v: generator.nats(v, codes, None))
    other = jax.tree.map(lambda x: x, variables)
    other.extra.params["books"] = tuple(-book for book in variables.extra.params["books"])
    assert generator.networks(other)["pixels"]["vectors"].shape == (6, 4)
    # Of 2 x 2 codes the mask hides all that is near, so what is said is the same for all.
    np.testing.assert_array_equal(nats(variables), nats(other))
    wide, variables = random_prior(**PUBLISHED | {"data.image_size": 16})
    codes = (jnp.arange(16).reshape(1, 4, 4) % 6,)
    nats = jax.jit(lambda v: wide.nats(v, codes, None))
    before = nats(variables)
    variables.extra.params["books"] = tuple(-book for book in variables.extra.params["books"])
    assert np.abs(nats(variables) - before).max() > 1e-4


def test_each_level_has_the_temperature_that_is_configured():
    options = TWO_LEVELS | {"sampling.temperatures": (0.5, 2.0)}
    plan = random_prior(**options)[0].plan
    assert [stage.head.temperature for stage in (plan.top, plan.bottom)] == [0.5, 2.0]


def test_cold_codes_are_the_most_probable_ones():
    features = jax.random.normal(jax.random.key(0), (200, 5))
    keys = jax.random.split(jax.random.key(1), 200)
    heads = [Codes(5, temperature=t) for t in (1e-3, 1.0)]
    cold, warm = (jax.jit(jax.vmap(head.draw))(keys, features) for head in heads)
    np.testing.assert_array_equal(cold, features.argmax(-1))
    assert (warm != cold).mean() > 0.2
