"""Small sets of images, written in every format that is read."""

import h5py
import numpy as np
from PIL import Image

from sgm_jax.data import open_images

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
