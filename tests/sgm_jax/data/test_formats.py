"""Any supported format that holds the same images gives the same batches."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from sgm_jax.data import open_images
from sgm_jax.data.batches import Batches
from tests.hostile import bounded
from tests.larcv3_files import write_larcv3

EXAMPLES = [25, pytest.param(300, marks=pytest.mark.slow)]


def folder(path, images, suffix):
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"image_{i}{suffix}")
    return path


def pages(path, images):
    first, *others = [Image.fromarray(image) for image in images]
    first.save(path, save_all=True, append_images=others)
    return path


def hdf5(path, images):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "images", data=images, compression="gzip", chunks=(1, *images.shape[1:])
        )
    return path


def npy(path, images):
    np.save(path, images)
    return path


def npz(path, images):
    np.savez_compressed(path, images=images)
    return path


def root(path, images, name="events/adc"):
    """Write a TTree with a branch of rows and columns."""
    tree, _, branch = name.rpartition("/")
    with uproot.recreate(path) as file:
        file.mktree(tree, {branch: np.dtype((images.dtype, images.shape[1:]))})
        file[tree].extend({branch: images})
    return path


def rntuple(path, images):
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"adc": images.reshape(len(images), -1).astype(np.float32)})
    return path


WRITERS = {
    "PNG": lambda at, images: folder(at / "png", images, ".png"),
    "TIFF": lambda at, images: folder(at / "tif", images, ".tif"),
    "TIFF pages": lambda at, images: pages(at / "set.tif", images),
    "npy": lambda at, images: npy(at / "set.npy", images),
    "npy of float64": lambda at, images: npy(at / "set64.npy", images.astype(np.float64)),
    "npz": lambda at, images: npz(at / "set.npz", images),
    "HDF5": lambda at, images: hdf5(at / "set.h5", images),
    "ROOT tree": lambda at, images: root(at / "set.root", images),
    "ROOT RNTuple": lambda at, images: rntuple(at / "ntuple.root", images),
    "larcv3 sparse": lambda at, images: write_larcv3(at / "sparse.h5", "sparse2d", images[:, None]),
    "larcv3 dense": lambda at, images: write_larcv3(at / "dense.h5", "image2d", images[:, None]),
}
SHAPES = st.tuples(st.integers(1, 7), st.integers(8, 11)).map(lambda s: (s[0], s[1], s[1]))


@st.composite
def sets(draw):
    """Draw images and a scaling that their values allow: 8 bits as they are, or 12 bits of ADC."""
    bits = draw(st.sampled_from([8, 12]))
    dtype, largest = (np.uint8, 255) if bits == 8 else (np.uint16, 4095)
    images = draw(arrays.arrays(dtype, SHAPES, elements=st.integers(0, largest), fill=st.just(0)))
    scalings = ["per_image", "quantile", "fixed:3000"] + (["none"] if bits == 8 else [])
    return images, draw(st.sampled_from(scalings))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of images as faint as may be drawn
@pytest.mark.parametrize("examples", EXAMPLES)
def test_every_format_gives_the_same_batches(examples):
    @bounded(examples)
    @given(drawn=sets(), channels=st.sampled_from([1, 3]), step=st.integers(0, 9))
    def check(drawn, channels, step):
        images, scaling = drawn
        reference = None
        for name, write in WRITERS.items():
            with tempfile.TemporaryDirectory() as place:
                opened = open_images(
                    write(Path(place), images),
                    num_channels=channels,
                    image_size=images.shape[1],
                    scaling=scaling,
                )
                batches = Batches(opened, batch_size=4, seed=3, random_flip=True, scale=None)
                batch = batches.at(step)
            if reference is None:
                reference = opened.fingerprint, batch
            assert opened.fingerprint == reference[0], name
            for key, value in batch.items():
                assert value.dtype == reference[1][key].dtype, name
                np.testing.assert_array_equal(value, reference[1][key], err_msg=name)

    check()
