import h5py
import numpy as np
import pytest

from studies.foreign_images import (
    Sample,
    compare,
    read_ours,
    read_theirs,
    repeated_share,
    steps_along,
)


def slanted_track(loss_mev_per_px, slope=0.4):
    """Share the energy of 60 columns between the two pixels that a line crosses in each."""
    image = np.zeros((64, 64))
    for column, loss in enumerate(loss_mev_per_px):
        row = 10 + slope * column
        image[int(row), column] += loss * (1 - row % 1)
        image[int(row) + 1, column] += loss * (row % 1)
    return image


def test_a_track_of_uniform_loss_has_equal_steps_at_any_angle():
    for slope in (0.0, 0.4, 0.77):
        image = slanted_track(np.full(60, 0.6), slope)
        np.testing.assert_allclose(steps_along(image), np.ones(56))
        np.testing.assert_allclose(steps_along(image.T), np.ones(56))


def test_fluctuations_of_the_loss_are_found_as_they_are():
    loss = np.random.default_rng(0).gamma(8.0, size=60)
    expected = loss[2:-2] / np.median(loss[2:-2])
    np.testing.assert_allclose(steps_along(slanted_track(loss)), expected)
    assert steps_along(slanted_track(loss[:3])).size == 0


def test_repeated_values_tell_uniform_from_fluctuating_loss():
    uniform = slanted_track(np.full(60, 0.6), slope=0.5)
    random = slanted_track(np.random.default_rng(1).gamma(8.0, size=60), slope=0.31)
    share = repeated_share(np.stack([uniform, random, np.zeros((64, 64))]))
    assert share[0] > 0.9 and share[1] < 0.1 and share[2] == 0.0


def write_ours(folder, images, label, with_mev=True):
    folder.mkdir()
    with h5py.File(folder / "labels.h5", "w") as file:
        train = file.create_group("train")
        train["pixel_label"] = label
        if with_mev:
            train["image_mev"] = images


def test_ours_is_split_by_energy_with_michels_and_deltas_on_the_shower_side(tmp_path):
    images = np.ones((3, 4, 4), np.float32)
    label = np.full((3, 4, 4), 2, np.uint8)
    label[1, :3], label[2, :1] = [[3], [4], [1]], 3
    write_ours(tmp_path / "set", images, label)
    assert read_ours(tmp_path / "set").is_track.tolist() == [True, False, True]


def test_what_cannot_be_read_is_said(tmp_path):
    write_ours(tmp_path / "set", None, np.zeros((1, 4, 4), np.uint8), with_mev=False)
    with pytest.raises(ValueError, match="write_mev=True"):
        read_ours(tmp_path / "set")
    with pytest.raises(FileNotFoundError, match="simulate a data set"):
        read_ours(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        read_theirs(tmp_path / "none.npz")
    np.savez(tmp_path / "file.npz", images=np.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match="em_energy_fraction"):
        read_theirs(tmp_path / "file.npz")


def test_both_sets_lose_dim_pixels_and_then_empty_images():
    images = np.zeros((2, 4, 4))
    images[0], images[1, 0, 0] = 0.02, 0.5
    images[0, 0, 0] = 0.005
    kept = Sample(images, np.array([True, False])).above(0.01, 2)
    assert kept.is_track.tolist() == [True] and np.count_nonzero(kept.images_mev) == 15


def sample(seed, sigma):
    rng = np.random.default_rng(seed)
    tracks = [slanted_track(rng.normal(1.0, sigma, 60), slope=s) for s in (0.1, 0.3, 0.5, 0.7)]
    showers = [np.where(rng.random((64, 64)) < 0.05, 1.0, 0.0) for _ in range(4)]
    return Sample(np.stack(tracks + showers), np.repeat([True, False], 4))


def test_the_report_holds_both_sets_and_tells_them_apart(tmp_path):
    numbers = compare(sample(0, 0.1), sample(1, 0.0), tmp_path / "out")
    steady = "steps of straight tracks within 2 % of the median"
    assert numbers["shares"]["theirs"][steady] == 1.0
    assert numbers["shares"]["ours"][steady] < 0.4
    assert numbers["neighbours"]["ours to ours"]["n"] == 4
    text = (tmp_path / "out" / "report.md").read_text()
    assert "100.0 % of their steps" in text
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 1000
