import h5py
import numpy as np
import pytest

from studies.ssnet_causes import NO_CAUSE, causes, explain, first_cause, worst, wrong_pixels
from studies.ssnet_numbers import (
    TARGETS,
    against_targets,
    bins,
    calibration,
    quality,
    ratio,
    split_quality,
    truth_classes,
)
from studies.ssnet_tally import ALL_PIXELS, LIT_PIXELS, RULES, longer_side, read_labelled, tally
from tests.studies.labelled_images import BRIGHT, DIM, brightness_network, labelled, random_codes


def count(data):
    return tally(data, brightness_network)[0]


def line(code, side=16, row=8, length=None):
    codes = np.zeros((side, side), np.uint8)
    codes[row, : length or side] = code
    return codes


def test_a_network_that_is_right_everywhere_reaches_one_in_all_numbers():
    numbers = quality(count(labelled(random_codes(40, 16))))
    assert {row["value"] for row in numbers.values()} == {1.0}
    assert all(row["error"] == 0.0 for row in numbers.values())


def test_pixels_votes_and_calibration_add_up_to_the_lit_pixels():
    data = labelled(random_codes(40, 16))
    table = count(data)
    lit = (data.codes > 0).sum(axis=(1, 2))
    for sums in (table.lit, table.by_class.sum(axis=(1, 2)), table.calibration[:, 0].sum(axis=1)):
        np.testing.assert_array_equal(sums, lit)
    np.testing.assert_array_equal(table.votes[:, RULES.index(LIT_PIXELS)].sum(axis=1), lit)
    for code in range(1, 5):
        np.testing.assert_array_equal(table.of_code[:, code], (data.codes == code).sum(axis=(1, 2)))


def test_efficiency_purity_and_iou_of_a_known_confusion():
    codes = np.zeros((1, 16, 16), np.uint8)
    codes[0, 0, :10], codes[0, 1, :10] = 2, 1
    images = np.where(codes > 0, DIM, 0)
    images[0, 0, :8] = images[0, 1, :2] = BRIGHT  # 8 of 10 track pixels, 2 of 10 shower pixels
    numbers = quality(count(labelled(codes, images)))
    assert numbers["pixel accuracy"]["value"] == pytest.approx(0.8)
    for what, value in (("efficiency", 0.8), ("purity", 0.8), ("IoU", 8 / 12)):
        assert numbers[f"track {what}"]["value"] == pytest.approx(value)
        assert numbers[f"shower {what}"]["value"] == pytest.approx(value)


def test_michel_and_delta_pixels_called_track_are_wrong_shower_pixels():
    codes = np.stack([line(3), line(4)])
    table = count(labelled(codes, np.where(codes > 0, BRIGHT, 0)))
    numbers, classes = quality(table), truth_classes(table)
    assert numbers["shower efficiency"] == {
        "value": 0.0, "error": 0.0, "binomial_error": 0.0, "n": 32,
    }  # fmt: skip
    assert numbers["track efficiency"]["value"] is None
    assert classes["michel"]["called track"]["value"] == 1.0
    assert classes["delta"]["share of lit pixels"]["value"] == 0.5


def test_the_error_of_a_share_is_binomial_for_single_draws_and_larger_for_shared_events():
    hits = np.tile([1, 0, 0, 0], 100)
    alone = ratio(hits, np.ones(400), np.arange(400))
    assert alone["value"] == 0.25
    assert alone["error"] == pytest.approx(alone["binomial_error"])
    together = ratio(np.repeat(hits, 3), np.ones(1200), np.repeat(np.arange(400), 3))
    assert together["error"] == pytest.approx(alone["error"])
    assert together["binomial_error"] == pytest.approx(alone["binomial_error"] / np.sqrt(3))


def test_targets_are_met_or_missed_by_the_numbers():
    good = {name: {"value": target} for name, target in TARGETS.items()}
    assert all(row["met"] for row in against_targets(good))
    bad = {name: {"value": target - 1e-9} for name, target in TARGETS.items()}
    assert not any(row["met"] for row in against_targets(bad))


def test_every_split_but_the_cut_holds_each_image_once():
    table = count(labelled(random_codes(60, 16), kind=np.arange(60) % 5))
    found = split_quality(table)
    for name, parts in found.items():
        assert sum(row["images"] for row in parts.values()) == 60, name
    assert found["particle"]["photon"]["images"] == 12


def test_bins_hold_every_whole_number_once():
    parts = bins(np.arange(10), [3, 5])
    assert {name: chosen.sum() for name, chosen in parts.items()} == {
        "below 3": 3, "3 to 4": 2, "5 and more": 5,
    }  # fmt: skip


def test_the_calibration_error_is_the_distance_of_certainty_and_accuracy():
    codes = line(1)[None]
    images = np.where(codes > 0, DIM, 0)
    images[0, 8, :4] = BRIGHT  # 12 of 16 right at a certainty of 0.9
    found = calibration(count(labelled(codes, images)))
    assert found["pixels"] == [16]
    assert found["accuracy"][0]["value"] == pytest.approx(0.75)
    assert found["certainty"] == [pytest.approx(0.9)]
    assert found["calibration_error"] == pytest.approx(0.15)


def test_the_longer_side_is_that_of_the_box():
    marked = np.zeros((3, 8, 8), bool)
    marked[0, 2, 1:7], marked[1, 3:5, 4] = True, True
    assert longer_side(marked).tolist() == [6, 2, 0]


