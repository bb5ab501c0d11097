import numpy as np
import pytest

from evaluation.metrics import distances as pixel_distances
from evaluation.metrics.image_emd import emd_index, image_emd, nearest_by_emd
from tests.evaluation.drawn_images import drawn_images
from tests.fixture_files import fixture_files


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("image_emd.npz"), ids=str)
def test_neighbours_agree_with_those_of_all_distances(path):
    arrays = np.load(path)
    index = emd_index(arrays["pool"])
    for row, (image, top) in enumerate(zip(arrays["images"], arrays["top5"], strict=False)):
        found = nearest_by_emd(image, index, count=len(top))
        np.testing.assert_array_equal(found.places, top)
        expected = arrays["emd_first4_to_pool"][row, top]
        np.testing.assert_allclose(found.distances, expected, atol=1e-9)
        assert found.solves <= len(index)


@pytest.mark.parity
@pytest.mark.parametrize("path", fixture_files("image_emd.npz"), ids=str)
def test_pixel_distances_agree(path):
    arrays = np.load(path)
    expected = np.sort(arrays["l2_first4_to_pool"], axis=1)
    queries = arrays["images"][: len(expected)]
    found = pixel_distances.nearest_by_l2(queries, arrays["pool"], count=expected.shape[1])
    np.testing.assert_allclose(found.distances, expected, atol=1e-9)


@pytest.mark.parametrize("among", [None, np.arange(1, 40, 3)])
def test_transport_neighbours_are_those_of_brute_force_with_fewer_solves(among):
    images = drawn_images(41, seed=0, size=20)
    pool = images[1:]
    allowed = np.arange(len(pool)) if among is None else among
    exact = np.array([image_emd(images[0], one) for one in pool[allowed]])
    found = nearest_by_emd(images[0], emd_index(pool), count=3, among=among)
    order = np.argsort(exact, kind="stable")[:3]
    np.testing.assert_array_equal(found.places, allowed[order])
    np.testing.assert_array_equal(found.distances, exact[order])
    assert 3 <= found.solves < len(allowed)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pixel_neighbours_are_those_of_brute_force_in_blocks(monkeypatch, own, dtype):
    monkeypatch.setattr(pixel_distances, "_BLOCK", 7)
    pool = drawn_images(30, seed=1, size=12).astype(dtype)
    queries = pool if own else drawn_images(10, seed=2, size=12).astype(dtype)
    apart = queries[:, None].astype(np.float64) - pool
    distances = np.sqrt((apart**2).sum(axis=(2, 3)))
    if own:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :4]
    found = pixel_distances.nearest_by_l2(queries, pool, count=4, own=own)
    np.testing.assert_array_equal(found.places, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, order, axis=1))


def test_equal_images_are_found_in_their_order():
    image = drawn_images(1, seed=3, size=12)
    pool = np.concatenate([255 - image, image, image, image])
    found = pixel_distances.nearest_by_l2(image, pool, count=2, among=np.array([3, 0, 2]))
    np.testing.assert_array_equal(found.places, [[2, 3]])
    assert (found.distances == 0.0).all()
    found = nearest_by_emd(image[0], emd_index(pool), count=3)
    np.testing.assert_array_equal(found.places, [1, 2, 3])


def test_a_small_set_gives_what_it_has_and_empty_images_are_not_found():
    pool = drawn_images(3, seed=4, size=12)
    image = pool[0]
    pool[1] = 0
    found = nearest_by_emd(image, emd_index(pool), count=5)
    np.testing.assert_array_equal(found.places, [0, 2])
    assert pixel_distances.nearest_by_l2(pool, pool, count=5, own=True).places.shape == (3, 2)
    with pytest.raises(ValueError, match="no neighbours to find among 1"):
        pixel_distances.nearest_by_l2(pool[:1], pool[:1], own=True)
    with pytest.raises(ValueError, match=r"\(12, 12\).*\(6, 6\)"):
        pixel_distances.nearest_by_l2(pool, pool[:, :6, :6])
    with pytest.raises(ValueError, match="none of 2 images has charge"):
        nearest_by_emd(image, emd_index(np.zeros((2, 12, 12))))
