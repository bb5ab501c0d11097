import json
import re

import h5py
import numpy as np
import pytest

from evaluation.label import main
from evaluation.ssnet import scores as ssnet_scores
from evaluation.ssnet.labels import label, pixel_labels
from evaluation.ssnet.network import SSNet
from evaluation.ssnet.scores import count_votes, lit, score_function
from evaluation.ssnet.weights import Weights, save
from sgm_jax.data import from_array, open_images
from tests.evaluation.small_ssnet import sparse_images, trained_variables

SMALL = {"filters": 2, "num_strides": 3}


@pytest.fixture(scope="module", params=["running_statistics", "batch_statistics"])
def weights(request):
    variables = trained_variables(SSNet("batch_statistics", **SMALL))
    return Weights(SSNet(request.param, **SMALL), variables, "0" * 64)


@pytest.fixture(scope="module")
def labelled(weights, tmp_path_factory):
    """Images, the folder they were labelled into and the scores of the network, one batch each."""
    array = sparse_images(20, 16)
    images = from_array(array, num_channels=1, image_size=None, source="some/set.npy")
    out = tmp_path_factory.mktemp("labels") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssnet_scores, "PUBLISHED_BATCH", 10)
        label(images, weights, out, features=True)
    score = score_function(weights.net, weights.variables)
    size = 10 if weights.net.normalisation == "batch_statistics" else 8
    rows = [np.arange(start, start + size) % 20 for start in range(0, 20, size)]
    parts = [score(array[r]) for r in rows]
    scores, features = (np.concatenate(part)[:20] for part in zip(*parts, strict=True))
    return array, out, scores, features


def test_labels_and_counts_follow_from_the_scores(labelled):
    array, out, scores, _ = labelled
    with h5py.File(out / "labels.h5") as file:
        tables = {name: table[:] for name, table in file.items()}
        assert all("meaning" in table.attrs for table in file.values())
    near = np.sort(scores, axis=-1)
    clear = near[..., -1] - near[..., -2] > 1e-3
    np.testing.assert_array_equal(tables["pixel_label"][clear], scores.argmax(axis=-1)[clear])
    np.testing.assert_allclose(tables["certainty"], scores.max(axis=-1), atol=1e-3)
    for suffix, among in (("", None), ("_lit", lit(array))):
        votes = count_votes(scores, among)
        np.testing.assert_allclose(tables[f"num_track{suffix}"], votes.num_track, atol=2)
        is_track = tables[f"num_track{suffix}"] > tables[f"num_shower{suffix}"]
        np.testing.assert_array_equal(tables[f"is_track{suffix}"], is_track)
    np.testing.assert_array_equal(tables["lit_pixels"].sum(axis=1), lit(array).sum(axis=(1, 2)))


def test_pixels_in_memory_have_the_classes_of_the_file(labelled, weights, monkeypatch):
    array, out, _, _ = labelled
    monkeypatch.setattr(ssnet_scores, "PUBLISHED_BATCH", 10)
    found = pixel_labels(array[..., 0], weights)
    assert found.shape == (20, 16, 16) and found.dtype == np.uint8
    with h5py.File(out / "labels.h5") as file:
        np.testing.assert_array_equal(found, np.where(lit(array), file["pixel_label"][:], 0))
    assert found.any()


def test_track_and_shower_files_hold_every_image_once_in_order(labelled):
    array, out, _, _ = labelled
    with h5py.File(out / "labels.h5") as file:
        is_track = file["is_track"][:]
    for name, chosen in (("set_tracks.npy", is_track), ("set_showers.npy", ~is_track)):
        found = np.load(out / name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array[chosen][..., 0])


def test_features_are_flat_in_the_published_order(labelled):
    _, out, _, features = labelled
    expected = features.transpose(0, 3, 1, 2).reshape(20, -1)
    np.testing.assert_allclose(np.load(out / "features.npy"), expected, rtol=1e-3, atol=1e-3)


def test_the_summary_and_histograms_agree_with_the_tables(labelled, weights):
    array, out, _, _ = labelled
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == 20
    assert summary["weights_sha256"] == weights.sha256
    assert summary["normalisation"] == weights.net.normalisation
    with h5py.File(out / "labels.h5") as file:
        assert summary["track_fraction"] == pytest.approx(file["is_track"][:].mean())
    histograms = np.load(out / "histograms.npz")
    assert histograms["score_above_threshold"].sum(axis=1).tolist() == [int(lit(array).sum())] * 3
    assert histograms["pixels_per_image"].sum(axis=1).tolist() == [20] * 3
    assert histograms["score_of_winner"].sum() == array[..., 0].size


def test_nothing_is_overwritten_and_features_may_be_left_out(weights, tmp_path):
    images = from_array(sparse_images(3, 16), num_channels=1, image_size=None)
    label(images, weights, tmp_path / "out", features=False)
    assert not (tmp_path / "out/features.npy").exists()
    with pytest.raises(ValueError, match="already exists"):
        label(images, weights, tmp_path / "out", features=False)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(1536).reshape(2, 16, 16, 3) % 200, "3 channels differ"),
        (np.full((2, 16, 16), 300.0), "values span 300..300"),
        (np.full((2, 16, 16), np.nan), "holds nan"),
        (np.zeros((0, 16, 16), np.uint8), "holds no images"),
    ],
)
def test_unusable_images_are_refused_with_one_clear_error(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_images(tmp_path / "x.npy", num_channels=1, image_size=None)


def test_the_command_brings_counts_to_the_scale(tmp_path):
    net = SSNet("running_statistics", **SMALL)
    save(tmp_path / "ssnet.npz", net, trained_variables(net), dtype="float32")
    images = sparse_images(4, 16)[..., 0]
    np.save(tmp_path / "adc.npy", (images * 16).astype(np.int32))
    given = [f"--images={tmp_path / 'adc.npy'}", f"--ssnet={tmp_path / 'ssnet.npz'}"]
    main([*given, f"--out={tmp_path / 'out'}", "--scaling=fixed:4080", "--nofeatures"])
    parts = [np.load(tmp_path / f"out/adc_{name}.npy") for name in ("tracks", "showers")]
    found = np.concatenate(parts)
    order = [sum((image == other).all() for image in images) for other in found]
    assert len(found) == 4 and order == [1] * 4
    for bad in ("--scaling=none", "--scaling=minmax"):
        with pytest.raises(SystemExit):
            main([*given, f"--out={tmp_path / 'bad'}", bad])
    assert not (tmp_path / "bad").exists()
