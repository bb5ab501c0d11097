"""The optimiser and the moving average: parity with the original."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgm_jax import step
from tests.fixture_files import fixture_files

OPTIMISERS = {
    "w5000_c1": {"warmup": 5000, "grad_clip": 1.0, "weight_decay": 0.0},
    "w3_c1": {"warmup": 3, "grad_clip": 1.0, "weight_decay": 0.0},
    "w0_cneg": {"warmup": 0, "grad_clip": -1.0, "weight_decay": 0.0},
    "w3_c1_wd": {"warmup": 3, "grad_clip": 1.0, "weight_decay": 0.01},
}
ADAM = {"lr": 2e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@pytest.mark.parity
@pytest.mark.usefixtures("optax_promotion")
@pytest.mark.parametrize("path", fixture_files("optim*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize("variant", OPTIMISERS)
def test_optimiser_agrees_with_the_original(path, variant):
    data = np.load(path)
    transform = step.optimizer(**ADAM, **OPTIMISERS[variant])
    params = jnp.asarray(data["p0"])
    state = transform.init(params)
    for i, grad in enumerate(data["grads"]):
        updates, state = transform.update(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, data[f"{variant}_p"][i], rtol=2e-6, atol=1e-9)
    moments = optax.tree_utils.tree_get(state, "mu"), optax.tree_utils.tree_get(state, "nu")
    for moment, name in zip(moments, ("exp_avg", "exp_avg_sq"), strict=True):
        np.testing.assert_allclose(moment, data[f"{variant}_{name}"][-1], rtol=1e-5, atol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("ema*.npz"), ids=lambda p: p.stem)
@pytest.mark.parametrize(("prefix", "rate"), [("d9999", 0.9999), ("d05", 0.5)])
def test_average_agrees_with_the_original(path, prefix, rate):
    data = np.load(path)
    average = {name: jnp.asarray(data[f"{prefix}_shadow_{name}"][0]) for name in "pq"}
    for n in range(1, len(data[f"{prefix}_p"])):
        params = {name: jnp.asarray(data[f"{prefix}_{name}"][n]) for name in "pq"}
        average = step.ema_update(average, params, jnp.float32(n), rate)
        for name in "pq":
            want = data[f"{prefix}_shadow_{name}"][n]
            np.testing.assert_allclose(average[name], want, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(
            step.ema_decay(jnp.float32(n), rate), data[f"{prefix}_decay_used"][n - 1], rtol=1e-6
        )


@pytest.mark.usefixtures("optax_promotion")
def test_weights_decay_and_frozen_frequencies_do_not():
    options = {"warmup": 0, "grad_clip": 1.0, "weight_decay": 0.1}
    params = {"fourier": {"W": jnp.ones(3)}, "conv": {"kernel": jnp.ones(3)}}
    transform = step.optimizer(**ADAM, **options)
    zero = {"fourier": {"W": jnp.zeros(3)}, "conv": {"kernel": jnp.zeros(3)}}
    updates, _ = transform.update(zero, transform.init(params), params)
    np.testing.assert_array_equal(updates["fourier"]["W"], 0)
    assert (updates["conv"]["kernel"] < 0).all()


@pytest.mark.usefixtures("optax_promotion")
def test_a_cosine_falls_from_the_full_rate_to_zero():
    transform = step.optimizer(
        **ADAM | {"lr": 0.1, "beta1": 0.0, "beta2": 0.0},
        warmup=0,
        grad_clip=-1.0,
        weight_decay=0.0,
        decay_steps=4,
    )
    state = transform.init(jnp.zeros(()))
    moves = []
    for _ in range(5):
        move, state = transform.update(jnp.ones(()), state, jnp.zeros(()))
        moves.append(float(move))
    # Adam without memory moves by its rate.
    want = [-0.05 * (1 + np.cos(np.pi * k / 4)) for k in range(5)]
    np.testing.assert_allclose(moves, want, rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("optax_promotion")
def test_averages_kept_aside_are_those_of_their_rates(key):
    rates = (0.05, 0.1)
    options = ADAM | {"lr": 0.1, "warmup": 0, "grad_clip": 1.0, "weight_decay": 0.0}
    plain, keeping = step.optimizer(**options), step.optimizer(**options, ema_rates=rates)
    params = {"w": jnp.ones(3)}
    states = plain.init(params), keeping.init(params)
    want = [params, params]
    for n in range(1, 6):
        grads = {"w": jax.random.normal(jax.random.fold_in(key, n), (3,))}
        updates, ours = plain.update(grads, states[0], params)
        same, theirs = keeping.update(grads, states[1], params)
        np.testing.assert_array_equal(updates["w"], same["w"])
        states, params = (ours, theirs), optax.apply_updates(params, updates)
        want = [
            step.ema_update(average, params, jnp.float32(n), rate)
            for average, rate in zip(want, rates, strict=True)
        ]
    state = step.TrainState(jnp.int32(5), params, params, states[1])
    for rate, average in zip(rates, want, strict=True):
        kept = step.averaged_params(state, rate, main_rate=0.9, ema_rates=rates)
        np.testing.assert_array_equal(kept["w"], average["w"])
    main = step.averaged_params(state, 0.9, main_rate=0.9, ema_rates=rates)
    assert main is params
