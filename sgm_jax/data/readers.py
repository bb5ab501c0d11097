"""Images in: a folder of PNG files, .npy, .npz, HDF5 or ROOT, checked completely at the door."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data.arrays import read_npy, read_npz
from sgm_jax.data.hdf5 import read_hdf5
from sgm_jax.data.images import Images, from_array
from sgm_jax.data.png import read_png_folder
from sgm_jax.data.root import read_root
from sgm_jax.run.address import refuse_address

_READERS = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".root": read_root,
}


def open_images(
    path: str | PathLike[str],
    *,
    num_channels: int,
    image_size: int | None,
    scaling: str = "none",
    planes: bool = False,
    plane: int | None = None,
    mask: np.ndarray | None = None,
) -> Images:
    """Open a set of images for reading on demand; sets larger than the memory are fine.

    A .npy file is mapped and HDF5 is read by rows; a .npz file and a PNG folder (in natural order
    of the file names) are unpacked once to a temporary file in ``$TMPDIR``. Of several arrays in a
    file the one named ``images``, else ``samples``, else the only one of rank 3 or 4 is taken;
    ``FILE.npz::NAME`` and ``FILE.h5::GROUP/NAME`` choose another. Shuffled reading of a compressed
    HDF5 file unpacks a whole chunk for each image: write it with chunks of one image. Events of
    larcv3 are made into images as they are read; a ROOT file is unpacked once (`read_root`).

    Args:
        path: folder of ``*.png`` files, or a .npy, .npz, .h5, .hdf5 or .root file.
        num_channels: 1 or 3; grey images are repeated into 3 channels.
        image_size: height and width that the images must have; None takes any.
        scaling: ``"none"``, ``"per_image"``, ``"quantile"`` or ``"fixed:FULL"``, see
            `sgm_jax.data.scaling.Scaling`.
        planes: keep three channels that differ, see `sgm_jax.data.images.from_array`.
        plane: take one of three channels, 0 to 2, as grey.
        mask: of the pixels that are read, see there; the others may hold anything.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: an unreadable file, or images that are not what was asked for.
    """
    refuse_address(path, "the set of images")
    name, _, member = str(path).partition("::")
    stored = _open_stored(Path(name).expanduser(), member or None, image_size)
    return from_array(
        stored,
        num_channels=num_channels,
        image_size=image_size,
        scaling=scaling,
        planes=planes,
        plane=plane,
        source=str(path),
        mask=mask,
    )


def _open_stored(path: Path, member: str | None, image_size: int | None) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {path} (working directory {Path.cwd()})")
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder; give one of the two")
    suffix = path.suffix.lower()
    if path.is_file() and suffix in _READERS:
        return _READERS[suffix](path, member=member)
    if path.is_file() and suffix != ".npy":
        raise ValueError(
            f"{path}: unknown extension {suffix!r}; give a .npy, .npz, .h5, .hdf5 or .root "
            "file or a folder of .png files"
        )
    if member:
        raise ValueError(f"{path} holds one set of images; remove ::{member} from the path")
    if path.is_dir():
        return read_png_folder(path, image_size=image_size)
    return read_npy(path)
