import numpy as np
import pytest
from sklearn.cluster import dbscan

from evaluation.metrics.observables import pixel_clusters


@pytest.mark.parametrize("share", [0.02, 0.05, 0.15, 0.6])
@pytest.mark.parametrize(("radius_px", "fewest"), [(3.0, 5), (1.0, 2), (2.5, 9)])
def test_clusters_of_many_images_are_those_of_scikit_learn_image_by_image(share, radius_px, fewest):
    lit = np.random.default_rng(0).random((12, 30, 41)) < share
    lit[3] = False
    found = pixel_clusters(lit, radius_px=radius_px, fewest=fewest)
    for place, image in enumerate(lit):
        pixels, here = np.argwhere(image), found.image == place
        number = np.full(len(pixels), -1)
        if len(pixels):
            _, number = dbscan(pixels, eps=radius_px, min_samples=fewest)
        np.testing.assert_array_equal(found.pixels[here], pixels[number >= 0])
        np.testing.assert_array_equal(found.number[here], number[number >= 0])


def test_images_without_pixels_have_no_clusters():
    for shape in ((0, 8, 8), (3, 8, 8)):
        found = pixel_clusters(np.zeros(shape, bool), radius_px=3.0, fewest=5)
        assert len(found.image) == len(found.pixels) == len(found.number) == 0
