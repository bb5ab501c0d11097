import numpy as np
import pytest

from evaluation.metrics import observables
from tests.fixture_files import fixture_files


def blank(count=1):
    return np.zeros((count, 64, 64), np.uint8)


def line(length=64, diagonal=False, thickness=1):
    image = blank()
    for step in range(length):
        for across in range(thickness):
            image[0, 20 + across if not diagonal else step, step] = 255
    return image


def shape(image):
    found = observables.track_shapes(image)
    return found.length_px[0], found.width_px[0], found.cluster_pixels[0], found.clusters[0]


def test_a_full_line_is_63_long_and_one_wide():
    assert shape(line()) == (63.0, 1.0, 64, 1)
    assert shape(line().transpose(0, 2, 1)) == (63.0, 1.0, 64, 1)


@pytest.mark.parametrize("thickness", [2, 3, 5])
def test_width_counts_whole_pixels_across(thickness):
    length, width, pixels, _ = shape(line(thickness=thickness))
    assert length == np.hypot(63, thickness - 1)
    assert width == thickness and pixels == 64 * thickness


def test_the_diagonal_is_89_1_long_or_rounded_when_it_is_a_straight_line():
    image = line(diagonal=True)
    assert shape(image)[:2] == (89.0, 1.0)
    image[0, 0, 1] = 1  # one pixel beside it: a hull with an area, so nothing is rounded
    assert shape(image)[0] == np.hypot(63, 63)


@pytest.mark.parametrize(
    "places", [[], [(0, 0), (30, 30), (60, 3)], [(3, 3), (3, 4), (3, 5), (3, 6)]]
)
def test_without_five_neighbouring_pixels_there_is_no_track(places):
    image = blank()
    for row, column in places:
        image[0, row, column] = 9
    assert shape(image) == (0.0, 0.0, 0, 0)


def test_six_far_pixels_are_all_noise():
    image = blank()
    image[0, ::12, 5] = 9
    assert shape(image) == (0.0, 0.0, 0, 0)


def test_pixels_three_apart_join_and_four_apart_do_not():
    near, far = blank(), blank()
    near[0, 10, 0:10], near[0, 10, 12:30] = 5, 5
    far[0, 10, 0:10], far[0, 10, 13:30] = 5, 5
    assert shape(near) == (29.0, 1.0, 28, 1)
    assert shape(far) == (16.0, 1.0, 17, 2)


def test_the_larger_cluster_wins_and_of_equal_ones_the_first():
    image = blank()
    image[0, 5, 0:10] = 255
    image[0, 40, 0:20] = 1
    assert shape(image) == (19.0, 1.0, 20, 2)
    image[0, 40, 10:20] = 0
    image[0, 41, 0:1] = 0
    image[0, 5, 9], image[0, 6, 9] = 0, 255  # 9.06 long, where the line below has 9
    assert shape(image)[0] == np.hypot(1, 9)


def test_every_image_is_measured_on_its_own():
    images = np.concatenate([line(), blank(), line(30, diagonal=True)])
    together = observables.track_shapes(images)
    alone = [observables.track_shapes(images[i : i + 1]) for i in range(3)]
    np.testing.assert_array_equal(together.length_px, [a.length_px[0] for a in alone])
    assert observables.track_shapes(blank(0)).length_px.shape == (0,)


def test_length_is_the_same_in_all_eight_orientations():
    image = (np.random.default_rng(4).random((1, 64, 64)) < 0.03).astype(np.uint8)
    image[0, 10:30, 12:15] = 1
    turned = [np.rot90(image, k, axes=(1, 2)) for k in range(4)]
    turned += [t[:, ::-1] for t in turned]
    lengths = [shape(t)[0] for t in turned]
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("tracks.npz"), ids=str)
def test_shapes_agree_with_the_published_definition(path):
    arrays = np.load(path)
    found = observables.track_shapes(arrays["images"])
    np.testing.assert_allclose(found.length_px, arrays["length"], atol=1e-9)
    np.testing.assert_array_equal(found.cluster_pixels, arrays["cluster_px"])
    difference = np.abs(found.width_px - arrays["width"])
    assert difference.max() <= 1.0  # where two axes are alike, either may be the first
    assert np.count_nonzero(difference) <= 0.05 * len(difference)


def test_charge_and_lit_pixels_of_a_known_image():
    image = line(32)
    assert observables.lit_pixels(image)[0] == 32
    assert observables.total_charge(image)[0] == 32 * 255
    assert observables.charge_per_lit_pixel(image)[0] == 255.0
    assert observables.total_charge(np.full((1, 64, 64), 255, np.uint8))[0] == 4096 * 255
    assert observables.charge_per_lit_pixel(blank())[0] == 0.0


def test_the_axis_of_lines_points_as_they_do():
    rising = line(40, diagonal=True)[:, ::-1]
    images = np.concatenate([line(), line().transpose(0, 2, 1), rising, rising[:, ::-1]])
    np.testing.assert_allclose(observables.axis_angle_deg(images), [0.0, 90.0, 45.0, -45.0])


def test_an_image_without_direction_has_no_angle():
    pixel, square = blank(), blank()
    pixel[0, 3, 3] = 7
    square[0, 10:14, 10:14] = 7
    images = np.concatenate([blank(), pixel, square])
    assert np.isnan(observables.axis_angle_deg(images)).all()


def test_the_angle_follows_the_charge_not_the_number_of_pixels():
    image = line(20)
    image[0, 20:60, 10] = 1
    assert abs(observables.axis_angle_deg(image)[0]) < 45.0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((64, 64)), r"shape \(64, 64\)"),
        (np.full((1, 4, 4), -1.0), "range from -1.0"),
        (np.full((1, 4, 4), np.nan), "range from nan"),
        (np.full((1, 4, 4), np.inf), "to inf"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        observables.track_shapes(images)


def test_holes_and_neighbours_of_known_images():
    image = np.zeros((2, 9, 9), np.uint8)
    image[0, 2:5, 2:5] = 7
    image[1, 2:5, 2:5] = 7
    image[1, 3, 3] = 0
    np.testing.assert_array_equal(observables.holes(image), [0, 1])
    # A full 3 x 3 square: one pixel with 8, four with 5 and four with 3 lit neighbours.
    np.testing.assert_allclose(observables.lit_neighbours(image), [40 / 9, 24 / 8])
    assert observables.lit_neighbours(np.zeros((1, 9, 9)))[0] == 0.0