def causes_of(codes, **truth):
    table = count(labelled(codes[None], **truth))
    found = causes(table, image_pixels=codes.size)
    return {name for name, has in found.items() if has[0]}


def test_each_cause_is_found_where_the_truth_has_it():
    track = line(2, 64, 30) + line(2, 64, 31)
    blob = np.zeros((64, 64), np.uint8)
    blob[20:40, 20:40] = 1
    stub = np.where(blob, 2, 0)
    light = {"kind": 0}
    assert causes_of(track) == {NO_CAUSE}
    assert causes_of(blob, **light) == {NO_CAUSE}
    assert causes_of(track + line(1, 64, 50) + line(1, 64, 51)) == {"close call"}
    assert causes_of(track + line(3, 64, 40, 20)) == {"Michel"}
    assert causes_of(track + line(4, 64, 40, 20)) == {"delta"}
    assert causes_of(track + line(1, 64, 40, 20), kind=3) == {"hadron shower"}
    assert causes_of(stub) == {"dense stub"}
    assert causes_of(track // 2, **light) == {"unbranched shower"}
    assert causes_of(blob, kinetic_mev=100.0, **light) == {"soft shower"}
    assert causes_of(blob, start_px=30.0, **light) == {"shower start"}
    assert causes_of(line(2, 64, 30)) == {"few pixels"}


def test_failures_by_first_cause_add_up_and_rates_are_those_of_the_images():
    codes = np.stack([line(1, 64, row, 50) for row in range(20)])
    images = np.where(codes > 0, DIM, 0)
    images[:15] = np.where(codes[:15] > 0, BRIGHT, 0)  # 15 of 20 called tracks: wrong
    start = np.where(np.arange(20)[:, None] < 5, 10.0, -1.0) * np.ones(2)
    table = count(labelled(codes, images, kind=0, start_px=start))
    rows = {row["cause"]: row for row in explain(table, rule=ALL_PIXELS, image_pixels=4096)}
    assert sum(row["first"] for row in rows.values()) == 15
    assert rows["unbranched shower"]["first"] == 15
    assert rows["shower start"]["rate_with"]["value"] == 1.0
    assert rows["shower start"]["rate_without"]["value"] == pytest.approx(10 / 15)
    assert set(first_cause(table, image_pixels=4096)) == {"unbranched shower"}


def test_the_worst_images_are_wrong_ones_with_the_clearest_votes():
    codes = np.stack([line(1), line(1), line(2)])
    images = np.where(codes > 0, DIM, 0)
    images[0, 8, :10] = images[1, 8] = images[2, 8] = BRIGHT
    assert worst(count(labelled(codes, images)), rule=ALL_PIXELS, count=5).tolist() == [1, 0]


def test_wrong_pixels_are_told_apart_by_their_neighbours():
    classes = np.zeros((1, 8, 8), np.int64)
    classes[0, 2], classes[0, 3, :4], classes[0, 6] = 2, 1, 1
    prediction = classes.copy()
    prediction[0, 2, :2], prediction[0, 6, 0] = 1, 2
    found = wrong_pixels(prediction, classes, np.zeros(1))
    assert found["pixels that touch the other class"]["value"] == pytest.approx(9 / 20)
    assert found["of these wrong"]["value"] == pytest.approx(2 / 9)
    assert found["of the others wrong"]["value"] == pytest.approx(1 / 11)
    assert found["share of all wrong pixels"]["value"] == pytest.approx(2 / 3)


def write_set(folder, data):
    np.save(folder / "test.npy", data.images)
    with h5py.File(folder / "labels.h5", "w") as file:
        for name, values in (
            ("pixel_label", data.codes),
            ("event_id", data.event),
            ("particle", data.kind),
            ("kinetic_mev", data.kinetic_mev),
            ("start_px", data.start_px),
        ):
            file[f"test/{name}"] = values


def test_evenly_spaced_images_are_read_with_their_own_truth(tmp_path):
    data = labelled(random_codes(9, 16), event=np.arange(9) // 3)
    write_set(tmp_path, data)
    found = read_labelled(tmp_path / "test.npy", tmp_path / "labels.h5", split="test", count=3)
    np.testing.assert_array_equal(found.images, data.images[::4])
    np.testing.assert_array_equal(found.codes, data.codes[::4])
    assert found.event.tolist() == [0, 1, 2]


def test_missing_labels_and_splits_are_said(tmp_path):
    options = {"split": "train", "count": 3}
    with pytest.raises(FileNotFoundError, match="no label file"):
        read_labelled(tmp_path / "test.npy", tmp_path / "labels.h5", **options)
    write_set(tmp_path, labelled(random_codes(4, 16)))
    with pytest.raises(ValueError, match="has no group train, only test"):
        read_labelled(tmp_path / "test.npy", tmp_path / "labels.h5", **options)


def test_a_window_shows_the_middle_and_moves_the_start_along():
    data = labelled(random_codes(2, 16), start_px=7.0)
    part = data.window(8, 10)
    np.testing.assert_array_equal(part.codes, data.codes[:, 4:12, 3:13])
    np.testing.assert_array_equal(part.images, data.images[:, 4:12, 3:13])
    assert part.start_px[0].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="no window of 32x8 in images of 16x16"):
        data.window(32, 8)
