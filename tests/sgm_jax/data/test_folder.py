"""A folder is read whole, or not at all; what is left out is said."""

import numpy as np
import pytest
from PIL import Image

from sgm_jax.data.folder import picture_files
from tests.image_files import GREY, everything, read_grey, write_pngs


def pictures(folder, images, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"image_{i}{suffix}")
    return folder


def sampled(folder, images):
    """Write what --mode=sample does."""
    folder.mkdir(parents=True)
    np.savez(folder / "samples.npz", samples=images[..., None], raw=images[..., None] * 1.0)
    Image.fromarray(np.zeros((400, 400), np.uint8)).save(folder / "grid.png")
    (folder / "recipe.json").write_text("{}")
    return folder


def run(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_files_come_in_natural_order_without_hidden_ones(tmp_path):
    names = ["larcv_64_10.png", "larcv_64_2.PNG", "b.png", "larcv_64_1.png", "._a.png", "x.txt"]
    for name in names:
        (tmp_path / name).touch()
    found = [path.name for path in picture_files(tmp_path, inner=False)]
    assert found == ["b.png", "larcv_64_1.png", "larcv_64_2.PNG", "larcv_64_10.png"]


def test_class_folders_beside_a_stray_image_are_refused_and_read_on_request(tmp_path):
    pictures(tmp_path, GREY[:1])
    for k, name in enumerate(("shower", "track_2", "track_10")):
        pictures(tmp_path / name, GREY[1 + 3 * k : 4 + 3 * k])
    with pytest.raises(ValueError, match=r"1 PNG files beside folders.*shower.*/\*\*"):
        read_grey(tmp_path)
    # The stray file is image_0.png, before the folders; these are in natural order.
    np.testing.assert_array_equal(everything(read_grey(f"{tmp_path}/**"))[..., 0], GREY[:10])


def test_a_folder_of_folders_says_how_to_read_them(tmp_path):
    pictures(tmp_path / "track", GREY)
    with pytest.raises(ValueError, match=r"no \*\.png.*track.*/\*\*"):
        read_grey(tmp_path)
    np.testing.assert_array_equal(everything(read_grey(f"{tmp_path}/**"))[..., 0], GREY)


def test_linked_folders_are_read_and_circles_end(tmp_path):
    pictures(tmp_path / "elsewhere", GREY[:4])
    pictures(tmp_path / "set" / "a", GREY[4:])
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    images = everything(read_grey(f"{tmp_path}/set/**"))[..., 0]
    np.testing.assert_array_equal(images, np.concatenate([GREY[4:], GREY[:4]]))


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
@pytest.mark.parametrize("inner", ["", "/**"])
def test_several_kinds_of_images_are_refused_with_their_counts(tmp_path, suffix, inner):
    pictures(tmp_path, GREY)
    pictures(tmp_path, GREY[:5], suffix)
    kind = {".tif": "TIFF", ".jpg": "JPEG"}[suffix]
    with pytest.raises(ValueError, match=rf"(12 PNG and 5 {kind}|5 {kind} and 12 PNG)"):
        read_grey(f"{tmp_path}{inner}")


@pytest.mark.parametrize("name", ["images.npy", "more.h5", "events.root"])
def test_arrays_beside_images_are_refused(tmp_path, name):
    pictures(tmp_path, GREY)
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"12 PNG files beside .*{name}"):
        read_grey(tmp_path)


def test_a_folder_of_arrays_names_them(tmp_path):
    np.save(tmp_path / "images.npy", GREY)
    with pytest.raises(ValueError, match=r"no \*\.png.*give .*images\.npy"):
        read_grey(tmp_path)


def test_what_is_left_out_is_said(tmp_path, caplog):
    pictures(tmp_path, GREY)
    Image.fromarray(np.zeros((400, 400), np.uint8)).save(tmp_path / "grid.png")
    (tmp_path / "notes.txt").touch()
    with caplog.at_level("INFO"):
        images = read_grey(tmp_path)
    np.testing.assert_array_equal(everything(images)[..., 0], GREY)
    assert "left out: grid.png, notes.txt" in caplog.text


def test_a_sample_folder_is_read_as_its_samples(tmp_path):
    folder = sampled(tmp_path / "drawn", GREY)
    np.testing.assert_array_equal(everything(read_grey(folder))[..., 0], GREY)
    raw = read_grey(f"{folder}::raw")
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(everything(raw)[..., 0], GREY)


def test_unfinished_samples_are_refused(tmp_path):
    folder = tmp_path / "drawn"
    (folder / "parts").mkdir(parents=True)
    np.save(folder / "parts" / "000000000.npy", GREY)
    with pytest.raises(ValueError, match="unfinished"):
        read_grey(folder)


@pytest.mark.parametrize("place", ["", "samples"])
def test_grids_and_plots_of_a_training_are_no_images(tmp_path, place):
    folder = run(tmp_path / "run")
    pictures(folder, GREY)
    pictures(folder / "samples", GREY)
    with pytest.raises(ValueError, match="--mode=sample"):
        read_grey(folder / place)
    drawn = sampled(folder / "samples" / "step_000004", GREY)
    with pytest.raises(ValueError, match=rf"give {drawn}"):
        read_grey(folder / place)
    np.testing.assert_array_equal(everything(read_grey(drawn))[..., 0], GREY)


def test_figures_of_a_report_are_no_images(tmp_path):
    pictures(tmp_path, GREY)
    (tmp_path / "report.html").touch()
    with pytest.raises(ValueError, match="a report"):
        read_grey(tmp_path)


def test_other_patterns_and_members_are_refused(tmp_path):
    folder = write_pngs(tmp_path / "set", GREY)
    np.save(tmp_path / "set.npy", GREY)
    with pytest.raises(FileNotFoundError, match=r"only FOLDER/\*\*"):
        read_grey(f"{folder}/*.png")
    with pytest.raises(ValueError, match=r"remove /\*\*"):
        read_grey(f"{tmp_path}/set.npy/**")
    with pytest.raises(ValueError, match="remove ::images"):
        read_grey(f"{folder}/**::images")
