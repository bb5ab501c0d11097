"""Flows: their Jacobians, their way back, and densities that they can be taught."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgm_jax.generators.flows.flow import COUPLING, MAF
from tests.tiny_flows import scattered, small_flow

pytestmark = pytest.mark.usefixtures("optax_promotion")


TWO = {"size": 2, "permutation": "reverse", "layers": 1}


def random_flow(kind, **options):
    flow = small_flow(kind, **options)
    return flow, scattered(jax.eval_shape(flow.init, jax.random.key(0)))


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("kind", [COUPLING, MAF])
@pytest.mark.parametrize("options", [{}, pytest.param(TWO, marks=pytest.mark.slow)])
def test_back_is_the_inverse_and_the_density_that_of_the_jacobian(kind, options, double):
    flow, params = random_flow(kind, context=3, **options)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    rng = np.random.default_rng(0)
    x, context = (jnp.asarray(rng.normal(0, 2, (20, n))) for n in (flow.size, 3))

    @jax.jit
    def both(params, x, context):
        z, log_slope = flow.to_noise(params, x, context)

        def alone(x, context):
            return flow.to_noise(params, x[None], context[None])[0][0]

        jacobian = jax.vmap(jax.jacfwd(alone))(x, context)
        back = flow.from_noise(params, z, context)
        return z, log_slope, jacobian, back, flow.log_prob(params, x, context)

    z, log_slope, jacobian, back, nats = both(params, x, context)
    np.testing.assert_allclose(back, x, atol=1e-6)
    sign, logdet = np.linalg.slogdet(np.asarray(jacobian))
    # A permutation may turn space over.
    assert len(set(sign)) == 1
    np.testing.assert_allclose(log_slope, logdet, atol=1e-9)
    normal = -0.5 * (np.asarray(z) ** 2 + np.log(2 * np.pi)).sum(1)
    np.testing.assert_allclose(nats, normal + logdet, atol=1e-9)
    assert np.abs(z - x).max() > 0.5


def test_each_number_looks_at_those_before_it_and_at_the_context():
    flow, params = random_flow(MAF, blocks=1, context=2, size=6, hidden=7)
    rng = np.random.default_rng(0)
    x, context = (jnp.asarray(rng.normal(0, 1, n), jnp.float32) for n in (6, 2))

    def alone(x, context):
        return flow.to_noise(params, x[None], context[None])[0][0]

    by_x, by_context = jax.jit(jax.jacfwd(alone, argnums=(0, 1)))(x, context)
    assert (np.triu(by_x, 1) == 0).all()
    assert (np.abs(np.diag(by_x)) > 0).all() and (np.abs(by_x[np.tril_indices(6, -1)]) > 0).all()
    assert (np.abs(by_context) > 0).all()


@pytest.mark.parametrize("permutation", ["paired", "reverse"])
@pytest.mark.parametrize("size", [2, 5, 64])
def test_two_couplings_map_every_number(permutation, size):
    # In the order of the data, as a Jacobian with respect to the context tells.
    flow, params = random_flow(
        COUPLING, size=size, context=1, blocks=4, permutation=permutation, hidden=4
    )
    x = jnp.asarray(np.random.default_rng(0).normal(0, 1, (1, size)), jnp.float32)

    def back(context, first):
        pair = dataclasses.replace(flow, orders=flow.orders[first : first + 2])
        own = jax.tree.map(lambda leaf: leaf[first : first + 2], params)
        return pair.from_noise(own, x, context)[0]

    for first in (0, 2):
        slopes = jax.jit(jax.jacfwd(back), static_argnums=1)(jnp.ones((1, 1)), first)
        assert (jnp.abs(slopes) > 0).all()


@pytest.mark.parametrize("kind", [COUPLING, MAF])
def test_a_fresh_flow_is_the_identity(kind):
    flow = small_flow(kind, context=2, blocks=1)
    x = jnp.asarray(np.random.default_rng(0).normal(0, 3, (30, 5)), jnp.float32)
    init = jax.jit(lambda key: flow.to_noise(flow.init(key), x, x[:, :2]))
    z, log_slope = init(jax.random.key(0))
    np.testing.assert_allclose(z, x, atol=1e-6)
    np.testing.assert_allclose(log_slope, 0, atol=1e-6)


def taught(flow, draw, *, steps, lr=1e-2):
    """Return parameters after so many steps on vectors and contexts of ``draw(key)``."""
    optimizer = optax.adam(optax.cosine_decay_schedule(lr, steps))

    @jax.jit
    def train(key):
        first, key = jax.random.split(key)
        params = flow.init(first)

        def step(state, key):
            params, opt = state

            def loss(params):
                x, context = draw(key, 200)
                return -flow.log_prob(params, x, context).mean()

            grads = jax.grad(loss)(params)
            updates, opt = optimizer.update(grads, opt)
            return (optax.apply_updates(params, updates), opt), None

        state = (params, optimizer.init(params))
        return jax.lax.scan(step, state, jax.random.split(key, steps))[0][0]

    return train(jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [COUPLING, MAF])
def test_the_density_of_a_normal_distribution_is_learnt(kind):
    root = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.4, 0.3, 0.7]])

    def draw(key, count):
        return jax.random.normal(key, (count, 3)) @ jnp.asarray(root.T, jnp.float32), None

    flow = small_flow(kind, size=3, blocks=4)
    params = taught(flow, draw, steps=300)
    x = np.asarray(draw(jax.random.key(9), 4000)[0])
    covariance = root @ root.T
    exact = -0.5 * np.einsum("bi,ij,bj->b", x, np.linalg.inv(covariance), x)
    exact -= 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    nats = np.asarray(jax.jit(flow.log_prob)(params, jnp.asarray(x)))
    # The mean difference is the relative entropy, which no flow can get below.
    assert -0.005 < (exact - nats).mean() < 0.02
    assert np.abs(exact - nats).mean() < 0.12


@pytest.mark.parametrize("kind", [COUPLING, pytest.param(MAF, marks=pytest.mark.slow)])
def test_a_mixture_whose_mean_is_the_context_is_learnt(kind):
    """Two normal distributions on either side of the context; within 1 % of their entropy."""
    apart, width = jnp.asarray([[0.8, -0.6]]), 0.5

    def draw(key, count):
        first, second, third = jax.random.split(key, 3)
        context = jax.random.uniform(first, (count, 2), minval=-1.5, maxval=1.5)
        side = jnp.where(jax.random.bernoulli(second, shape=(count, 1)), 1.0, -1.0)
        return context + side * apart + width * jax.random.normal(third, (count, 2)), context

    flow = small_flow(kind, size=2, context=2, hidden=32)
    params = taught(flow, draw, steps=600)
    x, context = draw(jax.random.key(9), 20000)
    parts = [
        -0.5 * (((x - context - side * apart) / width) ** 2).sum(1) - np.log(2 * np.pi * width**2)
        for side in (1.0, -1.0)
    ]
    exact = -np.asarray(jnp.logaddexp(*parts) - np.log(2)).mean()
    nats = -np.asarray(jax.jit(flow.log_prob)(params, x, context)).mean()
    assert exact > 1 and abs(nats / exact - 1) < 0.01, nats / exact
