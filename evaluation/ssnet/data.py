"""Labelled images for SSNet: the simulation's PNG folders and pixel truth, in seeded batches."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from evaluation.ssnet.network import BACKGROUND, SHOWER, TRACK, Array
from sgm_jax.data import Images, from_array, open_images
from sgm_jax.data.hdf5 import read_hdf5

# Simulated codes: background, shower, track, Michel electron, delta electron. The last two are
# electromagnetic: showers.
_CLASS_OF_CODE = np.array([BACKGROUND, SHOWER, TRACK, SHOWER, SHOWER], np.uint8)
_CHECK_ROWS = 1024


class LabelledImages(NamedTuple):
    """Images and the class of each of their pixels."""

    images: Images
    labels: np.ndarray  # [N, H, W] uint8


def open_labelled(path: str, labels_path: str, *, split: str, image_size: int) -> LabelledImages:
    """Open images and the truth of their pixels, and check one against the other.

    Args:
        path: of the images, as for :func:`sgm_jax.data.open_images`.
        labels_path: HDF5 file with ``<split>/pixel_label [N, H, W]``, as the simulation writes it.
        split: which group of it, ``train`` or ``test``.
        image_size: height and width.

    Raises:
        FileNotFoundError: if either is not there.
        ValueError: if they do not belong together.
    """
    images = open_images(path, num_channels=1, image_size=image_size)
    codes = _read_codes(Path(labels_path), split)
    if codes.shape != images.shape[:3]:
        raise ValueError(
            f"{labels_path}::{split}/pixel_label is {codes.shape} and {path} holds "
            f"{images.shape[:3]}; give the labels that were made with the images"
        )
    if codes.max() >= len(_CLASS_OF_CODE):
        raise ValueError(
            f"{labels_path}: pixel label {codes.max()}; known are 0..{len(_CLASS_OF_CODE) - 1}"
        )
    for start in range(0, len(images), _CHECK_ROWS):
        rows = slice(start, start + _CHECK_ROWS)
        wrong = ((images[rows][..., 0] > 0) != (codes[rows] > 0)).any(axis=(1, 2))
        if wrong.any():
            raise ValueError(
                f"{labels_path}: image {start + int(wrong.argmax())} of {path} has lit pixels "
                "without a label or labels without charge; are these the labels of these images?"
            )
    return LabelledImages(images, _CLASS_OF_CODE[codes])


def _read_codes(path: Path, split: str) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f"no label file {path}; simulate images, 'python -m sgm_jax.main --mode=simulate', "
            "and set --config.data.labels_path"
        )
    return read_hdf5(path, member=f"{split}/pixel_label")[:]


def open_training(data: ml_collections.ConfigDict) -> LabelledImages:
    """Open the images to train on: ``data.train_path``, then those of ``data.further_sets``.

    Raises:
        FileNotFoundError: if one is not there.
        ValueError: if images and labels do not belong together.
    """
    side = data.image_size
    further = [
        (f"{folder}/train/larcv_png_{side}", f"{folder}/labels.h5") for folder in data.further_sets
    ]
    parts = [
        open_labelled(images, labels, split="train", image_size=side)
        for images, labels in [(data.train_path, data.labels_path), *further]
    ]
    if len(parts) == 1:
        return parts[0]
    images, labels = zip(*parts, strict=True)
    pixels = np.concatenate([part[:] for part in images])  # as labels are, all in memory
    joined = from_array(pixels, num_channels=1, image_size=side, source="training sets")
    return LabelledImages(joined, np.concatenate(labels))


def augment(key: Array, image: Array, label: Array, *, brightness: float) -> tuple[Array, Array]:
    """Draw one of the eight symmetries of a square and a brightness for an image ``[H, W, 1]``.

    The label ``[H, W]`` is turned with it. The charge of all pixels is scaled by one factor uniform
    in ``1 +- brightness``.
    """
    turn, scale = jax.random.split(key)
    transpose, down, right = jax.random.bernoulli(turn, shape=(3,))

    def turned(x: Array) -> Array:
        x = jnp.where(transpose, x.swapaxes(0, 1), x)
        x = jnp.where(down, x[::-1], x)
        return jnp.where(right, x[:, ::-1], x)

    factor = jax.random.uniform(scale, minval=1.0 - brightness, maxval=1.0 + brightness)
    return turned(image) * factor, turned(label)
