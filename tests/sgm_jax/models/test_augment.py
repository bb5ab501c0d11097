"""Flips and shifts move pixels, and change none of them."""

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.models.augment import augmented

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (200, 5, 6, 2)), jnp.float32)
KEYS = jax.random.split(jax.random.key(1), 200)
BOTH = {"flip": 0.25, "shift": 2}


def moved(image, flips, shifts):
    """Flip an image along its axes, shift it, and fill up with zeros."""
    image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
    wide = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    down, right = shifts
    return wide[2 - down : 2 - down + image.shape[0], 2 - right : 2 - right + image.shape[1]]


def ways(flips=(False, True), shifts=range(-2, 3)):
    return [((a, b), (c, d)) for a in flips for b in flips for c in shifts for d in shifts]


def test_each_image_is_moved_in_one_of_the_ways_exactly():
    after = np.asarray(jax.jit(lambda keys, x: augmented(keys, x, **BOTH))(KEYS, IMAGES))
    taken = []
    for before, image in zip(np.asarray(IMAGES), after, strict=True):
        fits = [way for way in ways() if (moved(before, *way) == image).all()]
        assert len(fits) == 1
        taken += fits
    flips, shifts = (np.array([way[part] for way in taken]) for part in (0, 1))
    # 400 draws of each.
    np.testing.assert_allclose(flips.mean(), 0.25, atol=5 * (0.1875 / 400) ** 0.5)
    counts = np.bincount(shifts.ravel() + 2, minlength=5)
    np.testing.assert_allclose(counts / 400, 0.2, atol=5 * (0.16 / 400) ** 0.5)


def test_flips_alone_lose_nothing():
    after = jax.jit(lambda keys, x: augmented(keys, x, flip=0.49, shift=0))(KEYS, IMAGES)
    before, after = (np.sort(np.asarray(x).reshape(200, -1), axis=1) for x in (IMAGES, after))
    np.testing.assert_array_equal(before, after)


def test_the_gradient_goes_back_to_where_a_pixel_came_from():
    weights = jnp.asarray(np.random.default_rng(2).normal(size=IMAGES.shape), jnp.float32)

    def seen(x):
        return (augmented(KEYS, x, **BOTH) * weights).sum()

    value, slope = jax.jit(jax.value_and_grad(seen))(IMAGES)
    # It is linear: the slope times the images is the value again.
    np.testing.assert_allclose((slope * IMAGES).sum(), value, rtol=1e-4)
    # Each slope is one of the weights of that image, or 0 where a pixel was shifted out.
    for image in range(3):
        known = np.append(np.asarray(weights[image]), 0)
        assert np.isin(np.asarray(slope[image]), known).all()


def test_what_happens_to_an_image_depends_on_its_key_alone():
    few = augmented(KEYS[3:5], IMAGES[3:5], **BOTH)
    many = augmented(KEYS[:8], IMAGES[:8], **BOTH)
    np.testing.assert_array_equal(few, many[3:5])
