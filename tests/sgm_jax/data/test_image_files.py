"""Picture files arrive with the values that are stored in them, or are refused."""

import numpy as np
import pytest
from PIL import Image

from tests.image_files import COLOUR, GREY, everything, read_grey
from tests.picture_files import tiff, wide_png


def saved(folder, images, suffix, mode=None):
    folder.mkdir()
    for i, array in enumerate(images):
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(folder / f"image_{i}{suffix}")
    return folder


def written(folder, contents, suffix):
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"image_{i}{suffix}").write_bytes(content)
    return folder


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_grey_however_it_is_saved(tmp_path, suffix, mode, channels):
    images = read_grey(saved(tmp_path / "set", GREY, suffix, mode), num_channels=channels)
    np.testing.assert_array_equal(everything(images), np.stack([GREY] * channels, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_planes_are_kept_as_planes(tmp_path, suffix):
    folder = saved(tmp_path / "set", COLOUR, suffix)
    with pytest.raises(ValueError, match=r"3 channels differ.*planes=True"):
        read_grey(folder)
    images = read_grey(folder, num_channels=3, planes=True)
    np.testing.assert_array_equal(everything(images), COLOUR)
    for plane in range(3):
        images = read_grey(folder, plane=plane)
        np.testing.assert_array_equal(everything(images)[..., 0], COLOUR[..., plane])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparent_pixels_are_refused(tmp_path, mode, suffix):
    folder = saved(tmp_path / "set", GREY, suffix, mode)
    with Image.open(folder / f"image_7{suffix}") as image:
        image.putpixel((3, 2), (*[9] * (len(mode) - 1), 254))
        image.save(folder / f"image_7{suffix}")
    with pytest.raises(ValueError, match=rf"image_7\{suffix}: some pixels are transparent"):
        read_grey(folder)


def test_a_transparent_colour_of_a_png_is_refused_where_it_is_used(tmp_path):
    (tmp_path / "set").mkdir()
    grey = np.where(GREY == 17, 18, GREY)
    for name, image in (("a", grey[0]), ("b", grey[1])):
        Image.fromarray(image).save(tmp_path / f"set/{name}.png", transparency=17)
    np.testing.assert_array_equal(everything(read_grey(tmp_path / "set"))[..., 0], grey[:2])
    grey[1, 4, 4] = 17
    Image.fromarray(grey[1]).save(tmp_path / "set/b.png", transparency=17)
    with pytest.raises(ValueError, match=r"b\.png: some pixels are transparent"):
        read_grey(tmp_path / "set")


ADC = GREY.astype(np.int64) * 16 + 3


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_in_several_channels_of_a_png_are_never_cut_to_eight(tmp_path, channels):
    array = np.repeat(ADC[..., None], channels, axis=-1)
    folder = written(tmp_path / "set", [wide_png(image) for image in array], ".png")
    with pytest.raises(ValueError, match=r"image_0\.png: 16 bits a channel.*\.npy"):
        read_grey(folder, num_channels=3, scaling="per_image")


def test_sixteen_bits_in_several_channels_of_a_tiff_are_never_cut_to_eight(tmp_path):
    array = np.repeat(ADC[..., None], 3, axis=-1).astype(np.uint16)
    folder = written(tmp_path / "set", [tiff(image) for image in array], ".tif")
    with pytest.raises(ValueError, match=r"image_0\.tif: 16 bits a channel.*\.npy"):
        read_grey(folder, num_channels=3, scaling="per_image")


def test_sixteen_bit_grey_pngs_keep_their_values(tmp_path):
    folder = written(tmp_path / "set", [wide_png(image[..., None]) for image in ADC], ".png")
    scaled = everything(read_grey(folder, scaling="fixed:4095"))[..., 0]
    np.testing.assert_allclose(scaled, ADC * (255 / 4095), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", "<u4", "<i4", ">i4", "<f4", ">f4"])
def test_tiffs_keep_their_values(tmp_path, dtype):
    array = ADC - (20 if "u" not in dtype else 0)
    # More than a signed number of this size can hold.
    array = array + np.where(ADC > 4000, 2**31, 0) if dtype[1:] == "u4" else array
    folder = written(tmp_path / "set", [tiff(image.astype(dtype)) for image in array], ".tif")
    full = float(array.max())
    scaled = everything(read_grey(folder, scaling=f"fixed:{full}"))[..., 0]
    np.testing.assert_allclose(scaled, np.maximum(array, 0) * (255 / full), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(GREY[0], white_is_zero=True), "white as 0"),
        (tiff(ADC[0].astype(np.uint16), white_is_zero=True), "white as 0"),
        (tiff(GREY[0].astype(np.int8)), "8-bit values with a sign"),
        (tiff(ADC[0].astype(np.float64)), "does not read"),
        (tiff(ADC[0].astype(">u4")), "does not read"),
        (tiff(ADC[0].astype(np.uint16))[:150], "does not read"),
    ],
)
def test_tiffs_whose_values_would_change_are_refused(tmp_path, content, message):
    for path in (written(tmp_path / "set", [content], ".tif"), tmp_path / "set/image_0.tif"):
        with pytest.raises(ValueError, match=rf"image_0\.tif: .*{message}"):
            read_grey(path, scaling="per_image")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_pages_of_a_tiff_are_images(tmp_path, compression):
    pages = [Image.fromarray(image.astype(np.uint16)) for image in ADC]
    options = {"compression": compression} if compression else {}
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:], **options)
    scaled = everything(read_grey(tmp_path / "stack.tif", scaling="fixed:4095"))[..., 0]
    np.testing.assert_allclose(scaled, ADC * (255 / 4095), rtol=1e-6)
    # Among single images a stack would be read in part.
    with pytest.raises(ValueError, match=r"stack\.tif: 12 pages"):
        read_grey(tmp_path, scaling="fixed:4095")
    with pytest.raises(ValueError, match="remove ::images"):
        read_grey(f"{tmp_path}/stack.tif::images")


def test_pages_that_differ_are_refused(tmp_path):
    pages = [Image.fromarray(GREY[0]), Image.fromarray(GREY[1, :6])]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"page 1 of .*stack\.tif is 6x8 but page 0"):
        read_grey(tmp_path / "stack.tif", image_size=None)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_are_read_with_a_word_about_their_background(tmp_path, mode, caplog):
    flat = np.repeat(np.arange(10, 250, 20, dtype=np.uint8), 64).reshape(12, 8, 8)
    with caplog.at_level("WARNING"):
        images = read_grey(saved(tmp_path / "set", flat, ".jpg", mode))
    np.testing.assert_allclose(everything(images)[..., 0].astype(int), flat, atol=1)
    assert "JPEG" in caplog.text


def test_one_picture_is_no_set(tmp_path):
    folder = saved(tmp_path / "set", GREY, ".png")
    with pytest.raises(ValueError, match=r"image_3\.png is one image; give the folder"):
        read_grey(folder / "image_3.png")
