"""Orders of pixels: what they look like, and the squares that they begin with."""

import numpy as np
import pytest

from sgm_jax.generators.autoregressive import orders
from sgm_jax.generators.autoregressive.orders import ORDERS, by_entropy, ranks, shuffled, square

# When each pixel of a 3 x 3 image is drawn.
PICTURES = {
    "row": [[0, 1, 2], [3, 4, 5], [6, 7, 8]],
    "column": [[0, 3, 6], [1, 4, 7], [2, 5, 8]],
    "spiral_out_clockwise": [[6, 7, 8], [5, 0, 1], [4, 3, 2]],
    "spiral_out_counter_clockwise": [[4, 3, 2], [5, 0, 1], [6, 7, 8]],
    "spiral_in_clockwise": [[4, 5, 6], [3, 8, 7], [2, 1, 0]],
    "spiral_in_counter_clockwise": [[2, 1, 0], [3, 8, 7], [4, 5, 6]],
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_looks_as_it_is_called(name):
    np.testing.assert_array_equal(ranks(ORDERS[name]((3, 3))).reshape(3, 3), PICTURES[name])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (5, 5), (4, 6), (7, 3)])
@pytest.mark.parametrize("name", ORDERS)
def test_every_pixel_comes_once(name, size):
    assert sorted(ORDERS[name](size)) == list(range(size[0] * size[1]))


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("turn", ["clockwise", "counter_clockwise"])
def test_a_spiral_outwards_begins_with_squares_around_the_middle(side, turn):
    order = ORDERS[f"spiral_out_{turn}"]((side, side))
    for window in range(1, side + 1):
        corner = square(order, (side, side), window)
        assert corner is not None and max(abs(2 * c + window - side) for c in corner) <= 1
        inner = orders.within(order, (side, side), corner, window)
        assert sorted(inner) == list(range(window**2))
        # The same walk, seen from the corner.
        y, x = np.divmod(np.array(inner), window)
        np.testing.assert_array_equal((y + corner[0]) * side + x + corner[1], order[: window**2])


@pytest.mark.parametrize("name", ["row", "column", "spiral_in_clockwise"])
def test_others_do_not(name):
    assert square(ORDERS[name]((5, 5)), (5, 5), 3) is None


def test_a_random_order_is_that_of_its_seed():
    assert shuffled((4, 4), 1) == shuffled((4, 4), 1) != shuffled((4, 4), 2)
    assert sorted(shuffled((4, 4), 1)) == list(range(16))


def test_by_entropy_the_most_open_pixel_comes_first():
    rng = np.random.default_rng(0)
    choices = np.array([[1, 8, 2], [4, 1, 16]])  # equally likely levels of each pixel
    images = rng.integers(0, np.full((4000, 2, 3), choices)) * 3
    assert by_entropy(images) == (5, 1, 3, 2, 0, 4)
