import numpy as np
import pytest

from evaluation.images.sets import ImageSet, pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.layers import (
    AXES,
    BINS,
    MOST,
    centres_by_charge,
    centres_of_gravity,
    charge_edges,
    layer_charges,
    rows_of,
)
from tests.evaluation.drawn_images import drawn_images

BUDGET = Budget(None, None, None, 200, 200, 4)


def rows(real, generated, name="rows"):
    sets = (ImageSet("real", real, {}, None), ImageSet("generated", generated, {}, None))
    return {
        row.metric.split("/")[2]: row for row in rows_of(name, pair(*sets, None, seed=0), BUDGET, 3)
    }


@pytest.fixture(scope="module")
def real():
    return drawn_images(600, seed=1, size=32)


@pytest.fixture(scope="module")
def fresh():
    return drawn_images(600, seed=2, size=32)


def test_layers_of_a_large_image_keep_all_charge():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (3, 70, 40)).astype(np.uint8)
    layers = layer_charges(images, AXES["rows"])
    assert layers.shape[1] <= MOST
    np.testing.assert_allclose(layers.sum(axis=1), images.sum(axis=(1, 2)))
    np.testing.assert_allclose(layers[:, 0], images[:, :3].sum(axis=(1, 2)))


def test_the_centre_of_gravity():
    images = np.zeros((3, 4, 6))
    images[0, 0, 5] = 7.0
    images[1, 1, 0], images[1, 2, 1] = 1.0, 3.0
    assert centres_of_gravity(images, AXES["rows"])[:2] == pytest.approx([-1.5, 0.25])
    assert centres_of_gravity(images, AXES["columns"])[:2] == pytest.approx([2.5, -1.75])
    assert np.isnan(centres_of_gravity(images, AXES["rows"])[2])


def test_centres_in_bins_are_those_of_their_images(real):
    edges = charge_edges(real)
    charge, centre = real.sum(axis=(1, 2), dtype=float), centres_of_gravity(real, AXES["rows"])
    binned = centres_by_charge(real, AXES["rows"], edges)
    own = (charge >= edges[3]) & (charge < edges[4])
    assert binned.count.sum() == len(real)
    assert (binned.mean[4], binned.spread[4]) == pytest.approx(
        (centre[own].mean(), centre[own].std())
    )
    assert binned.charge[4] == pytest.approx(charge[own].mean())


@pytest.mark.parametrize("name", AXES)
def test_new_images_of_the_same_kind_are_equal(real, fresh, name):
    assert all(row.p > 0.005 for row in rows(real, fresh, name).values())


def test_images_in_another_order_are_at_zero(real):
    for row in rows(real, real[::-1]).values():
        assert (row.value, row.p) == (pytest.approx(0.0, abs=1e-9), 1.0)


def test_each_row_sees_what_it_is_for(real, fresh):
    brighter = np.minimum(fresh * 1.15, 255).astype(np.uint8)
    moved = np.roll(fresh, 2, axis=1)
    mixed = np.stack(  # every row of an image from another one: means stay
        [fresh[(np.arange(len(fresh)) + 7 * row) % len(fresh), row] for row in range(32)], axis=1
    )
    assert rows(real, brighter)["charge"].p < 0.01
    assert rows(real, moved)["centre"].value == pytest.approx(2.0, abs=0.7)
    assert rows(real, mixed)["correlation"].p < 0.01
    assert rows(real, mixed)["charge"].p > 0.01
    assert rows(real, mixed)["centre_spread"].p < 0.01


def test_sets_without_a_common_charge_are_compared_as_wholes(real):
    brighter = np.minimum(real.astype(np.float64) * 100, 1e6)
    moved = rows(real, np.roll(brighter, 3, axis=1))
    assert np.isfinite(moved["centre"].value)
    assert moved["centre"].value > 1.0


def test_there_are_ten_bins_with_equal_numbers(real):
    charge = real.sum(axis=(1, 2), dtype=float)
    assert len(charge_edges(real)) == BINS - 1
    counts = np.bincount(np.searchsorted(charge_edges(real), charge, side="right"))
    assert np.ptp(counts) <= 2
