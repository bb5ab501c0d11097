"""Sums along lines: nothing is lost, and a straight track is a point where its direction is."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.lines import line_sums


def sums_of(image, directions):
    """Return the sums ``[directions, R]`` of one grey image."""
    return np.asarray(line_sums(jnp.asarray(image, jnp.float32)[None, ..., None], directions))[
        0, ..., 0
    ]


@pytest.mark.parametrize("shape", [(8, 8), (5, 7)])
def test_every_direction_has_the_whole_image(shape):
    images = np.random.default_rng(0).random((3, *shape, 2)).astype(np.float32)
    sums = line_sums(jnp.asarray(images), 12)
    assert sums.shape[:2] == (3, 12) and sums.shape[3] == 2
    expected = np.broadcast_to(images.sum((1, 2))[:, None], (3, 12, 2))
    np.testing.assert_allclose(sums.sum(2), expected, rtol=1e-5)


def test_the_first_direction_is_that_of_columns_and_the_middle_one_that_of_rows():
    image = np.random.default_rng(1).random((5, 7))
    sums = sums_of(image, 4)
    middle = sums.shape[1] // 2
    np.testing.assert_allclose(sums[0, middle - 3 : middle + 4], image.sum(0), rtol=1e-5)
    np.testing.assert_allclose(sums[2, middle - 2 : middle + 3], image.sum(1), rtol=1e-5)


@pytest.mark.parametrize("degrees", [15, 60, 105, 150])
def test_a_straight_track_is_brightest_in_its_own_direction(degrees):
    # Clockwise from a column, as printed: 90 degrees is along a row.
    angle = np.radians(degrees)
    along = np.linspace(-12, 12, 200)
    image = np.zeros((33, 33))
    rows = np.round(16 + along * np.cos(angle)).astype(int)
    columns = np.round(18 - along * np.sin(angle)).astype(int)
    image[rows, columns] = 1
    sums = sums_of(image, 12)
    direction, place = np.unravel_index(sums.argmax(), sums.shape)
    assert direction * 15 == degrees
    # Two columns to the right of the middle.
    assert abs(place - sums.shape[1] // 2 - 2 * np.cos(angle)) <= 1
