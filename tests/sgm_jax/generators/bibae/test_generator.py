"""Three parts learn in turn, and what is drawn depends on seed, number and condition alone."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.generators.bibae import build
from sgm_jax.run import parallel
from tests.small_drawings import drawn_alone, drawn_images
from tests.tiny_bibae import bibae_config
from tests.tiny_vqvae import scattered, sparse_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
CONDITIONAL = {
    "model.condition": ("particle",),
    "data.particles": ("muon", "proton"),
    "data.condition": "labels",
}
PUBLISHED = {"model.loss": "wgan_gp", "model.spectral_norm": False, "optim.critic_steps": 2}
PARTS = ("autoencoder", "critics", "post")


def batch_of(generator):
    """Return a batch of eight images, muons and protons in turn."""
    scale = PixelScale.from_config(generator.config.data)
    index = np.arange(8, dtype=np.int32)
    images = scale.to_model(sparse_images(8)[..., None])
    return {"image": images, "index": index, "condition": {"particle": index % 2}}


def step_of(generator, devices=1):
    """Return ``state -> (state, metrics)``, a step on so many devices."""
    step = parallel.mapped_step(generator.train_step, devices=jax.devices()[:devices])
    batch = batch_of(generator)
    shared = jax.tree.map(lambda x: x.reshape(devices, 1, -1, *x.shape[1:]), batch)
    return lambda state: step(jax.tree.map(jnp.copy, state), jax.random.key(1), shared)


def moved(before, after):
    pairs = zip(*(jax.tree.leaves(part) for part in (before, after)), strict=True)
    return any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("case", ["hinge", pytest.param("published", marks=pytest.mark.slow)])
def test_each_part_learns_in_its_turn(case):
    options = PUBLISHED if case == "published" else {}
    generator = build(bibae_config(**CONDITIONAL, **options))
    every = generator.config.optim.critic_steps
    step, states = step_of(generator), [jax.jit(generator.initial_state)(jax.random.key(0))]
    for number in range(3):
        state, metrics = step(states[-1])
        states.append(state)
        assert all(np.isfinite(value) for value in metrics.values()) and metrics["divergence"] >= 0
        assert 0 < metrics["lit"] < 1 and state.step == number + 1
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        learnt = [moved(before.params[name], after.params[name]) for name in PARTS]
        assert learnt == [number % every == 0, True, number >= 2]
        # Latents of this step's images are where they belong, and the others where they were.
        places = (number * 8 + np.arange(8)) % 12
        changed = (before.extra["latents"] != after.extra["latents"]).all(axis=1)
        np.testing.assert_array_equal(np.flatnonzero(changed), np.sort(places))
    for name in ("autoencoder", "critics"):
        first, last = (states[n].params[name]["condition"]["last"]["kernel"] for n in (0, 3))
        assert (first == 0).all() and (last != 0).any()


@pytest.mark.slow
def test_a_step_does_not_depend_on_the_devices():
    """But for the discrepancy, which is that of the images of each."""
    generator = build(bibae_config(**CONDITIONAL, **{"model.discrepancy": 0.0}))
    state = jax.jit(generator.initial_state)(jax.random.key(0))
    results = []
    for devices in (1, 2):
        new, metrics = step_of(generator, devices)(state)
        results.append(jax.device_get((metrics, new.opt_state)))
    # Sums over images in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *results)


@pytest.fixture(scope="module")
def drawing():
    """An autoencoder and random variables, with a part of the pixels lit."""
    generator = build(bibae_config(**CONDITIONAL, **{"sampling.at_once": 2}))
    return generator, scattered(lambda key: generator.initial_state(key).averaged)


def test_an_image_is_the_same_whatever_is_drawn_with_it(drawing):
    generator, variables = drawing
    many, few = (drawn_images(generator, variables, count) for count in (20, 3))
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_allclose(drawn_alone(generator, variables), many[4:6], rtol=1e-4, atol=1e-5)
    assert len(np.unique(many, axis=0)) == 20
    # A pixel is exactly 0, or will be seen.
    levels = PixelScale.from_config(generator.config.data).from_model(many)
    np.testing.assert_array_equal(to_uint8(levels) > 0, many > 0)
    assert 0.05 < (many > 0).mean() < 0.95


def test_an_image_depends_on_its_own_condition(drawing):
    generator, variables = drawing
    images, others = (
        drawn_images(generator, variables, 4, {"particle": np.array(particle, np.int32)})
        for particle in ([0, 1, -1, 0], [0, 0, 0, 0])
    )
    same = [bool((a == b).all()) for a, b in zip(images, others, strict=True)]
    assert same == [True, False, False, True]


def test_latents_and_noise_both_reach_the_image(drawing):
    generator, variables = drawing
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def outputs(z, keys):
        return generator.decoded(variables.params, z, keys, None)

    z = jnp.ones((2, 4))
    same, other = outputs(z, keys[jnp.zeros(2, jnp.int32)]), outputs(z, keys)
    # The same but for the rounding of rows of one product.
    np.testing.assert_allclose(same[0], same[1], rtol=1e-5, atol=1e-6)
    assert np.abs(other[0] - other[1]).max() > 0.01
    assert np.abs(outputs(2 * z, keys) - other).max() > 0.01


def test_a_lit_pixel_that_the_rectifier_took_away_is_led_back():
    real = jnp.array([0.5, 0.5, 0.0, 0.0]).reshape(1, 2, 2, 1)
    outputs = jnp.array([-1.0, 0.7, -1.0, 0.3]).reshape(1, 2, 2, 1)
    generator = build(bibae_config())
    value, slope = jax.value_and_grad(lambda x: generator._error(x, real))(outputs)
    np.testing.assert_allclose(value, 1.5**2 + 0.2**2 + 0.3**2, rtol=1e-5)
    np.testing.assert_allclose(slope.ravel(), [-3.0, 0.4, 0.0, 0.6], rtol=1e-5)


def test_only_what_was_learnt_can_be_asked(drawing):
    generator, _ = drawing
    for conditions, flag in (
        (Conditions((8, 8), known=[0]), "--inpaint"),
        (Conditions((16, 16), tile=8, stride=4), "--canvas"),
        (Conditions((8, 8), observable="total_charge"), "--observable"),
        (Conditions((8, 8), condition={"momentum": np.zeros((1, 3))}), "without momentum"),
    ):
        with pytest.raises(ValueError, match=flag):
            generator.drawing(conditions)
    assert generator.log_prob is None
    assert dataclasses.asdict(build(bibae_config()).told)["embedding"] is None
