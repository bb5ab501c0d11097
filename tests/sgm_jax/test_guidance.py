"""Conditions on images: exact known pixels, Gaussian posteriors, canvases, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from sgm_jax.conditions import Conditions
from sgm_jax.config import check
from sgm_jax.generators.score import build
from sgm_jax.guidance import (
    amplified,
    classifier_free,
    classifier_guided,
    known_pixels,
    observable_guidance,
    tiled,
    total_charge,
)
from sgm_jax.samplers.base import image_keys
from sgm_jax.samplers.correctors import annealed_langevin
from sgm_jax.samplers.ode import ProbabilityFlow
from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.samplers.predictors import reverse_diffusion
from sgm_jax.samplers.repeated import repeated
from sgm_jax.samplers.solvers import NoiseLevelSampler, ddim, dpm_solver, dpm_solver_sde
from sgm_jax.score import score_denoiser
from sgm_jax.sde import VESDE, VPSDE, SubVPSDE, per_image
from tests.gaussian_scores import gaussian_score, white
from tests.tiny_run import EDM, tiny_config

RHO = 0.8
STEPS = {"sigma_min": 0.02, "sigma_max": 80.0}
SAMPLERS = {
    "euler_maruyama": PredictorCorrector(VPSDE(200), 200),
    "annealed": PredictorCorrector(
        VPSDE(100), 100, predictor=reverse_diffusion, corrector=annealed_langevin, snr=0.2
    ),
    "heun": NoiseLevelSampler(VPSDE(), 18, **STEPS),
    "ddim_sub_vp": NoiseLevelSampler(SubVPSDE(), 40, solver=ddim, **STEPS),
    "dpm_solver": NoiseLevelSampler(VPSDE(), 20, solver=dpm_solver, **STEPS),
    "dpm_solver_sde_ve": NoiseLevelSampler(
        VESDE(), 30, solver=dpm_solver_sde, sigma_min=0.02, sigma_max=50.0
    ),
    "flow": ProbabilityFlow(VPSDE(), rtol=1e-3, atol=1e-3),
}


def pair(sde):
    return gaussian_score(sde, jnp.array([[1.0, RHO], [RHO, 1.0]]))


def keys_of(key, count):
    return image_keys(key, jnp.arange(count))


def inpaint(sampler, keys, score_fn, *, known, mask, repeats=10):
    """Return images drawn as :class:`sgm_jax.conditions.Conditions` draws them."""
    score_fn = known_pixels(score_fn, sampler.sde, known=known, mask=mask)
    if repeats > 1:
        sampler = repeated(sampler, repeats=repeats)
    return jnp.where(mask, known, sampler(keys, score_fn, known.shape).images)


def inpainted_pairs(sampler, key, count, **options):
    """Return the second pixels of pairs whose first is 1."""
    known = jnp.ones((count, 1, 2, 1))
    mask = jnp.array([True, False]).reshape(1, 1, 2, 1)

    @jax.jit
    def run(keys):
        return inpaint(sampler, keys, pair(sampler.sde), known=known, mask=mask, **options)

    images = run(keys_of(key, count))
    assert (images[:, :, 0] == 1).all()
    return images[:, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "bias", "excess"),
    [
        ("euler_maruyama", 0.05, 0.05),
        ("heun", 0.15, 0.08),
        ("dpm_solver_sde_ve", 0.15, 0.12),
    ],
)
def test_an_inpainted_pixel_has_its_conditional_distribution(name, bias, excess, key):
    pixel = inpainted_pairs(SAMPLERS[name], key, 4096, repeats=10)
    # Exact: mean 0.8, deviation 0.6; 4096 draws know them to 0.01 and 0.007.
    np.testing.assert_allclose(pixel.mean(), RHO, atol=bias)
    np.testing.assert_allclose(pixel.std(), (1 - RHO**2) ** 0.5, atol=excess)


def test_repeats_are_what_makes_a_pixel_follow_the_known_one(key):
    once = inpainted_pairs(SAMPLERS["euler_maruyama"], key, 4096, repeats=1)
    # Ten repeats reach 0.8 and 0.6: the test above.
    assert 0.45 < once.mean() < 0.58 and once.std() > 0.7


@pytest.mark.parametrize("name", ["annealed", "heun", "ddim_sub_vp", "dpm_solver_sde_ve", "flow"])
def test_known_pixels_are_kept_and_others_drawn_by_every_sampler(name, key):
    sampler = SAMPLERS[name]
    known = jax.random.uniform(key, (3, 8, 8, 1))
    mask = jax.random.bernoulli(key, 0.5, (3, 8, 8, 1))
    repeats = 1 if name == "flow" else 2

    @jax.jit
    def run(keys, known, mask):
        score = white(sampler.sde, 0.1)
        return inpaint(sampler, keys, score, known=known, mask=mask, repeats=repeats)

    images = run(keys_of(key, 3), known, mask)
    np.testing.assert_array_equal(images[mask], known[mask])
    # 96 pixels know their deviation to 7 %; correctors and coarse steps widen it.
    np.testing.assert_allclose(images[~mask].std(), 0.1, rtol=0.4)
    last = run(keys_of(key, 3)[2:], known[2:], mask[2:])
    np.testing.assert_allclose(last[0], images[2], atol=1e-5)


def test_the_last_denoising_is_not_lost(key):
    # Points at -0.4 beside known pixels at 0.7. The original returns its noisy last x.
    known = jnp.full((4, 8, 8, 1), 0.7)
    mask = jnp.zeros((1, 8, 8, 1), bool).at[:, :4].set(True)

    def score(x, t):
        sde = VPSDE()
        return -(x + 0.4 * per_image(sde.mean_coeff(t), x)) / per_image(sde.std(t) ** 2, x)

    def left(noise_removal):
        sampler = PredictorCorrector(VPSDE(), 1000, noise_removal=noise_removal)
        images = jax.jit(
            lambda keys: inpaint(sampler, keys, score, known=known, mask=mask, repeats=1)
        )(keys_of(key, 4))
        return jnp.abs(images[:, 4:] + 0.4)

    assert left(True).max() < 5e-3
    np.testing.assert_allclose(jnp.sqrt((left(False) ** 2).mean()), 0.0109, rtol=0.15)


def test_before_the_last_step_known_pixels_have_the_noise_of_their_time(key):
    sampler = PredictorCorrector(VPSDE(), 1000)
    known, mask = jnp.full((64, 8, 8, 1), 0.7), jnp.ones((1, 8, 8, 1), bool)
    score = known_pixels(white(VPSDE(), 0.1), VPSDE(), known=known, mask=mask)
    keys = keys_of(key, 64)
    state = sampler.start(keys, known.shape)
    x, _ = jax.jit(lambda s: sampler.advance(s, keys, score, first=0, stop=600))(state)
    scale, std = sampler.marginal(600)
    np.testing.assert_allclose(x.mean(), 0.7 * scale, atol=0.05)
    np.testing.assert_allclose(x.std(), std, rtol=0.05)


@pytest.mark.parametrize("name", ["euler_maruyama", "heun", "dpm_solver"])
def test_one_repeat_is_the_sampler_itself(name, key):
    sampler, shape = SAMPLERS[name], (2, 4, 4, 1)
    once = repeated(sampler, repeats=1)
    run = jax.jit(lambda s, k: s(k, white(s.sde, 0.3), shape).images, static_argnums=0)
    np.testing.assert_allclose(run(once, keys_of(key, 2)), run(sampler, keys_of(key, 2)), atol=1e-5)
    assert once.nfe == sampler.nfe


@pytest.mark.parametrize(
    ("name", "num_steps"),
    # A solver that is noised back has no memory of the step before: it is of first order.
    [("euler_maruyama", 200), ("annealed", 100), ("heun", 18), ("dpm_solver_sde_ve", 90)],
)
def test_repeats_leave_unconditioned_data_as_they_are(name, num_steps, key):
    sampler = repeated(dataclasses.replace(SAMPLERS[name], num_steps=num_steps), repeats=3)
    images = jax.jit(lambda k: sampler(k, white(sampler.sde, 0.3), (16, 16, 16, 1)).images)(
        keys_of(key, 16)
    )
    # 4096 draws know it to 1.1 %; so few steps, to a few more.
    np.testing.assert_allclose(images.std(), 0.3, rtol=0.1)


@pytest.mark.parametrize(
    "inner", [PredictorCorrector(VPSDE(), 7), NoiseLevelSampler(VPSDE(), 7)], ids=["em", "heun"]
)
def test_repeated_evaluations_are_counted(inner, key):
    calls = []

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    sampler = repeated(inner, repeats=3)
    jax.block_until_ready(sampler(keys_of(key, 1), counting, (1, 2, 2, 1)).images)
    jax.effects_barrier()
    assert len(calls) == sampler.nfe


@pytest.mark.parametrize("name", ["euler_maruyama", "heun", "dpm_solver", "dpm_solver_sde_ve"])
def test_guidance_draws_the_gaussian_posterior_of_the_total(name, key):
    sampler = SAMPLERS[name]
    count, spread = 512, 0.5
    score = gaussian_score(
        sampler.sde,
        0.04 * jnp.array([[1.0, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 4]]),
    )
    guided = observable_guidance(score, sampler.sde, total_charge, target=3.0, spread=spread)
    shape = (count, 4, 4, 1)
    images = jax.jit(lambda k: sampler(k, guided, shape).images)(keys_of(key, count))
    # Four rows of four pixels: the total's variance is 4 * 0.04 * (1.8 * 2 + 1 + 4).
    prior = 4 * 0.04 * 8.6
    variance = 1 / (1 / prior + 1 / spread**2)
    total = total_charge(images)
    np.testing.assert_allclose(total.mean(), 3.0 * variance / spread**2, atol=0.1)
    np.testing.assert_allclose(total.std(), variance**0.5, rtol=0.15)
    # Each pixel takes the share of its covariance with the total.
    share = jnp.array([1.8, 1.8, 1.0, 4.0]) * 0.04 / prior * total.mean()
    np.testing.assert_allclose(images.mean((0, 1, 3)), share, atol=0.05)


def test_targets_of_their_own_and_nested_conditions(key):
    sampler, shape = SAMPLERS["heun"], (3, 4, 4, 1)
    known, mask = jnp.full((1, 4, 4, 1), 0.5), jnp.zeros((1, 4, 4, 1), bool).at[:, 0].set(True)
    target = jnp.array([-4.0, 2.0, 8.0])
    score = known_pixels(white(sampler.sde, 1.0), sampler.sde, known=known, mask=mask)
    score = observable_guidance(score, sampler.sde, total_charge, target=target, spread=0.05)
    images = jax.jit(lambda k: sampler(k, score, shape).images)(keys_of(key, 3))
    np.testing.assert_allclose(total_charge(images), target, atol=0.3)


def test_tiles_of_independent_pixels_make_the_score_of_the_canvas(key):
    x, t = jax.random.normal(key, (2, 16, 24, 3)), jnp.array([0.2, 0.7])
    plain = white(VPSDE(), 0.3)
    np.testing.assert_allclose(tiled(plain, tile=8, stride=4)(x, t), plain(x, t), rtol=1e-5)


def test_a_canvas_has_the_statistics_of_the_tiles_across_their_borders(key):
    sampler = NoiseLevelSampler(VPSDE(), 100, solver=ddim, sigma_min=0.02, sigma_max=80.0)
    distance = jnp.abs(jnp.arange(16.0)[:, None] - jnp.arange(16.0)[None, :])
    row_score = gaussian_score(sampler.sde, 0.5**distance)

    # Rows are drawn alone: images of one row of 16 pixels, canvases of 16 rows of 32.
    score = tiled(row_score, tile=16, stride=8)
    images = jax.jit(lambda k: sampler(k, score, (100, 16, 32, 1)).images)(keys_of(key, 100))
    # 1600 rows know variance and correlation to 3.5 and 2 %; averaging tiles costs some of both.
    np.testing.assert_allclose((images**2).mean((0, 1, 3)), 1.0, atol=0.2)
    neighbours = (images[:, :, 1:] * images[:, :, :-1]).mean((0, 1, 3))
    np.testing.assert_allclose(neighbours, 0.5, atol=0.15)


def test_an_image_goes_on_beyond_its_border(key):
    sampler = SAMPLERS["heun"]
    image = jax.random.normal(key, (2, 8, 8, 1))
    known = jnp.zeros((2, 8, 16, 1)).at[:, :, :8].set(image)
    mask = jnp.zeros((1, 8, 16, 1), bool).at[:, :, :8].set(True)
    score = tiled(white(sampler.sde, 0.3), tile=8, stride=4)
    canvas = inpaint(sampler, keys_of(key, 2), score, known=known, mask=mask, repeats=2)
    np.testing.assert_array_equal(canvas[:, :, :8], image)
    assert 0.2 < canvas[:, :, 8:].std() < 0.45


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (jnp.ones((1, 8, 4, 1), bool), r"\(1, 8, 4, 1\) and the images \(2, 8, 8, 3\)"),
        (jnp.ones((3, 8, 8, 1), bool), r"\(3, 8, 8, 1\)"),
        (jnp.ones((8, 8), bool), r"\(8, 8\)"),
        (jnp.ones((1, 8, 8, 2), bool), r"\(1, 8, 8, 2\)"),
        (jnp.ones((1, 8, 8, 1)), "float32; give booleans"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        known_pixels(abs, VPSDE(), known=jnp.zeros((2, 8, 8, 3)), mask=mask)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: repeated(SAMPLERS["heun"], repeats=0), "repeats is 0"),
        (lambda: tiled(abs, tile=8, stride=9), "stride is 9; it must be 1 to the tile's size, 8"),
        (
            lambda: tiled(abs, tile=8, stride=4)(jnp.zeros((1, 18, 8, 1)), jnp.ones(1)),
            "do not cover a canvas of 18; make it 20",
        ),
        (
            lambda: observable_guidance(abs, VPSDE(), total_charge, target=1.0, spread=0.0),
            "spread is 0.0; it must be above 0",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Classifier-free guidance. Pixels are normal: with particle k around +-1, without a condition
# around 0 and wider.
MEANS, INNER, OUTER = jnp.array([-1.0, 1.0]), 0.5, 1.2


def conditional_gaussian(sde):
    def score(x, t, condition):
        particle = condition["particle"]
        asked = particle >= 0
        mean = jnp.where(asked, MEANS[particle], 0.0) * sde.mean_coeff(t)
        spread = jnp.where(asked, INNER, OUTER)
        variance = (spread * sde.mean_coeff(t)) ** 2 + sde.std(t) ** 2
        return (per_image(mean, x) - x) / per_image(variance, x)

    return score


def guided_moments(weight):
    """Return mean and deviation of what the probability flow makes of particle 1.

    In ``u = sigma^2`` the flow is linear, ``dx/du = (1 - w) x / 2 (o + u) + w (x - 1) / 2 (i + u)``
    with the variances o and i, and is solved from infinite noise to none.
    """
    inner, outer = INNER**2, OUTER**2

    def grown(u):
        return (outer + u) ** ((1 - weight) / 2) * (inner + u) ** (weight / 2)

    area, _ = quad(lambda u: weight / (2 * (inner + u) * grown(u)), 0, np.inf)
    return grown(0) * area, grown(0)


def under_particles(sampler, key, count, **options):
    """Return images of particles 0 and 1 in turn."""
    condition = {"particle": jnp.arange(count, dtype=jnp.int32) % 2}
    score = classifier_free(
        conditional_gaussian(sampler.sde), sampler.sde, condition=condition, **options
    )
    return jax.jit(lambda k: sampler(k, score, (count, 4, 4, 1)).images)(keys_of(key, count))


@pytest.mark.parametrize("weight", [0, 1, 2])
def test_guided_flows_reach_the_mean_and_the_deviation_of_the_closed_form(weight, key):
    sampler = dataclasses.replace(SAMPLERS["heun"], num_steps=60)
    images = under_particles(sampler, key, 256, weight=weight)
    mean, std = guided_moments(weight)
    # 2048 pixels of each particle; with 1 they are those of the particle, with 0 of all.
    for k, sign in enumerate((-1, 1)):
        pixels = images[k::2]
        np.testing.assert_allclose(pixels.mean(), sign * mean, atol=4 * std / 2048**0.5 + 0.02)
        np.testing.assert_allclose(pixels.std(), std, rtol=0.08)


def test_the_closed_form_is_plain_at_weights_0_and_1_and_shrinks_at_2():
    np.testing.assert_allclose(guided_moments(0), (0, OUTER))
    np.testing.assert_allclose(guided_moments(1), (1, INNER), rtol=1e-6)
    assert guided_moments(2)[0] > 1 and guided_moments(2)[1] < INNER / 2


@pytest.mark.parametrize("name", ["euler_maruyama", "annealed", "dpm_solver", "dpm_solver_sde_ve"])
def test_every_sampler_draws_the_distribution_of_the_condition(name, key):
    images = under_particles(SAMPLERS[name], key, 256, weight=1)
    for k, sign in enumerate((-1, 1)):
        np.testing.assert_allclose(images[k::2].mean(), sign, atol=0.1)
        np.testing.assert_allclose(images[k::2].std(), INNER, rtol=0.15)


def test_guidance_is_left_to_the_noise_levels_of_its_interval(key):
    sde = VPSDE()
    x, t = jax.random.normal(key, (4, 2, 2, 1)), sde.time_at(jnp.array([0.05, 0.5, 2.0, 50.0]))
    condition, score = {"particle": jnp.array([0, 1, 0, 1])}, conditional_gaussian(sde)
    plain = score(x, t, condition)
    everywhere = classifier_free(score, sde, condition=condition, weight=3.0)(x, t)
    interval = {"weight": 3.0, "interval": (0.4, 3.0)}
    within = classifier_free(score, sde, condition=condition, **interval)(x, t)
    np.testing.assert_array_equal(within[jnp.array([0, 3])], plain[jnp.array([0, 3])])
    np.testing.assert_array_equal(within[1:3], everywhere[1:3])
    assert (jnp.abs(everywhere - plain) > 1e-3).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(("weight", "images"), [(0, [3]), (1, [3]), (1.5, [6])])
def test_guidance_takes_one_evaluation_of_twice_the_images_and_plain_weights_one(weight, images):
    seen, sde = [], VPSDE()

    def counting(x, t, condition):
        assert len(t) == len(condition["particle"]) == len(x)
        seen.append(len(x))
        return -x

    condition = {"particle": jnp.zeros(3, jnp.int32)}
    score = classifier_free(counting, sde, condition=condition, weight=weight)
    score(jnp.ones((3, 2, 2, 1)), jnp.full(3, 0.5))
    assert seen == images


def test_guidance_combines_with_known_pixels_and_a_charge(key):
    sampler, shape = SAMPLERS["heun"], (64, 4, 4, 1)
    sde, condition = sampler.sde, {"particle": jnp.arange(64) % 2}
    known, mask = jnp.full((1, 4, 4, 1), 0.5), jnp.zeros((1, 4, 4, 1), bool).at[:, 0].set(True)
    score = classifier_free(conditional_gaussian(sde), sde, condition=condition, weight=2.0)
    score = known_pixels(score, sde, known=known, mask=mask)
    free = jax.jit(lambda k: sampler(k, score, shape).images)(keys_of(key, 64))
    np.testing.assert_allclose(free[:, 0], 0.5, atol=1e-3)
    mean, _ = guided_moments(2)
    np.testing.assert_allclose(free[1::2, 1:].mean(), mean, atol=0.05)
    score = observable_guidance(score, sde, total_charge, target=3.0, spread=0.05)
    images = jax.jit(lambda k: sampler(k, score, shape).images)(keys_of(key, 64))
    # Without it 2 +- 12 means of a pixel.
    np.testing.assert_allclose(total_charge(images), 3.0, atol=0.5)


# By Bayes. Of all images pixels are normal around 0 with OUTER, and each is measured with an error
# such that particle k, of which +-MEASURED was measured, has them around +-1 with INNER.
ERROR = INNER * OUTER / (OUTER**2 - INNER**2) ** 0.5
MEASURED = 1 + (ERROR / OUTER) ** 2


def measured_gaussian(sde):
    """Return the log-probability of a measurement of a noised image."""

    def log_posterior(x, t, condition):
        scale, std = per_image(sde.mean_coeff(t), x), per_image(sde.std(t), x)
        total = (OUTER * scale) ** 2 + std**2
        expected, variance = OUTER**2 * scale * x / total, (OUTER * std) ** 2 / total
        measured = per_image(jnp.sign(MEANS)[condition["particle"]], x) * MEASURED
        spread = jnp.sqrt(variance + ERROR**2)
        return jax.scipy.stats.norm.logpdf(measured, expected, spread).sum((1, 2, 3))

    return log_posterior


def led(sde, count, weight):
    """Return the score of images of particles 0 and 1 in turn, led by their measurements."""
    condition = {"particle": jnp.arange(count, dtype=jnp.int32) % 2}
    posterior = measured_gaussian(sde)
    return classifier_guided(white(sde, OUTER), posterior, condition=condition, weight=weight)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_a_classifier_leads_to_the_mean_and_the_deviation_of_the_closed_form(weight, key):
    sampler = dataclasses.replace(SAMPLERS["heun"], num_steps=60)
    score = led(sampler.sde, 256, weight)
    images = jax.jit(lambda k: sampler(k, score, (256, 4, 4, 1)).images)(keys_of(key, 256))
    # The flow is the same as of classifier-free guidance: with 1 it ends at the posterior.
    mean, std = guided_moments(weight)
    for k, sign in enumerate((-1, 1)):
        pixels = images[k::2]
        np.testing.assert_allclose(pixels.mean(), sign * mean, atol=4 * std / 2048**0.5 + 0.02)
        np.testing.assert_allclose(pixels.std(), std, rtol=0.08)


@pytest.mark.parametrize("name", ["euler_maruyama", "annealed", "dpm_solver", "dpm_solver_sde_ve"])
def test_every_sampler_draws_the_posterior(name, key):
    sampler = SAMPLERS[name]
    score = led(sampler.sde, 256, 1.0)
    images = jax.jit(lambda k: sampler(k, score, (256, 4, 4, 1)).images)(keys_of(key, 256))
    for k, sign in enumerate((-1, 1)):
        np.testing.assert_allclose(images[k::2].mean(), sign, atol=0.1)
        np.testing.assert_allclose(images[k::2].std(), INNER, rtol=0.15)


def test_a_classifier_adds_the_gradient_of_its_image_times_the_weight(key):
    sde, t = VPSDE(), jnp.array([0.1, 0.5, 0.9])
    x, way = jax.random.normal(key, (2, 3, 4, 4, 1))
    force = led(sde, 3, 2.5)(x, t) - led(sde, 3, 0.0)(x, t)
    condition = {"particle": jnp.arange(3, dtype=jnp.int32) % 2}
    ahead, behind = (measured_gaussian(sde)(x + h * way, t, condition) for h in (0.01, -0.01))
    slope = (ahead - behind) / 0.02
    np.testing.assert_allclose((force * way).sum((1, 2, 3)), 2.5 * slope, rtol=1e-3, atol=1e-2)


def test_a_classifier_combines_with_known_pixels_and_a_charge(key):
    sampler, shape = SAMPLERS["heun"], (64, 4, 4, 1)
    known, mask = jnp.full((1, 4, 4, 1), 0.5), jnp.zeros((1, 4, 4, 1), bool).at[:, 0].set(True)
    score = known_pixels(led(sampler.sde, 64, 1.0), sampler.sde, known=known, mask=mask)
    free = jax.jit(lambda k: sampler(k, score, shape).images)(keys_of(key, 64))
    np.testing.assert_allclose(free[:, 0], 0.5, atol=1e-3)
    np.testing.assert_allclose(free[1::2, 1:].mean(), 1.0, atol=0.1)
    np.testing.assert_allclose(free[1::2, 1:].std(), INNER, rtol=0.15)
    score = observable_guidance(score, sampler.sde, total_charge, target=3.0, spread=0.05)
    images = jax.jit(lambda k: sampler(k, score, shape).images)(keys_of(key, 64))
    # Without it 2 +- 12, with deviations of 1.7.
    np.testing.assert_allclose(total_charge(images), 3.0, atol=0.3)


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=["vp", "sub_vp", "ve"])
def test_a_gain_makes_denoised_images_so_much_brighter_in_its_interval(sde, key):
    y = jax.random.normal(key, (3, 4, 4, 1))
    levels = jnp.array([0.1, 0.5, 5.0])
    plain = score_denoiser(white(sde, 0.3), sde)(y, levels)
    brighter = amplified(white(sde, 0.3), sde, gain=1.5, interval=(0.2, 3.0))
    expected = plain * jnp.array([1.0, 1.5, 1.0])[:, None, None, None]
    np.testing.assert_allclose(score_denoiser(brighter, sde)(y, levels), expected, rtol=2e-4)


def test_gaussian_pixels_are_amplified_as_the_closed_form_says(key):
    """With gain g the flow is dy / dsigma = y (1 - g s^2 / (s^2 + sigma^2)) / sigma."""
    sampler = NoiseLevelSampler(VPSDE(), 150, sigma_min=0.01, sigma_max=80.0)
    low, high, spread, gain = 0.2, 3.0, 1.0, 1.2

    def drawn(score):
        draw = jax.jit(lambda keys: sampler(keys, score, (8, 4, 4, 1)).images)
        return draw(keys_of(key, 8))

    score = white(VPSDE(), spread)
    brighter = amplified(score, VPSDE(), gain=gain, interval=(low, high))
    ends = [spread**2 + level**2 for level in (low, high)]
    expected = ((high / low) ** 2 * ends[0] / ends[1]) ** ((gain - 1) / 2)
    # The ends of the interval lie between two levels of the grid.
    np.testing.assert_allclose(drawn(brighter) / drawn(score), expected, rtol=0.02)


def test_a_gain_is_drawn_with_and_changes_no_likelihood(tmp_path):
    plain, bright = (
        build(tiny_config(tmp_path, **EDM, **{"data.std": 0.1, "sampling.gain": gain}))
        for gain in (1.0, 1.3)
    )
    variables = plain.initial_state(jax.random.key(0)).averaged
    x, t = jax.random.normal(jax.random.key(1), (2, 16, 16, 1)), jnp.array([0.3, 0.3])
    scores = [of.drawing(Conditions((16, 16))).score(variables, {})(x, t) for of in (plain, bright)]
    expected = amplified(plain.score(variables.params), plain.sde, gain=1.3, interval=(0.2, 3.0))(
        x, t
    )
    np.testing.assert_allclose(scores[1], expected, rtol=1e-5)
    assert float(jnp.abs(scores[1] - scores[0]).max()) > 1e-3
    np.testing.assert_array_equal(bright.score(variables.params)(x, t), scores[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling.gain": 0.0}, "sampling.gain"),
        ({"sampling.gain": -1.0}, "sampling.gain"),
        ({"sampling.gain": 1.1, "data.centered": True, "training.objective": "noise"}, "-1; set"),
        ({"sampling.gain_interval": (3.0, 0.2)}, "sampling.gain_interval is .*lowest"),
        ({"sampling.gain_interval": ()}, "sampling.gain_interval is .*lowest"),
    ],
)
def test_a_gain_that_cannot_be_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        check(tiny_config(tmp_path, **EDM | changes))
