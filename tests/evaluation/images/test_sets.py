from dataclasses import replace

import h5py
import numpy as np
import pytest

from evaluation.images.sets import ImageSet, TooFewImagesError, check_alike, load, pair
from tests.evaluation.drawn_images import drawn_images


@pytest.fixture(scope="module")
def images():
    return drawn_images(12, seed=0, size=16)


def save(path, array):
    np.save(path, array)
    return str(path)


def plain_set(count, name="a", size=16):
    return ImageSet(name, drawn_images(count, seed=1, size=size), facts={"source": name})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x / np.float32(255), r"looks like 0\.\.1: multiply by 255"),
        (lambda x: x / np.float32(127.5) - 1, r"looks like -1\.\.1: store clip"),
        (lambda x: (x > 0).astype(np.uint8), r"largest pixel is 1.*multiply by 255"),
        (lambda x: np.where(x > 250, np.nan, x.astype(np.float32)), "holds nan"),
        (lambda x: np.stack([x, x, x // 2], axis=-1), "3 channels"),
        (lambda x: x.astype(np.float32) * 2, r"outside 0\.\.255"),
    ],
)
def test_images_on_another_scale_are_refused_and_the_fix_is_named(
    images, change, message, tmp_path
):
    path = save(tmp_path / "x.npy", change(images))
    with pytest.raises(ValueError, match=message):
        load(path, "x", limit=None, seed=0)


def test_what_is_not_there_or_not_readable_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load(str(tmp_path / "none.npy"), "x", limit=None, seed=0)
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="bad.npz"):
        load(str(tmp_path / "bad.npz"), "x", limit=None, seed=0)


def test_empty_and_constant_images_are_kept_and_counted(images, tmp_path):
    odd = images.copy()
    odd[3], odd[5:7] = 0, 9
    loaded = load(save(tmp_path / "x.npy", odd), "x", limit=None, seed=0)
    assert len(loaded) == 12
    assert loaded.facts["empty_images"] == 1 and loaded.facts["constant_images"] == 2


def test_a_limit_takes_images_by_seed_and_the_threshold_cuts_faint_pixels(images, tmp_path):
    path = save(tmp_path / "x.npy", images)
    first, again, other = (load(path, "x", limit=5, seed=seed).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) == 5 and not np.array_equal(first, other)
    cut = load(path, "x", limit=None, seed=0, threshold=40)
    np.testing.assert_array_equal(cut.images, np.where(images > 40, images, 0))


def test_hashes_tell_sets_apart_and_do_not_depend_on_the_format(images, tmp_path):
    np.savez(tmp_path / "x.npz", samples=images[..., None])
    changed = images.copy()
    changed[7, 8, 8] ^= 1
    paths = [
        tmp_path / "x.npz",
        save(tmp_path / "x.npy", images),
        save(tmp_path / "y.npy", changed),
    ]
    hashes = [load(str(p), "x", limit=None, seed=0).facts["hash_of_used"] for p in paths]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_training_step_is_read_beside_the_samples(images, tmp_path):
    path = save(tmp_path / "samples.npy", images)
    assert load(path, "x", limit=None, seed=0).facts["checkpoint_step"] is None
    (tmp_path / "recipe.json").write_text('{"checkpoint_step": 40}')
    assert load(path, "x", limit=None, seed=0).facts["checkpoint_step"] == 40


def test_labels_follow_their_images_and_must_be_of_the_whole_set(images, tmp_path):
    path = save(tmp_path / "x.npy", images)
    is_track = images[:, 8, 8] > 100
    for name, labels in (("good.h5", is_track), ("short.h5", is_track[:4])):
        with h5py.File(tmp_path / name, "w") as file:
            file["is_track"] = labels
    loaded = load(path, "x", limit=7, seed=3, labels=tmp_path / "good.h5")
    np.testing.assert_array_equal(loaded.is_track, loaded.images[:, 8, 8] > 100)
    with pytest.raises(ValueError, match="labels 4 images, but the set has 12"):
        load(path, "x", limit=7, seed=3, labels=tmp_path / "short.h5")


def test_sets_of_different_size_or_one_name_are_refused():
    with pytest.raises(ValueError, match="16x16 but .* 32x32"):
        check_alike([plain_set(2), plain_set(2, "b", size=32)])
    with pytest.raises(ValueError, match="one name"):
        check_alike([plain_set(2), plain_set(2)])


def test_the_floor_is_of_halves_or_of_training_images():
    real, generated, train = plain_set(11, "r"), plain_set(7, "g"), plain_set(20, "t")
    halves = pair(real, generated, None, seed=0).floor
    assert [len(half) for half in halves] == [5, 5]
    used = np.concatenate([half.images for half in halves]).reshape(10, -1)
    assert len(np.unique(used, axis=0)) == 10
    both = pair(real, generated, train, seed=0)
    assert both.floor[0] is real and len(both.floor[1]) == 7
    assert both.train is train and pair(real, generated, None, seed=0).train is None


@pytest.mark.parametrize("with_train", [False, True])
def test_equal_sizes_give_value_and_floor_the_same_number_of_images(with_train):
    train = plain_set(20, "t") if with_train else None
    equal = pair(plain_set(11, "r"), plain_set(9, "g"), train, seed=0).equal_sizes(seed=0)
    sizes = {len(one) for one in (equal.real, equal.generated, *equal.floor)}
    assert sizes == {9 if with_train else 5}
    assert equal.floor[0] is equal.real


def test_too_few_images_are_said_with_both_numbers():
    with pytest.raises(TooFewImagesError, match="3 images, at least 20"):
        plain_set(3).require(20)


def test_a_pair_by_class_holds_that_class_of_all_sets():
    sets = [plain_set(count) for count in (11, 9, 20)]
    labelled = [replace(one, is_track=np.arange(len(one)) % 3 == 0) for one in sets]
    tracks = pair(*labelled, seed=0).of_class("tracks")
    assert [len(one) for one in (tracks.real, tracks.generated, tracks.train)] == [4, 3, 7]
    assert all(one.is_track.all() for one in (tracks.real, *tracks.floor, tracks.train))
    assert pair(*labelled[:2], sets[2], seed=0).of_class("tracks") is None
