import numpy as np
import pytest

from evaluation.metrics import image_emd as emd
from tests.evaluation.drawn_images import drawn_images
from tests.fixture_files import fixture_files


def _points(*places, shape=(12, 9)):
    image = np.zeros(shape, np.uint8)
    for row, column in places:
        image[row, column] = 200
    return image


def _sparse(rng, count, shape, dtype=np.uint8):
    """Return images of few pixels, most of them next to each other."""
    images = rng.integers(0, 256, (count, *shape)) * (rng.random((count, *shape)) < 0.15)
    images[:, shape[0] // 2, shape[1] // 2] += 1
    return images.astype(dtype) if dtype == np.uint8 else (images * rng.random(images.shape))


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("image_emd.npz"), ids=str)
def test_distances_agree_with_transport_of_all_lit_pixels(path):
    arrays = np.load(path)
    np.testing.assert_allclose(emd.emd_matrix(arrays["images"]), arrays["emd"], atol=1e-9)


@pytest.mark.parametrize(
    ("places", "expected"),
    [([(3, 4)], 0.0), ([(3, 8)], 4.0), ([(6, 8)], 5.0), ([(3, 4), (3, 8)], 2.0)],
)
def test_a_point_moved_by_d_is_at_distance_d(places, expected):
    found = emd.image_emd(_points((3, 4)), _points(*places))
    assert found == pytest.approx(expected, abs=1e-12)


def test_brightness_does_not_matter_and_common_charge_does_not_move():
    image = drawn_images(1, seed=0)[0].astype(np.float64)
    assert emd.image_emd(image, image) == 0.0
    assert emd.image_emd(image, 3.7 * image) == pytest.approx(0.0, abs=1e-12)
    brighter = np.rint(image / 2).astype(np.uint8)
    assert emd.image_emd(brighter, (2 * brighter.astype(int)).astype(np.int64)) == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_it_is_a_metric_and_the_bounds_stay_below(dtype):
    rng = np.random.default_rng(1)
    for shape in ((9, 9), (7, 12), (13, 6)):
        images = _sparse(rng, 8, shape, dtype)
        exact = emd.emd_matrix(images)
        np.testing.assert_allclose(exact[0, 1], emd.image_emd(images[1], images[0]), rtol=1e-12)
        detour = (exact[:, :, None] + exact[None]).min(axis=1)
        assert (exact <= detour + 1e-9).all()
        index = emd.emd_index(images)
        bounds = np.stack([emd.lower_bounds(image, index) for image in images])
        assert (bounds <= exact + 1e-12).all()
        assert (bounds[~np.eye(8, dtype=bool)] > 0.4 * exact[~np.eye(8, dtype=bool)]).all()


@pytest.mark.parametrize("move", [(0, 3), (3, 0), (2, 2), (2, -2)])
def test_the_bound_of_a_shift_along_a_direction_is_its_length(move):
    image = _points((5, 4), (6, 4))
    moved = np.roll(image, move, axis=(0, 1))
    index = emd.emd_index(moved[None])
    assert emd.lower_bounds(image, index)[0] == pytest.approx(np.hypot(*move), abs=1e-4)
    assert emd.image_emd(image, moved) == pytest.approx(np.hypot(*move), abs=1e-12)


def test_the_projected_matrix_is_the_bound_for_all_pairs():
    images = drawn_images(5, seed=2, size=24)
    projected, exact = emd.projected_matrix(images), emd.emd_matrix(images)
    assert (projected <= exact).all() and (np.diag(projected) == 0).all()
    np.testing.assert_array_equal(projected, projected.T)
    assert (projected >= 0.3 * exact).all()


def test_constant_images_of_any_level_are_equal_and_empty_ones_are_refused():
    dim, bright, empty = (np.full((6, 6), level, np.uint8) for level in (3, 255, 0))
    assert emd.image_emd(dim, bright) == 0.0
    with pytest.raises(ValueError, match=r"\(108.0, 0.0\).*without charge has no distance"):
        emd.image_emd(dim, empty)
    with pytest.raises(ValueError, match="no charge, so nothing is near"):
        emd.lower_bounds(empty, emd.emd_index(dim[None]))
    assert np.isinf(emd.lower_bounds(dim, emd.emd_index(np.stack([dim, empty]))))[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_pixels_that_are_no_charge_are_refused(bad):
    images = np.ones((3, 4, 4))
    images[1, 2, 2] = bad
    with pytest.raises(ValueError, match="1 of 3 images hold negative, infinite or NaN"):
        emd.emd_index(images)
    with pytest.raises(ValueError, match="1 of 2 images"):
        emd.image_emd(images[0], images[1])


def test_images_of_two_sizes_are_refused_with_both():
    first, second = np.ones((4, 4)), np.ones((4, 5))
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 5\)"):
        emd.image_emd(first, second)
    with pytest.raises(ValueError, match=r"\(4, 4\).*4, 5"):
        emd.lower_bounds(first, emd.emd_index(second[None]))
