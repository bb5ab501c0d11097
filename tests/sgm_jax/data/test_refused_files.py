"""Every bad file is refused with a clear message."""

import struct
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.image_files import COLOUR, FORMATS, GREY, read_grey, write, write_pngs


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        read_grey(tmp_path / "nowhere.npz")


def test_an_empty_folder_points_to_the_folders_inside(tmp_path):
    write_pngs(tmp_path / "larcv_png_64", GREY)
    with pytest.raises(ValueError, match=r"no \*\.png.*larcv_png_64"):
        read_grey(tmp_path)


def test_unknown_extensions_are_refused(tmp_path):
    (tmp_path / "events.dat").write_bytes(b"charge")
    with pytest.raises(ValueError, match=r"unknown extension '\.dat'.*\.npy"):
        read_grey(tmp_path / "events.dat")


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
    with pytest.raises(ValueError, match=r"8x8 .*image_size is 64.*image_size=8\b"):
        read_grey(path, image_size=64)


@pytest.mark.parametrize("kind", FORMATS)
def test_colour_where_grey_is_asked_is_refused(tmp_path, kind):
    path = write(tmp_path, kind, COLOUR)
    with pytest.raises(ValueError, match=r"3 channels differ.*--config\.data\.planes=True"):
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
