"""Both networks learn in turn, and what is drawn depends on seed, number and condition alone."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.generators.gan import build
from sgm_jax.models.asked import Asked
from sgm_jax.models.dcgan import with_deviation
from sgm_jax.run import parallel
from tests.small_drawings import drawn_alone, drawn_images
from tests.tiny_gan import LAGAN, WASSERSTEIN, gan_config
from tests.tiny_vqvae import scattered, sparse_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
CONDITIONAL = {
    "model.condition": ("particle",),
    "data.particles": ("muon", "proton"),
    "data.condition": "labels",
}


def batches_of(gan, count, size=8):
    """Return batches of one device ``[1, count, size, ...]``, a step each."""
    scale = PixelScale.from_config(gan.config.data)
    images = scale.to_model(sparse_images(count * size)[..., None])
    index = np.tile(np.arange(size, dtype=np.int32), (1, count, 1))
    batches = {"image": images.reshape(1, count, size, *gan.image_shape), "index": index}
    if gan.asked.fields:
        batches["condition"] = {"particle": index % 2}
    return batches


def stepped(gan, count):
    """Return the states before and after each step on one device, and what was measured."""
    batches = batches_of(gan, count)
    step = parallel.mapped_step(gan.train_step, devices=jax.devices()[:1])
    states = [jax.jit(gan.initial_state)(jax.random.key(0))]
    measured = []
    for number in range(count):
        batch = jax.tree.map(lambda leaf, n=number: leaf[:, n : n + 1], batches)
        state, metrics = step(jax.tree.map(jnp.copy, states[-1]), jax.random.key(1), batch)
        states.append(state)
        measured.append(jax.device_get(metrics))
    return states, measured


def moved(before, after, name):
    pairs = zip(*(jax.tree.leaves(part[name]) for part in (before, after)), strict=True)
    return any((a != b).any() for a, b in pairs)


CASES = {
    "hinge": CONDITIONAL,
    "wgan_gp": CONDITIONAL | WASSERSTEIN,
    "lagan": LAGAN,
}


@pytest.mark.parametrize(
    "case",
    ["hinge", *(pytest.param(case, marks=pytest.mark.slow) for case in ("wgan_gp", "lagan"))],
)
def test_a_step_moves_the_discriminator_and_sometimes_the_generator(case):
    gan = build(gan_config(**CASES[case]))
    states, measured = stepped(gan, 3)
    every = gan.config.optim.discriminator_steps
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        assert moved(before.params, after.params, "discriminator")
        assert moved(before.params, after.params, "generator") == (number % every == 0)
        assert moved(before.ema_params, after.ema_params, "generator")
        assert moved(before.extra, after.extra, "vectors")
        assert (before.step, after.step) == (number, number + 1)
    for metrics in measured:
        assert all(np.isfinite(value) for value in metrics.values())
        assert metrics["generator_loss"] == -metrics["generated_output"]
        assert 0 < metrics["lit"] < 1 and 0 <= metrics["lit_generated"] <= 1
        assert ("penalty" in metrics) == (case == "wgan_gp")
    if case != "lagan":
        # Both of them begin to look at the condition.
        for name in ("generator", "discriminator"):
            first, last = (states[n].params[name]["condition"]["last"]["kernel"] for n in (0, 3))
            assert (first == 0).all() and (last != 0).any()


@pytest.mark.slow
def test_a_step_does_not_depend_on_the_devices():
    """Each of them holds whole groups."""
    gan = build(gan_config(**CONDITIONAL))
    state = jax.jit(gan.initial_state)(jax.random.key(0))
    batch = jax.tree.map(lambda leaf: leaf[0, 0], batches_of(gan, 1))
    results = []
    for count in (1, 2):
        step = parallel.mapped_step(gan.train_step, devices=jax.devices()[:count])
        shared = jax.tree.map(lambda x, n=count: x.reshape(n, 1, -1, *x.shape[1:]), batch)
        new, metrics = step(jax.tree.map(jnp.copy, state), jax.random.key(1), shared)
        # Adam's first step is the sign of a gradient, so gradients are compared by their averages.
        moments = [new.opt_state[name] for name in ("generator", "discriminator")]
        results.append(jax.device_get((metrics, moments)))
    # Sums over images in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *results)


# ------------------------------------------------------------------------- eight Gaussians


class Points(nn.Module):
    """Random numbers to points of a plane, as images of one row."""

    @nn.compact
    def __call__(self, z, vector):
        for _ in range(2):
            z = nn.relu(nn.Dense(64)(z))
        return nn.Dense(2)(z).reshape(-1, 1, 2, 1)


class PointsJudge(nn.Module):
    group: int

    @nn.compact
    def __call__(self, x, vector):
        x = with_deviation(x, self.group) if self.group else x
        x = x.reshape(len(x), -1)
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(64)(x), 0.2)
        return nn.Dense(1)(x)[:, 0]


ANGLES = np.arange(8) * np.pi / 4
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)
STABLE = {"model.spectral_norm": True, "model.group": 4, "model.ema_rate": 0.99}
STABLE |= {"rates": (1e-3, 4e-3), "moments": (0.0, 0.9)}
# A generator faster than its discriminator, with nothing that holds either of them.
UNSTABLE = {"model.spectral_norm": False, "model.group": 0, "model.ema_rate": 0.0}
UNSTABLE |= {"rates": (4e-3, 1e-3), "moments": (0.9, 0.999)}


def modes_of_a_ring(seed, *, rates, moments, steps, **options):
    """Train on eight Gaussians on a circle; return how many are drawn."""
    fields = {"model.latent": 2, "model.flip": 0.0, "model.shift": 0}
    config = gan_config(**fields, **options)
    optimizers = [optax.adam(rate, *moments) for rate in rates]
    gan = dataclasses.replace(
        build(config),
        image_shape=(1, 2, 1),
        generator=Points(),
        discriminator=PointsJudge(config.model.group),
        rectify=lambda outputs: outputs,
        shown=lambda keys, images: images,
        optimizer=optimizers[0],
        discriminator_optimizer=optimizers[1],
    )
    rng, size = np.random.default_rng(seed), 128
    centres = CENTRES[rng.integers(0, 8, (1, steps, size))]
    points = (centres + 0.02 * rng.normal(size=centres.shape)).astype(np.float32)
    batches = {
        "image": points.reshape(1, steps, size, 1, 2, 1),
        "index": np.tile(np.arange(size, dtype=np.int32), (1, steps, 1)),
    }
    step = parallel.mapped_step(gan.train_step, steps_per_call=steps, devices=jax.devices()[:1])
    state, _ = step(jax.jit(gan.initial_state)(jax.random.key(seed)), jax.random.key(seed), batches)

    @jax.jit
    def drawn(params, keys):
        return gan.images(params, gan.latents(keys), None)

    points = drawn(state.averaged.params, jax.random.split(jax.random.key(9), 2000))
    away = np.linalg.norm(np.asarray(points).reshape(-1, 1, 2) - CENTRES, axis=-1)
    # A mode is there if it has a tenth of its share, within a fifth of the way to the next.
    near = away.min(1) < 0.3
    return (np.bincount(away.argmin(1)[near], minlength=8) >= 25).sum()


def test_of_eight_gaussians_few_are_drawn_without_the_stabilisers_and_all_with_them():
    assert modes_of_a_ring(0, steps=3000, **UNSTABLE) <= 2
    assert modes_of_a_ring(0, steps=2000, **STABLE) >= 7


# --------------------------------------------------------------------------------- drawing


def random_gan(**overrides):
    """Return a GAN and random variables, with a quarter of the pixels lit or so."""
    gan = build(gan_config(**overrides))
    return gan, scattered(lambda key: gan.initial_state(key).averaged)


@pytest.fixture(scope="module")
def conditional():
    return random_gan(**CONDITIONAL, **{"sampling.at_once": 2})


def test_an_image_is_the_same_whatever_is_drawn_with_it(conditional):
    gan, variables = conditional
    many, few = (drawn_images(gan, variables, count) for count in (20, 3))
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_allclose(drawn_alone(gan, variables), many[4:6], atol=1e-5)
    assert len(np.unique(many, axis=0)) == 20


def test_a_drawn_pixel_is_exactly_zero_or_will_be_seen(conditional):
    gan, variables = conditional
    raw = drawn_images(gan, variables, 20)
    levels = PixelScale.from_config(gan.config.data).from_model(raw)
    np.testing.assert_array_equal(to_uint8(levels) > 0, raw > 0)
    assert 0.05 < (raw > 0).mean() < 0.95


def test_an_image_depends_on_its_own_condition(conditional):
    gan, variables = conditional
    particle = np.array([0, 1, -1, 0], np.int32)
    images = drawn_images(gan, variables, 4, {"particle": particle})
    others = drawn_images(gan, variables, 4, {"particle": np.array([0, 0, 0, 0], np.int32)})
    same = [bool((a == b).all()) for a, b in zip(images, others, strict=True)]
    assert same == [True, False, False, True]
    # Nothing asked is any particle.
    anything = drawn_images(gan, variables, 4)
    assert (anything[2] == images[2]).all() and (anything[0] != images[0]).any()


def test_the_discriminator_is_told_what_an_image_should_show(conditional):
    gan, variables = conditional
    images = jnp.asarray(sparse_images(4)[..., None] / 255, jnp.float32)

    @jax.jit
    def judged(particle):
        return gan.judge(variables.params, variables.extra, images, {"particle": particle})

    first, second = (judged(jnp.full(4, k, jnp.int32)) for k in (0, 1))
    assert (np.abs(first - second) > 1e-4).all()


def test_only_what_was_learnt_can_be_asked(conditional):
    gan, _ = conditional
    for conditions, flag in (
        (Conditions((8, 8), known=[0]), "--inpaint"),
        (Conditions((16, 16), tile=8, stride=4), "--canvas"),
        (Conditions((8, 8), observable="total_charge"), "--observable"),
        (Conditions((8, 8), condition={"momentum": np.zeros((1, 3))}), "without momentum"),
    ):
        with pytest.raises(ValueError, match=flag):
            gan.drawing(conditions)
    assert gan.log_prob is None and gan.asked.fields == ("particle",)
    assert build(gan_config()).asked == Asked(None, 0.1, 0.1)


def test_the_loss_on_test_images_is_smaller_for_a_generator_of_the_same_images():
    """A generator that draws nothing is further away than the floor of two real sets."""
    gan, variables = random_gan()
    batch = jax.tree.map(lambda leaf: leaf[0, 0], batches_of(gan, 1, size=64))
    dark = jax.tree.map(jnp.zeros_like, variables)

    @jax.jit
    def loss(variables, key):
        return gan.eval_loss(variables, key, batch)[0]

    real = batches_of(gan, 2, size=64)["image"][0, 1]
    same = dataclasses.replace(gan, rectify=lambda outputs: jnp.asarray(real))

    @jax.jit
    def floor(key):
        return same.eval_loss(variables, key, batch)[0]

    key = jax.random.key(0)
    assert 0 < 3 * floor(key) < loss(dark, key)
    # The same images with the same noise, each time.
    assert loss(dark, key) == loss(dark, key) != loss(dark, jax.random.key(1))
