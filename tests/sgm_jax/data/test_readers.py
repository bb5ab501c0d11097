"""Every file format gives the same images, and every bad file is refused with a clear message."""

import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from sgm_jax.data import open_images
from sgm_jax.data.png import png_files

GREY = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
FORMATS = ("png", "npy", "npz", "npz_compressed", "h5", "hdf5")


def write_pngs(folder, array):
    folder.mkdir()
    for i, image in enumerate(array):
        Image.fromarray(image).save(folder / f"larcv_64_{i}.png")
    return folder


def write(tmp_path, kind, array, name="images"):
    if kind == "png":
        return write_pngs(tmp_path / "folder", array)
    path = tmp_path / f"set.{kind.removesuffix('_compressed')}"
    if kind == "npy":
        np.save(path, array)
    elif kind.startswith("npz"):
        (np.savez_compressed if "compressed" in kind else np.savez)(path, **{name: array})
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=array, compression="gzip")
    return path


def everything(images):
    return images[np.arange(len(images))]


def read_grey(path, **changes):
    return open_images(path, **{"num_channels": 1, "image_size": 8, **changes})


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
def test_colour_is_kept(tmp_path, kind):
    images = read_grey(write(tmp_path, kind, COLOUR), num_channels=3)
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


def test_pngs_come_in_natural_order_without_hidden_files(tmp_path):
    for name in (
        "larcv_64_10.png",
        "larcv_64_2.PNG",
        "b.png",
        "larcv_64_1.png",
        "._a.png",
        "x.txt",
    ):
        (tmp_path / name).touch()
    names = [path.name for path in png_files(tmp_path)]
    assert names == ["b.png", "larcv_64_1.png", "larcv_64_2.PNG", "larcv_64_10.png"]


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
    low, high = wide.min((1, 2), keepdims=True), wide.max((1, 2), keepdims=True)
    np.testing.assert_allclose(scaled, 255.0 * (wide - low) / (high - low), rtol=1e-6)


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


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        read_grey(tmp_path / "nowhere.npz")


def test_an_empty_folder_points_to_the_folders_inside(tmp_path):
    (tmp_path / "larcv_png_64").mkdir()
    with pytest.raises(ValueError, match=r"no \*\.png files.*larcv_png_64"):
        read_grey(tmp_path)


def test_unknown_extensions_are_refused(tmp_path):
    (tmp_path / "events.root").write_bytes(b"root")
    with pytest.raises(ValueError, match=r"unknown extension '\.root'.*\.npy"):
        read_grey(tmp_path / "events.root")


def test_members_of_files_without_members_are_refused(tmp_path):
    with pytest.raises(ValueError, match="remove ::images"):
        read_grey(f"{write(tmp_path, 'npy', GREY)}::images")


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def corrupt(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["larcv_64_0.png", "larcv_64_7.png", "larcv_64_11.png"])
@pytest.mark.parametrize("damage", [truncate, corrupt])
def test_a_damaged_png_among_good_ones_is_named(tmp_path, name, damage):
    folder = write_pngs(tmp_path / "folder", GREY)
    damage(folder / name)
    with pytest.raises(ValueError, match=rf"{name}: damaged or truncated PNG"):
        read_grey(folder)


@pytest.mark.parametrize("content", [b"", b"not an image", "jpeg"])
def test_a_file_that_is_no_png_is_named(tmp_path, content):
    folder = write_pngs(tmp_path / "folder", GREY)
    if content == "jpeg":
        Image.fromarray(GREY[0]).save(folder / "larcv_64_3.png", format="JPEG")
    else:
        (folder / "larcv_64_3.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"larcv_64_3\.png: not a PNG image"):
        read_grey(folder)


def test_mixed_sizes_name_both_files_and_both_sizes(tmp_path):
    folder = write_pngs(tmp_path / "folder", GREY)
    Image.fromarray(GREY[0, :6]).save(folder / "larcv_64_4.png")
    with pytest.raises(ValueError, match=r"64_4\.png is 6x8 but .*64_0\.png is 8x8"):
        read_grey(folder, image_size=None)


def test_mixed_grey_and_colour_names_both_files(tmp_path):
    folder = write_pngs(tmp_path / "folder", GREY)
    Image.fromarray(COLOUR[0]).save(folder / "larcv_64_4.png")
    with pytest.raises(ValueError, match=r"64_4\.png is colour but .*64_0\.png is 8-bit grey"):
        read_grey(folder, num_channels=3)


def test_pngs_with_transparency_are_refused(tmp_path):
    folder = write_pngs(tmp_path / "folder", np.concatenate([COLOUR, COLOUR[..., :1]], axis=-1))
    with pytest.raises(ValueError, match=r"mode RGBA.*alpha"):
        read_grey(folder, num_channels=3)


def huge_png(width, height):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "message"), [((10**5, 10**5), "unreasonably large"), ((4000, 4000), "4000x4000")]
)
def test_decompression_bombs_are_refused_by_their_header(tmp_path, size, message):
    folder = write_pngs(tmp_path / "folder", GREY)
    (folder / "larcv_64_4.png").write_bytes(huge_png(*size))
    with pytest.raises(ValueError, match=message):
        read_grey(folder)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_wrong_image_size_gives_both_sizes(tmp_path, kind):
    path = write(tmp_path, kind, GREY)
    with pytest.raises(ValueError, match=r"8x8 .* image_size is 64"):
        read_grey(path, image_size=64)


@pytest.mark.parametrize("kind", FORMATS)
def test_colour_where_grey_is_asked_is_refused(tmp_path, kind):
    path = write(tmp_path, kind, COLOUR)
    with pytest.raises(
        ValueError, match=r"3 channels but num_channels is 1; set num_channels to 3"
    ):
        read_grey(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "npz_compressed", "h5", "hdf5"])
def test_truncated_array_files_are_refused(tmp_path, kind):
    path = write(tmp_path, kind, GREY)
    truncate(path)
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        read_grey(path)


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"something else altogether" * 20])
def test_files_that_are_not_what_their_name_says_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"set.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"set\.\w+: damaged or no"):
        read_grey(path)


@pytest.mark.parametrize(
    ("kind", "message"), [("npz", "CRC"), ("h5", r"set\.h5::images: rows cannot be read")]
)
def test_corrupt_bytes_inside_an_array_file_are_noticed(tmp_path, kind, message):
    # Large and random, so that the middle of the file lies in the pixels.
    path = write(tmp_path, kind, np.random.default_rng(2).integers(0, 256, (200, 8, 8), np.uint8))
    corrupt(path)
    with pytest.raises(ValueError, match=message):
        read_grey(path)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_pickles_are_never_loaded(tmp_path, kind):
    objects = np.empty((3, 8, 8), object)
    path = write(tmp_path, kind, objects)
    with pytest.raises(ValueError, match="Python objects, which are never unpickled"):
        read_grey(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_empty_arrays_are_refused(tmp_path, kind):
    array = np.empty((0, 8, 8), np.uint8)
    path = tmp_path / f"set.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["images"] = array
    else:
        path = write(tmp_path, kind, array)
    with pytest.raises(ValueError, match=r"\(0, 8, 8\) holds no images"):
        read_grey(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_bad_values_are_found_at_the_door_with_file_and_image(tmp_path, kind):
    array = GREY.astype(np.float32)
    array[7, 2, 3] = np.nan
    with pytest.raises(ValueError, match=rf"set\.{kind}.*image 7 holds nan at \(2, 3\)"):
        read_grey(write(tmp_path, kind, array))
