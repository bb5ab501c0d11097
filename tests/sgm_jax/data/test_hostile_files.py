"""Files made to do harm, and files damaged at random: read, or refused by name, and harmless."""

import os
import zlib

import h5py
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sgm_jax.data import open_images
from tests.hostile import bounded, edited, edits, harmless, read_or_refused
from tests.hostile_files import GREY, HDF5, NPY, NPZ, PNG, made, npy, npz, png, png_chunk
from tests.larcv3_files import write_larcv3

# Of the same search, more where there is time.
EXAMPLES = [60, pytest.param(500, marks=pytest.mark.slow)]


def read(path):
    return open_images(path, num_channels=1, image_size=None)[0:2]


REFUSED = [
    (kind, name)
    for kind, corpus in (("npy", NPY), ("npz", NPZ), ("h5", HDF5), ("png", PNG))
    for name in corpus
    if name != "an animation"
]


@pytest.mark.parametrize(("kind", "name"), REFUSED, ids=lambda text: text.replace(" ", "_"))
def test_a_file_made_to_do_harm_is_refused_by_name(tmp_path, monkeypatch, kind, name):
    path = made(tmp_path, kind, name)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with harmless(tmp_path, megabytes=80), pytest.raises(ValueError) as refusal:
        read(path)
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 2000
    assert sorted(tmp_path.rglob("*")) == before


def test_of_an_animation_the_first_image_is_read(tmp_path):
    path = made(tmp_path, "png", "an animation")
    with harmless(tmp_path, megabytes=80):
        assert read(path).shape == (1, 8, 8, 1)


def test_paths_inside_an_archive_name_arrays_and_no_files(tmp_path):
    npz(tmp_path / "set.npz", "../../images.npy")
    with harmless(tmp_path, megabytes=8):
        np.testing.assert_array_equal(read(tmp_path / "set.npz")[..., 0], GREY[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_a_folder_of_small_files_with_many_pixels_is_read_a_few_at_a_time(tmp_path):
    side, count = 1024, 120
    pixels = zlib.compress(bytes(side * (side + 1)))
    for i in range(count):
        content = png(side, side, data=b"").replace(
            png_chunk(b"IDAT", zlib.compress(b"", 9)), png_chunk(b"IDAT", pixels)
        )
        (tmp_path / f"image_{i}.png").write_bytes(content)
    with harmless(tmp_path, megabytes=80):  # all at once they are 126
        read(tmp_path)


def test_what_is_neither_file_nor_folder_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    os.mkfifo(tmp_path / "folder/image.png")
    for path, message in (
        (tmp_path / "pipe.npy", "neither a file nor a folder"),
        (tmp_path / "folder", "image.png: not a file"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path)


def sound_files(folder):
    """Write one set in every format; return the files and what to open."""
    np.save(folder / "set.npy", GREY)
    np.savez(folder / "plain.npz", images=GREY)
    np.savez_compressed(folder / "set.npz", images=GREY)
    for name, options in (("set.h5", {"compression": "gzip", "shuffle": True}), ("plain.h5", {})):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("train/images", data=GREY, **options)
    with uproot.recreate(folder / "set.root") as file:
        file.mktree("events", {"adc": np.dtype((GREY.dtype, GREY.shape[1:]))})
        file["events"].extend({"adc": GREY})
    write_larcv3(folder / "larcv3.h5", "sparse2d", GREY[:, None])
    (folder / "png").mkdir()
    Image.fromarray(GREY[0]).save(folder / "png/image_0.png")
    Image.fromarray(GREY[0]).save(folder / "plain.tif")
    Image.fromarray(GREY[0]).save(folder / "set.tif", compression="tiff_lzw")
    (folder / "jpg").mkdir()
    Image.fromarray(GREY[0]).save(folder / "jpg/image_0.jpg")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: (path, path.parent if path.parent != folder else path) for path in files}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged tags
@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize(
    "name",
    [
        "set.npy",
        "plain.npz",
        "set.npz",
        "set.h5",
        "plain.h5",
        "larcv3.h5",
        "set.root",
        "image_0.png",
        "image_0.jpg",
        "plain.tif",
        "set.tif",
    ],
)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, name, examples):
    path, opened = sound_files(tmp_path)[name]
    sound = path.read_bytes()
    assert read(opened).shape[1:] == (8, 8, 1)

    @bounded(examples)
    @given(changes=edits())
    def check(changes):
        path.write_bytes(edited(sound, changes))
        with harmless(tmp_path, megabytes=80), read_or_refused(path):
            read(opened)

    check()


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text("<>|uifOVSUc1248'", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_header_of_an_npy_file_is_read_or_refused_by_name(tmp_path, examples):
    path = tmp_path / "set.npy"

    @bounded(examples)
    @given(
        descr=LITERALS | st.sampled_from(["<f4", ">u2", "|b1", "<c8", "<m8[s]"]),
        shape=LITERALS | st.lists(st.integers(-1, 2**65), max_size=5).map(tuple),
        order=st.booleans() | LITERALS,
        version=st.sampled_from([1, 2]),
    )
    def check(descr, shape, order, version):
        text = repr({"descr": descr, "fortran_order": order, "shape": shape})
        npy(path, text, version, content=bytes(512))
        with harmless(tmp_path, megabytes=80), read_or_refused(path):
            read(path)

    check()
