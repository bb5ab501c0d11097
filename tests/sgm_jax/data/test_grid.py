"""The picture of many images."""

import numpy as np
from PIL import Image

from sgm_jax.data.grid import GAP_PX, ZOOM, grid, save_grid


def test_each_image_has_its_place_and_its_own_scale(tmp_path):
    images = np.zeros((5, 8, 8, 1))
    images[0, 2, 3] = 10
    images[4, 5, 6] = 250
    save_grid(tmp_path / "grid.png", images)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))[::ZOOM, ::ZOOM]
    cell = 8 + GAP_PX
    assert picture.shape == (2 * cell + GAP_PX, 3 * cell + GAP_PX)
    # The brightest pixel is black whatever its charge: image 0 in row 0, image 4 in row 1.
    black = np.argwhere(picture == 0)
    np.testing.assert_array_equal(
        black, [[GAP_PX + 2, GAP_PX + 3], [GAP_PX + cell + 5, GAP_PX + cell + 6]]
    )


def test_grey_images_need_no_channel():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8))
    ours, theirs = grid(images, columns=3, zoom=1), grid(images[..., None], columns=3, zoom=1)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert ours.size == (3 * (8 + GAP_PX) + GAP_PX, 8 + 2 * GAP_PX)


def test_planes_stand_side_by_side_and_equal_channels_once():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    beside = np.concatenate([images[..., 0], images[..., 1], images[..., 2]], axis=2)
    np.testing.assert_array_equal(np.asarray(grid(images)), np.asarray(grid(beside)))
    equal = np.repeat(images[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(np.asarray(grid(equal)), np.asarray(grid(images[..., 0])))
