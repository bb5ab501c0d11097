import json

import h5py
import numpy as np
import pytest

from evaluation.images import segments
from evaluation.images.segments import (
    given_labels,
    mean_certainty,
    read_labels,
    score_counts,
    segmenter,
)
from evaluation.images.sets import ImageSet
from evaluation.ssnet import scores
from evaluation.ssnet.labels import label
from evaluation.ssnet.network import SSNet
from evaluation.ssnet.scores import Histograms, lit, score_function
from evaluation.ssnet.weights import Weights
from sgm_jax.data import from_array
from sgm_jax.run.parts import Parts
from tests.evaluation.small_ssnet import sparse_images, trained_variables
from tests.hostile_files import HDF5

SMALL = {"filters": 2, "num_strides": 3}
COUNT = 40
PICKED = np.array([0, 3, 17, 38])


@pytest.fixture(scope="module")
def weights():
    net = SSNet("running_statistics", **SMALL)
    return Weights(net, trained_variables(net), "a" * 64)


@pytest.fixture(scope="module")
def one():
    return ImageSet("set", sparse_images(COUNT, 16)[..., 0].astype(np.uint8))


@pytest.fixture(scope="module")
def found(one, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ssnet")
    return one.labelled(segmenter(weights, features=True)(one.images, "set", Parts(folder)))


@pytest.fixture(scope="module")
def labelled(one, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("labels") / "out"
    images = from_array(one.images, num_channels=1, image_size=None, source="set.npy")
    label(images, weights, out, features=True)
    return out / "labels.h5"


def test_labels_read_from_a_file_are_those_that_the_report_makes(one, found, labelled):
    there = read_labels(labelled, one.images[PICKED], PICKED, COUNT)
    mine = found.take(PICKED).segments
    assert there.origin == mine.origin == "a" * 64
    for name, values in there.table.items():
        np.testing.assert_allclose(values, mine.table[name], atol=1e-3, err_msg=name)
    assert mine.table.keys() - there.table.keys() == {"scores"}
    np.testing.assert_array_equal(there.features(), mine.features())
    assert found.facts == {"track_images": int(found.is_track.sum()), "ssnet": "a" * 64}


def test_score_counts_sum_to_the_published_histogram_and_certainties_are_means(weights):
    rng = np.random.default_rng(0)
    scores = np.minimum(rng.dirichlet((0.3, 0.3, 0.3), (6, 8, 8)), 0.999).astype(np.float32)
    is_lit = rng.random((6, 8, 8)) < 0.3
    is_lit[2] = False
    histograms = Histograms()
    histograms.add(scores, is_lit)
    whole = histograms.arrays["score_above_threshold"][:, 1:-1]
    np.testing.assert_array_equal(score_counts(scores, is_lit).sum(axis=0), whole)
    means = mean_certainty(scores.max(axis=-1), is_lit)
    assert means[0] == pytest.approx(scores[0].max(axis=-1)[is_lit[0]].mean())
    assert np.isnan(means[2])


@pytest.fixture(scope="module", params=["running_statistics", "batch_statistics"])
def compiled(request):
    """A network, and its score function that is compiled once for all runs."""
    net = SSNet(request.param, **SMALL)
    weights = Weights(net, trained_variables(net), "")
    return weights, score_function(net, weights.variables)


@pytest.mark.parametrize("count", [40, 33, 5])
def test_a_killed_run_keeps_what_it_has_and_ends_with_the_same_tables(
    compiled, count, tmp_path, monkeypatch
):
    weights, score = compiled
    one = ImageSet("set", sparse_images(count, 16)[..., 0])
    monkeypatch.setattr(scores, "_BATCH_PER_DEVICE", 2)
    monkeypatch.setattr(segments, "score_function", lambda net, variables: score)

    def run(folder):
        return segmenter(weights, features=True)(one.images, "a", Parts(folder))

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(segments, "_CHUNK", 16)
    original, calls = segments._columns, []

    def dying(*given):
        calls.append(1)
        if len(calls) == 2 and count > 16:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(segments, "_columns", dying)
    if count > 16:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
        assert len(list((tmp_path / "cut/ssnet/a/features").glob("0*.npz"))) == 1
    cut = run(tmp_path / "cut")
    for name, values in whole.table.items():
        np.testing.assert_array_equal(cut.table[name], values)
    np.testing.assert_allclose(cut.features(), whole.features(), rtol=1e-6)


def test_features_stay_on_disk_and_are_left_out_on_request(one, found, weights, tmp_path):
    assert isinstance(found.segments.stored, np.memmap)
    assert found.segments.stored.shape == (COUNT, 16 * 2 * 2)
    without = segmenter(weights, features=False)(one.images, "set", Parts(tmp_path))
    assert without.stored is None and not list(tmp_path.rglob("features.npy"))
    np.testing.assert_array_equal(without.table["is_track"], found.is_track)


def test_labels_may_be_given_as_an_array():
    is_track = np.arange(COUNT) % 3 == 0
    np.testing.assert_array_equal(
        given_labels(is_track, PICKED, COUNT).table["is_track"], is_track[PICKED]
    )
    with pytest.raises(ValueError, match="for 41 images: give one for each"):
        given_labels(is_track, PICKED, COUNT + 1)


def test_labels_with_the_truth_about_tracks_only_are_enough(one, tmp_path):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["is_track"] = lit(one.images[..., None]).sum(axis=(1, 2)) > 25
    found = read_labels(tmp_path / "labels.h5", one.images, np.arange(COUNT), COUNT)
    assert found.table.keys() == {"is_track"} and "unknown weights" in found.origin
    (tmp_path / "summary.json").write_text(json.dumps({"weights_sha256": "b"}))
    assert read_labels(tmp_path / "labels.h5", one.images, np.arange(COUNT), COUNT).origin == "b"


def test_labels_of_another_set_are_refused_with_both_numbers(one, labelled, tmp_path):
    with pytest.raises(ValueError, match="labels 40 images, but the set has 41"):
        read_labels(labelled, one.images, np.arange(COUNT), 41)
    with pytest.raises(ValueError, match="16x16 pixels, but the set has 8x8"):
        read_labels(labelled, one.images[:, :8, :8], np.arange(COUNT), COUNT)
    with pytest.raises(FileNotFoundError, match="no labels"):
        read_labels(tmp_path / "none.h5", one.images, np.arange(COUNT), COUNT)
    (tmp_path / "bad.h5").write_bytes(b"no file of ours")
    with pytest.raises(ValueError, match="damaged or no HDF5 file"):
        read_labels(tmp_path / "bad.h5", one.images, np.arange(COUNT), COUNT)


@pytest.mark.parametrize("name", HDF5)
def test_labels_that_are_made_to_do_harm_are_refused(one, tmp_path, name):
    path = tmp_path / "labels.h5"
    HDF5[name](path)
    with h5py.File(path, "r+") as file:
        if "images" in file:
            file.move("images", "is_track")
    with pytest.raises(ValueError, match=r"labels\.h5"):
        read_labels(path, one.images, np.arange(COUNT), COUNT)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"is_track": np.zeros((COUNT, 2))}, "is_track has the shape"),
        ({"lit_pixels": np.zeros((COUNT, 2))}, "counts 2 classes, not 3"),
        ({"num_track": np.zeros(COUNT - 1)}, "num_track labels 39 images"),
        ({"is_track": np.float32(1.0)}, "is no table of numbers"),
    ],
)
def test_labels_of_another_shape_are_refused(one, tmp_path, table, what):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        for name, values in ({"is_track": np.zeros(COUNT, bool)} | table).items():
            file[name] = values
    with pytest.raises(ValueError, match=what):
        read_labels(tmp_path / "labels.h5", one.images, np.arange(COUNT), COUNT)
