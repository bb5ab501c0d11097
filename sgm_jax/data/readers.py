"""Images in: a folder of pictures, .npy, .npz, HDF5 or ROOT, checked completely at the door."""

import logging
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data.arrays import read_npy, read_npz
from sgm_jax.data.folder import KINDS, SAMPLES, picture_files
from sgm_jax.data.hdf5 import read_hdf5
from sgm_jax.data.image_files import read_pictures, read_tiff
from sgm_jax.data.images import Images, from_array
from sgm_jax.data.root import read_root
from sgm_jax.run.address import refuse_address

_LOGGER = logging.getLogger(__name__)
# At the end of a path: the folders in it, too.
_INNER = "/**"
_READERS = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".root": read_root,
    ".tif": read_tiff,
    ".tiff": read_tiff,
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

    A .npy file is mapped and HDF5 is read by rows; a .npz file and a folder of PNG, TIFF or JPEG
    files (in natural order of their names) are unpacked once to a temporary file in ``$TMPDIR``. Of
    several arrays in a file the one named ``images``, else ``samples``, else the only one of rank 3
    or 4 is taken; ``FILE.npz::NAME`` and ``FILE.h5::GROUP/NAME`` choose another. Shuffled reading
    of a compressed HDF5 file unpacks a whole chunk for each image: write it with chunks of one
    image. Events of larcv3 are made into images as they are read; a ROOT file is unpacked once
    (`read_root`).

    Args:
        path: folder of PNG, TIFF or JPEG files, ``FOLDER/**`` for those of all folders in it, a
            folder that sampling wrote, or a .npy, .npz, .h5, .hdf5, .root or .tif file.
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
    inner = name.endswith(_INNER)
    place = Path(name.removesuffix(_INNER) if inner else name).expanduser()
    stored = _open_stored(place, member or None, image_size, inner=inner)
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


def _open_stored(path: Path, member: str | None, image_size: int | None, *, inner: bool) -> Any:
    if not path.exists():
        hint = f"; of patterns, only FOLDER{_INNER} is known" if "*" in str(path) else ""
        raise FileNotFoundError(f"no file or folder {path} (working directory {Path.cwd()}){hint}")
    if path.is_dir():
        return _open_folder(path, member, image_size, inner=inner)
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder; give one of the two")
    if inner:
        raise ValueError(f"{path} is a file; remove {_INNER} from the path")
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix](path, member=member)
    if suffix in KINDS:
        raise ValueError(f"{path} is one image; give the folder that holds the images")
    if suffix != ".npy":
        raise ValueError(
            f"{path}: unknown extension {suffix!r}; give a .npy, .npz, .h5, .hdf5, .root or .tif "
            "file or a folder of .png, .tif or .jpg files"
        )
    _refuse_member(path, member)
    return read_npy(path)


def _open_folder(path: Path, member: str | None, image_size: int | None, *, inner: bool) -> Any:
    if (path / SAMPLES).is_file() and not inner:
        _LOGGER.info("%s: reading %s", path, SAMPLES)
        return read_npz(path / SAMPLES, member=member)
    _refuse_member(path, member)
    files = picture_files(path, inner=inner)
    return read_pictures(files, image_size=image_size, source=str(path))


def _refuse_member(path: Path, member: str | None) -> None:
    if member:
        raise ValueError(f"{path} holds one set of images; remove ::{member} from the path")
