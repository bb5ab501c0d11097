import json

import h5py
import numpy as np
import pytest

from evaluation.ssnet import quality
from evaluation.ssnet.network import SSNet
from evaluation.ssnet.scores import Scores
from evaluation.ssnet.weights import Weights
from tests.evaluation.small_ssnet import trained_variables, write_labelled

BRIGHT, DIM = 200, 50  # what the network below calls track and shower


def brightness_network(images):
    """Call bright pixels track, dim ones shower, empty ones background, each with score 0.9."""
    value = images[..., 0]
    winner = np.where(value > 128, 2, np.where(value > 0, 1, 0))
    scores = np.where(np.arange(3) == winner[..., None], 0.9, 0.05).astype(np.float32)
    return Scores(scores, np.zeros((len(value), 1, 1, 4), np.float32))


def labelled(truth, images=None, event=None):
    truth = np.asarray(truth, np.uint8)
    if images is None:
        images = np.where(truth == quality.TRACK, BRIGHT, np.where(truth > 0, DIM, 0))
    event = np.arange(len(truth)) if event is None else np.asarray(event)
    return quality.Labelled(np.asarray(images, np.uint8), truth, event)


def tally(data):
    return quality.tally(data, brightness_network, batch_size=4)[0]


def test_a_network_that_is_right_has_shares_of_one_and_its_calibration_error():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((10, 16, 16)) < 0.2, rng.integers(1, 5, (10, 16, 16)), 0)
    table = tally(labelled(truth))
    shares = quality.numbers(table)
    assert all(share.value == 1.0 for share in shares.values() if share.n)
    assert shares["pixel accuracy"].n == (truth > 0).sum()
    bins, error = quality.calibration(table)
    assert len(bins) == 1 and bins[0][0] == pytest.approx(0.9)
    assert error == pytest.approx(0.1, abs=1e-6)


def test_wrong_pixels_are_counted_by_class_and_by_kind():
    truth = np.zeros((1, 4, 4), int)
    truth[0, 0], truth[0, 1, :2], truth[0, 1, 2:] = 2, 1, 3
    images = np.where(truth == 2, BRIGHT, np.where(truth > 0, DIM, 0))
    images[0, 0, 0] = DIM  # one of four track pixels is called shower
    images[0, 1, 3] = BRIGHT  # one of two Michel pixels is called track
    table = tally(labelled(truth, images))
    shares = quality.numbers(table)
    assert shares["pixel accuracy"].value == pytest.approx(6 / 8)
    assert shares["track efficiency"].value == pytest.approx(3 / 4)
    assert shares["track purity"].value == pytest.approx(3 / 4)
    assert shares["shower IoU"].value == pytest.approx(3 / 5)
    assert quality.confusion(table)["michel"]["called track"].value == pytest.approx(1 / 2)


def test_errors_take_the_projections_of_an_event_as_one_draw():
    part, whole = np.array([1.0, 1, 0, 0]), np.ones(4)
    alone = quality.share(part, whole, np.arange(4))
    pairs = quality.share(part, whole, np.array([0, 0, 1, 1]))
    assert alone.value == pairs.value == 0.5
    assert alone.error == pytest.approx(0.25)
    assert pairs.error == pytest.approx(0.25 * 2**0.5)
    assert np.isnan(quality.share(part, np.zeros(4), np.arange(4)).value)


def test_the_command_writes_a_report_numbers_and_pictures(tmp_path):
    write_labelled(tmp_path)
    with h5py.File(tmp_path / "labels.h5", "a") as file:
        file["test/event_id"] = np.arange(24) // 2
    data = quality.read(str(tmp_path / "test.npy"), tmp_path / "labels.h5", split="test", count=20)
    assert data.images.shape == data.truth.shape == (20, 16, 16)
    net = SSNet("running_statistics", filters=2, num_strides=3)
    weights = Weights(net, trained_variables(net), "abc")
    content = quality.measure(data, weights, tmp_path / "out")
    kept = json.loads((tmp_path / "out/numbers.json").read_text())
    assert kept["numbers"]["pixel accuracy"][0] == content["numbers"]["pixel accuracy"].value
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.md", "numbers.json", "calibration.png", "failures.png"}


def test_missing_labels_and_splits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label file"):
        quality.read("a.npy", tmp_path / "labels.h5", split="test", count=1)
    write_labelled(tmp_path)
    with pytest.raises(ValueError, match="no group validation, only test, train; set --split"):
        quality.read("a.npy", tmp_path / "labels.h5", split="validation", count=1)
