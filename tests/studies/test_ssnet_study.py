import json

import numpy as np
import pytest

from evaluation.ssnet.network import SSNet
from evaluation.ssnet.weights import Weights
from studies import ssnet_foreign
from studies.ssnet_foreign import Foreign, foreign_images, larger_images, prepared, read_foreign
from studies.ssnet_numbers import LEAST_LIT
from studies.ssnet_quality import image_folder
from studies.ssnet_study import study
from studies.ssnet_tally import ALL_PIXELS, LIT_PIXELS
from tests.evaluation.small_ssnet import trained_variables
from tests.studies.labelled_images import brightness_network, labelled, random_codes


@pytest.fixture(scope="module")
def weights():
    net = SSNet("running_statistics", filters=2, num_strides=3)
    return Weights(net, trained_variables(net), "0" * 64)


def foreign(count=12, side=16):
    rng = np.random.default_rng(0)
    images = np.where(rng.random((count, side, side)) < 0.2, rng.gamma(2.0, size=(side, side)), 0)
    return Foreign(images.astype(np.float32), np.arange(count) % 4 > 0, np.arange(count) // 3)


def test_the_study_writes_report_numbers_and_small_pictures(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(ssnet_foreign, "WINDOWS", ((16, 16),))
    data = labelled(random_codes(40, 16), kind=np.arange(40) % 5)
    larger = {"wide": labelled(random_codes(8, 24))}
    numbers = study(data, weights, tmp_path / "out", larger=larger, foreign=foreign())
    stored = json.loads((tmp_path / "out/numbers.json").read_text())
    assert stored["overall"] == numbers["overall"]
    text = (tmp_path / "out/report.md").read_text()
    reached = numbers["overall"]["pixel accuracy"]
    assert f"| pixel accuracy | 97 | {100 * reached['value']:.1f} ±" in text
    assert "| wide | 24x24 | 8 | 100.00 ± 0.00 |" in text
    pictures = list((tmp_path / "out").glob("*.png"))
    assert {path.stem for path in pictures} == {
        "confusion", "calibration", "failures", "foreign_failures",
    }  # fmt: skip
    assert all(1000 < path.stat().st_size < 400_000 for path in pictures)
    for rule in (ALL_PIXELS, LIT_PIXELS):
        rows = numbers["causes"][rule]["rows"]
        assert sum(row["first"] for row in rows) == numbers["causes"][rule]["failures"]


def test_windows_have_the_truth_of_their_own_pixels_and_few_lit_ones_are_left_out():
    codes = np.zeros((2, 256, 256), np.uint8)
    codes[:, 100, 100:120] = 2
    codes[0, 10:30, 10:30], codes[1, 100, 104:] = 1, 0  # the shower lies outside both windows
    found = larger_images(labelled(codes), brightness_network)
    assert {name: row["images"] for name, row in found.items()} == {
        "64x64": 1, "100x90": 1, "192x160": 1, "256x256": 1,
    }  # fmt: skip
    assert found["64x64"]["track images found, all pixels"]["n"] == 1
    assert found["256x256"]["shower images found, all pixels"]["n"] == 1
    assert all(row["same labels"]["value"] == 1.0 for row in found.values())


def test_foreign_images_agree_where_bright_pixels_are_tracks():
    images = np.zeros((4, 16, 16), np.float32)
    images[:, 8, :12] = 2.0
    images[1::2, 9, :12] = 0.5  # as many dim pixels: equal votes are a shower
    found, wrong = foreign_images(
        Foreign(images, np.array([True, False, True, True]), np.arange(4)), brightness_network
    )
    row = found["as they are"][ALL_PIXELS]["all"]
    assert row["images"] == 4
    assert row["image agreement"]["value"] == 0.75
    assert row["track images found"]["value"] == pytest.approx(2 / 3)
    assert wrong.tolist() == [False, False, False, True]
    few = found["as they are"][LIT_PIXELS]["below 30 lit pixels"]
    assert few["images"] == 4
    assert found["as they are"][LIT_PIXELS][f"at least {LEAST_LIT} lit pixels"]["images"] == 4


def test_preparing_cuts_at_the_threshold_of_our_simulation_and_rounds():
    images = np.array([[[0.0, 0.02], [1.0, 3.0]]], np.float32)
    found = prepared(Foreign(images, np.ones(1, bool), np.zeros(1)))
    np.testing.assert_allclose(found["as they are"][0], images[0] * 85.0, rtol=1e-6)
    assert found["cut and rounded"][0].tolist() == [[0.0, 0.0], [85.0, 255.0]]


def test_smearing_widens_a_line_alike_to_both_sides():
    images = np.zeros((1, 16, 16), np.float32)
    images[0, 8] = 1.0
    *_, smeared = prepared(Foreign(images, np.ones(1, bool), np.zeros(1))).values()
    assert (smeared[0] > 0).sum(axis=0).tolist() == [3] * 16
    np.testing.assert_array_equal(smeared[0, 7], smeared[0, 9])


def test_only_crops_of_nearly_one_kind_are_read(tmp_path):
    path = tmp_path / "crops.npz"
    shares = np.array([0.05, 0.5, 0.95, 0.1])
    np.savez(path, images=np.ones((4, 8, 8)), em_energy_fraction=shares, event=np.arange(4))
    found = read_foreign(path)
    assert found.is_track.tolist() == [True, False]
    assert found.event.tolist() == [0, 2]
    np.savez(path, images=np.ones((4, 8, 8)))
    with pytest.raises(ValueError, match=r"no \['em_energy_fraction', 'event'\]"):
        read_foreign(path)
    with pytest.raises(FileNotFoundError):
        read_foreign(tmp_path / "none.npz")


def test_the_folder_of_images_of_a_set_is_found(tmp_path):
    (tmp_path / "test/larcv_png_128").mkdir(parents=True)
    assert image_folder(tmp_path, "test").name == "larcv_png_128"
    with pytest.raises(FileNotFoundError, match="train holds no folder"):
        image_folder(tmp_path, "train")
