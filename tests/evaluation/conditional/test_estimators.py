"""Charge, direction and range of images whose momentum is known."""

import numpy as np
import pytest

from evaluation.conditional.estimators import (
    angle_deg,
    central,
    direction,
    leaves,
    mean,
    median,
    reach_px,
)
from evaluation.conditional.figures import csda_cm
from tests.evaluation.asked_images import LENGTH_PX, momenta, tracks

RNG = np.random.default_rng(3)


def test_the_direction_of_a_track_is_that_of_its_momentum_with_its_sense():
    momentum = momenta(300, seed=0, flat=True, low=200)
    off = angle_deg(direction(tracks(momentum, seed=0)), momentum[:, 1:])
    assert np.median(off) < 1.5 and off.max() < 6
    backward = angle_deg(direction(tracks(-momentum, seed=0)), momentum[:, 1:])
    np.testing.assert_allclose(backward, 180 - off, atol=3)


def test_turned_tracks_have_the_angle_of_the_turn():
    momentum = momenta(400, seed=1, flat=True, low=300)
    off = angle_deg(direction(tracks(momentum, seed=1, turn_deg=20)), momentum[:, 1:])
    np.testing.assert_allclose(np.median(off), 20, atol=0.5)


def test_the_axis_goes_through_the_start_also_where_no_charge_is_near_it():
    # As of a photon: a short piece, across the line from the start.
    image = np.zeros((1, 64, 64))
    image[0, 26:39, 50] = 5
    np.testing.assert_allclose(direction(image), [[0, 1]], atol=0.02)


def test_an_image_without_a_direction_has_none():
    single = np.zeros((2, 8, 8))
    single[1, 4, 4] = 3
    assert np.isnan(direction(single)).all()


def test_the_reach_is_the_length_of_a_track_and_not_of_what_comes_after_it():
    momentum = momenta(200, seed=2, flat=True)
    images, length = tracks(momentum, seed=2), LENGTH_PX * np.linalg.norm(momentum, axis=1)
    axis = momentum[:, 1:] / np.linalg.norm(momentum[:, 1:], axis=1, keepdims=True)
    np.testing.assert_allclose(reach_px(images, axis), length, atol=0.75)
    image = np.zeros((1, 64, 64))
    image[0, 32, 32:43] = 1  # ten pixels from the start
    image[0, 33:40, 42] = 1  # a decay electron that turns off
    image[0, 32, 50:55] = 1  # and a photon's, behind a gap
    assert reach_px(image, np.array([[0.0, 1.0]])) == [10]
    assert reach_px(0 * image, np.array([[0.0, 1.0]])) == [0]


def test_charge_at_any_border_is_seen():
    images = np.zeros((5, 6, 6))
    for image, place in zip(images, [(0, 2), (5, 2), (2, 0), (2, 5), (3, 3)], strict=True):
        image[place] = 1
    assert leaves(images).tolist() == [True, True, True, True, False]


def test_mean_and_width_of_the_central_part_of_a_normal_distribution():
    values = 50 + 8 * RNG.normal(size=200_000)
    middle, width = central(values, np.ones((1, len(values))))
    # A normal distribution cut at its 5 and 95 % points has 0.7895 of its standard deviation.
    np.testing.assert_allclose(middle, 50, atol=0.1)
    np.testing.assert_allclose(width, 8 * 0.7895, rtol=0.01)


def test_the_edges_of_the_central_part_count_by_their_share():
    values = np.array([3.0, 1.0, 2.0, 0.0, 1000.0])  # the outer ones count 0.15 of 0.2 each
    middle, _ = central(values, np.ones((1, 5)))
    np.testing.assert_allclose(middle, (0.15 * 1000 + 0.2 * (1 + 2 + 3)) / 0.9)


def test_a_weight_counts_as_so_many_images():
    values, weights = RNG.normal(size=40), RNG.integers(0, 4, (3, 40))
    for row in weights:
        repeated = np.repeat(values, row)
        one = np.ones((1, len(repeated)))
        for statistic in (lambda v, w: np.array(central(v, w)), median, mean):
            np.testing.assert_allclose(
                statistic(values, row[None].astype(float)), statistic(repeated, one), atol=1e-12
            )


def test_without_weight_there_is_no_number():
    with np.errstate(invalid="ignore"):
        assert np.isnan(median(np.arange(3.0), np.zeros((1, 3)))).all()
        assert np.isnan(mean(np.arange(3.0), np.zeros((1, 3)))).all()


@pytest.mark.parametrize(("kinetic", "grams"), [(100.0, 42.50), (200.0, 106.3)])
def test_the_ranges_of_muons_are_those_of_the_table(kinetic, grams):
    # Groom et al., At. Data Nucl. Data Tables 78 (2001) 183, of 1.396 g/cm3.
    momentum = np.array([np.sqrt(kinetic * (kinetic + 2 * 105.6584))])
    np.testing.assert_allclose(csda_cm(momentum, "muon"), grams / 1.396, rtol=0.01)
