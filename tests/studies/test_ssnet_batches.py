import numpy as np
import pytest

from evaluation.ssnet.network import SSNet
from evaluation.ssnet.weights import Weights
from sgm_jax.data import from_array
from studies.ssnet_batch_order import in_order, measure, modes, split
from studies.ssnet_batches import render
from tests.evaluation.small_ssnet import sparse_images, trained_variables
from tests.studies.labelled_images import brightness_network


@pytest.fixture(scope="module")
def results():
    """The study of one small network, with batch and with running statistics."""
    net = SSNet("running_statistics", filters=2, num_strides=3)
    weights = Weights(net, trained_variables(net), "0" * 64)
    images = from_array(sparse_images(96, 16), num_channels=1, image_size=None)
    first, second = split(images, 48, seed=0)
    return {
        mode.net.normalisation: measure("net", first, second, mode, shuffles=3, seed=1)
        for mode in modes(weights)
    }


def test_running_statistics_do_not_know_the_order(results):
    found = results["running_statistics"]
    assert set(found.changed_in_any.values()) == {0.0}
    assert set(found.changed_pixels) == {0.0} and found.grouped["changed_pixels"] == 0.0
    assert max(map(abs, found.fid_orders)) < 1e-4 * found.fid_floor[0]
    assert len(set(found.fid_floor)) == 1


def test_batch_statistics_change_pixels_and_features_with_the_order(results):
    found = results["batch_statistics"]
    assert min(found.changed_pixels) > 0.0
    assert min(found.fid_orders) > 1e-3 * max(found.fid_floor)
    assert found.lit_pixels == results["running_statistics"].lit_pixels


def test_published_weights_have_one_mode():
    weights = Weights(SSNet("batch_statistics"), {}, "0" * 64)
    assert modes(weights) == [weights]


def test_two_sets_of_whole_batches_without_a_common_image():
    array = np.arange(71, dtype=np.float32)[:, None, None] * np.ones((16, 16), np.float32)
    images = from_array(array, num_channels=1, image_size=None)
    first, second = split(images, 40, seed=0)
    assert len(first) == len(second) == 32
    assert not set(first[:, 0, 0]) & set(second[:, 0, 0])
    few = from_array(array[:31], num_channels=1, image_size=None, source="few.npy")
    with pytest.raises(ValueError, match=r"few.npy: 31 images do not fill two batches of 16"):
        split(few, 40, seed=0)


def test_results_come_back_in_the_order_of_the_set():
    images = sparse_images(32, 16)[..., 0]
    order = np.random.default_rng(0).permutation(32)
    shuffled, plain = (in_order(images, way, brightness_network) for way in (order, np.arange(32)))
    for one, other in zip(shuffled, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_table_has_a_column_for_each_network_and_no_rounding_noise(results):
    rows = [found._asdict() for found in results.values()]
    text = render(rows, source="test.npy", orders=3)
    assert "| net, batch statistics | net, running statistics |" in text
    assert "same 48 images of `test.npy`" in text
    (fid,) = [line for line in text.splitlines() if line.startswith("| FID, same images")]
    assert fid.endswith("| 0 (0 to 0) |")
