"""The optimiser and the moving average: parity with the original."""

import jax
import jax.numpy as jnp
import ml_collections
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
@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [(1 + np.cos(np.pi * k / 4)) / 2 for k in range(5)]),
        ("linear", [1, 1, 1, 0.5, 0]),
        ("inverse_sqrt", [1, 1, 1, (2 / 3) ** 0.5, 0.5**0.5]),
    ],
)
def test_a_schedule_falls_from_the_full_rate(schedule, want):
    transform = step.optimizer(
        **ADAM | {"lr": 0.1, "beta1": 0.0, "beta2": 0.0},
        warmup=0,
        grad_clip=-1.0,
        weight_decay=0.0,
        decay=step.decay(schedule, 4, 0.5, 2),
    )
    state = transform.init(jnp.zeros(()))
    moves = []
    for _ in range(5):
        move, state = transform.update(jnp.ones(()), state, jnp.zeros(()))
        moves.append(float(move))
    # Adam without memory moves by its rate.
    np.testing.assert_allclose(moves, -0.1 * np.array(want), rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("optax_promotion")
def test_muon_makes_the_update_of_a_kernel_orthogonal_and_leaves_the_rest_to_adam(key):
    shapes = {"conv": (3, 3, 8, 16), "dense": (16, 8), "first": (3, 3, 1, 16), "bias": (16,)}
    params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    grads = {
        name: jax.random.normal(jax.random.fold_in(key, i), shape)
        for i, (name, shape) in enumerate(shapes.items())
    }
    options = ADAM | {"warmup": 0, "grad_clip": -1.0, "weight_decay": 0.0}
    muon = step.optimizer(name="Muon", **options | {"lr": 0.5}, adam_lr=0.25)
    updates, _ = muon.update(grads, muon.init(params), params)
    for name, (inputs, outputs) in {"conv": (72, 16), "dense": (16, 8)}.items():
        # Five Newton-Schulz steps bring singular values near 1; the factor is that of the shape.
        singular = np.linalg.svd(updates[name].reshape(inputs, outputs), compute_uv=False)
        assert singular.min() > 0.25 and singular.max() < 0.65
    # Adam's first step has the size of its rate, and Nesterov's momentum goes on beyond it.
    first = 0.25 * (1 + 0.9 * 0.1 / (1 - 0.9**2))
    for name in ("first", "bias"):
        np.testing.assert_allclose(np.abs(updates[name]), first, rtol=1e-3)
        assert (jnp.sign(updates[name]) == -jnp.sign(grads[name])).all()


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
    state = step.TrainState(jnp.int32(5), params, params, states[1], extra=("counts",))
    config = ml_collections.ConfigDict({"model": {"ema_rate": 0.9, "ema_rates": rates}})
    for rate, average in zip(rates, want, strict=True):
        kept = step.averaged_variables(state, config, rate)
        np.testing.assert_array_equal(kept.params["w"], average["w"])
        assert kept.extra == ("counts",)
    assert step.averaged_variables(state, config).params is params
    with pytest.raises(ValueError, match=r"--ema is 0\.5; .* averages: 0\.9, 0\.05, 0\.1"):
        step.averaged_variables(state, config, 0.5)
