"""Where tracks leave their images, and with how much."""

import numpy as np
import pytest

from sgm_jax.simulation.particles import MASS_MEV
from sgm_jax.simulation.validate.theory import kinetic_after
from sgm_jax.tracks import kinetic_of, leaving, momentum_of, reaches_border

MUON = float(MASS_MEV[2])
OPTIONS = {"mass_mev": MUON, "least": 90.0, "lit_mev": 0.45, "pixel_mm": 10.0}


def straight(angle, loss, *, size=64, length=99.0):
    """Return a track of MeV per pixel of its length, shared by the two pixels beside it."""
    image, middle = np.zeros((size, size)), size // 2
    for step in np.arange(0, length, 0.05):
        row, column = middle + step * np.sin(angle), middle + step * np.cos(angle)
        low = np.floor([row, column]).astype(int)
        if low.min() < 0 or low.max() >= size - 1:
            break
        part = np.array([row, column]) - low
        for i, j in np.ndindex(2, 2):
            share = abs(1 - i - part[0]) * abs(1 - j - part[1])
            image[low[0] + i, low[1] + j] += 0.05 * loss * share
    return image


def along(angle, momentum, sight=0.0):
    in_plane = momentum * np.sqrt(1 - sight**2)
    return np.array([momentum * sight, in_plane * np.sin(angle), in_plane * np.cos(angle)])


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, 1.9, -2.5])
def test_a_straight_track_goes_on_where_it_was_going(angle):
    image = straight(angle, 3.0)
    found = leaving(image, along(angle, 500, sight=0.6), **OPTIONS)
    left = kinetic_of(500, MUON) - image.sum()
    np.testing.assert_allclose(kinetic_of(np.linalg.norm(found.momentum), MUON), left, rtol=1e-6)
    assert found.kept is image
    # The out-of-plane component keeps its share; the direction is right to two degrees.
    np.testing.assert_allclose(found.momentum[0] / np.linalg.norm(found.momentum), 0.6)
    turned = np.arctan2(found.momentum[1], found.momentum[2]) - angle
    assert abs((turned + np.pi) % (2 * np.pi) - np.pi) < 0.035
    # It begins one step beyond its last pixel, on the line.
    row, column = np.array(found.start) - 32
    assert abs(row * np.cos(angle) - column * np.sin(angle)) < 1
    assert min(found.start) >= -1 or max(found.start) <= 64


def test_what_is_left_is_the_smaller_of_what_charge_and_range_say():
    momentum = along(0.0, 400, sight=0.5)
    faint = leaving(straight(0.0, 0.8), momentum, **OPTIONS)
    path = 31 / np.sqrt(1 - 0.5**2)
    by_range = kinetic_after(kinetic_of(400, MUON), MUON, np.array(path))
    found = kinetic_of(np.linalg.norm(faint.momentum), MUON)
    np.testing.assert_allclose(found, by_range, rtol=0.02)
    bright = straight(0.0, 6.0)
    found = kinetic_of(np.linalg.norm(leaving(bright, momentum, **OPTIONS).momentum), MUON)
    np.testing.assert_allclose(found, kinetic_of(400, MUON) - bright.sum())


def test_a_track_with_too_little_left_is_drawn_again_from_before():
    # 15 MeV would be left at the border, and 33 are the least.
    image = straight(0.0, 4.0)
    kinetic = image.sum() + 15
    found = leaving(image, along(0.0, momentum_of(kinetic, MUON)), **OPTIONS)
    left = kinetic_of(np.linalg.norm(found.momentum), MUON)
    assert 33.1 <= left < 33.1 + 4 and found.start[1] < 62
    np.testing.assert_allclose(found.kept.sum() + left, kinetic, rtol=1e-6)
    assert not found.kept[:, found.start[1] :].any()


def test_what_ends_inside_or_has_nothing_left_does_not_go_on():
    assert leaving(straight(0.3, 3.0, length=20), along(0.3, 300), **OPTIONS) is None
    image = straight(0.3, 3.0)
    spent = momentum_of(image.sum() - 1, MUON)
    assert leaving(image, along(0.3, spent), **OPTIONS) is None
    assert leaving(np.zeros((64, 64)), along(0.3, 300), **OPTIONS) is None
    # Straight at the eye; and what leaves far from where it was going is something else.
    assert leaving(image, np.array([300.0, 0, 0]), **OPTIONS) is None
    assert leaving(image, along(0.3 + np.pi / 2, 500), **OPTIONS) is None


def test_a_gap_does_not_end_a_track_and_a_blip_does_not_make_one():
    image = straight(0.0, 3.0)
    image[:, 45:47] = 0
    assert leaving(image, along(0.0, 500), **OPTIONS) is not None
    image[:, 40:60] = 0
    assert leaving(image, along(0.0, 500), **OPTIONS) is None
    assert reaches_border(image, lit_mev=0.45)
    image[:, 60:] = 0
    assert not reaches_border(image, lit_mev=0.45)
