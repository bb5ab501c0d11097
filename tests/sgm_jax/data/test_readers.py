"""Every file format gives the same images."""

import tracemalloc

import h5py
import numpy as np
import pytest

from sgm_jax.data import open_images
from tests.image_files import COLOUR, FORMATS, GREY, everything, read_grey, write, write_pngs


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats_give_identical_images_and_fingerprint(tmp_path, kind):
    images = read_grey(write(tmp_path, kind, GREY))
    reference = read_grey(write(tmp_path, "npy", GREY))
    assert images.shape == (12, 8, 8, 1)
    assert len(images) == 12
    assert everything(images).dtype == np.uint8
    np.testing.assert_array_equal(everything(images), GREY[..., None])
    assert images.fingerprint == reference.fingerprint


@pytest.mark.parametrize("kind", FORMATS)
def test_planes_are_kept(tmp_path, kind):
    images = read_grey(write(tmp_path, kind, COLOUR), num_channels=3, planes=True)
    np.testing.assert_array_equal(everything(images), COLOUR)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "rows",
    [
        np.array([7, 0, 7, 3, 11, 0]),
        np.array([], np.int64),
        slice(2, 9),
        slice(None, None, 3),
        slice(None, None, -1),
        slice(9, 2),
    ],
    ids=str,
)
def test_reading_rows_from_disk_equals_indexing_in_memory(tmp_path, kind, rows):
    images = read_grey(write(tmp_path, kind, GREY))
    np.testing.assert_array_equal(images[rows], GREY[..., None][rows])


@pytest.mark.parametrize("kind", FORMATS)
def test_returned_images_are_copies(tmp_path, kind):
    images = read_grey(write(tmp_path, kind, GREY))
    images[0:2][...] = 0
    np.testing.assert_array_equal(images[0:2], GREY[0:2, ..., None])


def test_black_and_white_pngs_become_0_and_255(tmp_path):
    write_pngs(tmp_path / "bits", GREY > 100)
    images = read_grey(tmp_path / "bits")
    np.testing.assert_array_equal(everything(images)[..., 0], 255 * (GREY > 100))


def test_sixteen_bit_pngs_keep_their_values_until_scaled(tmp_path):
    wide = (GREY.astype(np.uint16) + 1) * 200
    write_pngs(tmp_path / "wide", wide)
    with pytest.raises(ValueError, match=r"outside 0\.\.255.*per_image"):
        read_grey(tmp_path / "wide")
    scaled = everything(read_grey(tmp_path / "wide", scaling="per_image"))[..., 0]
    np.testing.assert_allclose(scaled, 255.0 * wide / wide.max((1, 2), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_images_then_samples_then_the_only_picture_array_is_read(tmp_path, kind):
    def save(**arrays):
        path = tmp_path / f"set.{kind}"
        if kind == "npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array
        return path

    label = np.arange(12, dtype=np.int32)
    path = save(zeros=GREY * 0, samples=GREY * 0, images=GREY)
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)
    path = save(zeros=GREY * 0, samples=GREY, label=label)
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)
    path = save(edep=GREY, label=label)
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)
    path = save(edep=GREY, other=GREY * 0, label=label)
    with pytest.raises(ValueError, match=r"2 arrays of rank 3 or 4.*edep \(12, 8, 8\) uint8"):
        read_grey(path)
    np.testing.assert_array_equal(everything(read_grey(f"{path}::edep"))[..., 0], GREY)
    with pytest.raises(ValueError, match=r"no array 'nothing'.*edep"):
        read_grey(f"{path}::nothing")
    path = save(label=label)
    with pytest.raises(ValueError, match=r"0 arrays of rank 3 or 4.*label \(12,\) int32"):
        read_grey(path)


def test_hdf5_datasets_in_groups_are_found_and_can_be_named(tmp_path):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["train/images"] = GREY
        file["note"] = "text"
    for path in (tmp_path / "set.h5", f"{tmp_path}/set.h5::/train/images"):
        np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_fortran_order_and_big_endian_arrays_are_read(tmp_path, kind):
    path = write(tmp_path, kind, np.asfortranarray(GREY.astype(">f4")))
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)


def test_mapped_images_need_no_memory(tmp_path):
    shape = (10**5, 64, 64)  # 410 MB
    with open(tmp_path / "big.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 64 * 64 * 10**5)  # sparse: takes no room on the disk
    tracemalloc.start()
    images = open_images(tmp_path / "big.npy", num_channels=1, image_size=64)
    images[np.array([99_999, 5])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images.shape == (*shape, 1)
    assert peak < 32e6


def test_unpacking_is_refused_before_the_disk_is_full(tmp_path, monkeypatch):
    path = write(tmp_path, "npz", GREY)
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="set TMPDIR"):
        read_grey(path)
