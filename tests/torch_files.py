"""Read ``.pth`` files without PyTorch: a zip of raw storages and a pickle that names them."""

import codecs
import pickle
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np

_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8"}


def _rebuild_tensor(storage, offset, size, stride, *_unused) -> np.ndarray:
    start = storage[offset:]
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(start, size, strides).copy()


def _scalar(dtype: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused: text encoded as {encoding}")
    return codecs.encode(text, encoding)


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("numpy", "dtype"): np.dtype,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}
_ALLOWED |= {("torch", name): name for name in _STORAGES}


class _Unpickler(pickle.Unpickler):
    """Build only tensors, numbers and containers: a pickle can otherwise run any code."""

    def __init__(self, file, read_storage):
        super().__init__(file)
        self.read_storage = read_storage

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused: {module}.{name} is no tensor or number")
        return _ALLOWED[module, name]

    def persistent_load(self, pid):
        kind, storage, key, _device, count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"refused: a persistent {kind!r}")
        return np.frombuffer(self.read_storage(key), _STORAGES[storage], count)


def read_torch_file(path: Path) -> dict:
    """Return what ``torch.save`` wrote, with arrays in place of tensors."""
    with zipfile.ZipFile(path) as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        read_storage = partial(_read_member, archive, folder + "data/")
        with archive.open(index) as file:
            return _Unpickler(file, read_storage).load()


def _read_member(archive: zipfile.ZipFile, folder: str, key: str) -> bytes:
    return archive.read(folder + key)
