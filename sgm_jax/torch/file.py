"""PyTorch files to nested numpy arrays and back; no code from a file is run.

Needs the extra ``torch``; nothing else in the package does.
"""

import contextlib
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sgm_jax.run.files import atomic_write

# What pickles of numpy's scalars call, in files written with numpy 2 and with numpy 1.
_SCALAR_NAMES = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")


def read_torch_file(path: Path) -> Any:
    """Return what ``torch.save`` wrote, with arrays in memory in place of tensors.

    Only tensors, numbers and containers are built (``weights_only``); numpy's scalars, which
    score_sde_pytorch leaves in its optimiser, are let in by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed, with the fix.
        ValueError: if the file is damaged, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no PyTorch file {path}")
    torch = _import_torch(path)
    with _explained(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unusual pickles, which raise if they matter
        _check_packing(path)
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
        return _map_leaves(content, torch.Tensor, _to_numpy)


def write_torch_file(path: Path, content: Any) -> None:
    """Write nested containers with tensors in place of arrays, whole or not at all.

    Raises:
        ImportError: if PyTorch is not installed, with the fix.
    """
    torch = _import_torch(path)
    # Copies: torch does not take arrays that may not be written to.
    tensors = _map_leaves(content, np.ndarray, lambda array: torch.from_numpy(np.array(array)))
    with atomic_write(path) as stream:
        torch.save(tensors, stream)


def _check_packing(path: Path) -> None:
    """Refuse an archive larger unpacked than packed: ``torch.save`` does not compress."""
    if not zipfile.is_zipfile(path):
        return  # the format before 2020
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"{unpacked} bytes are packed in {path.stat().st_size}")


def _to_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor's numbers; refuse one that uses the same stored number more than once."""
    needed = tensor.numel() * tensor.element_size()
    if needed > tensor.untyped_storage().nbytes():
        shape, held = tuple(tensor.shape), tensor.untyped_storage().nbytes()
        raise ValueError(f"a tensor of {shape} has {held} bytes of {needed}")
    # numpy has no bfloat16; float32 holds the same numbers.
    wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    return wide.detach().numpy()


def _import_torch(path: Path) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: PyTorch files need an extra: pip install 'sgm_jax[torch]'"
        ) from error
    return torch


def _numpy_scalars() -> list[Any]:
    """Return the functions and types that build numpy's numbers, for PyTorch's allow-list."""
    kinds = (np.float64, np.float32, np.int64, np.int32)
    build = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(kind)) for kind in kinds]
    return [*((build, name) for name in _SCALAR_NAMES), np.dtype, *types]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Name the file that cannot be read, and the reason."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: this is no PyTorch file, or it is damaged, or holds more than weights; "
            "code in a file is never run"
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        first = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(
            f"{path}: no PyTorch file, or a damaged one ({type(error).__name__}: {first}); "
            "get it again"
        ) from error


def _map_leaves(content: Any, kind: type, function: Any) -> Any:
    """Apply a function to the leaves of a type within dictionaries, lists and tuples."""
    if isinstance(content, kind):
        return function(content)
    if isinstance(content, dict):
        return type(content)((k, _map_leaves(v, kind, function)) for k, v in content.items())
    if isinstance(content, list | tuple):
        return type(content)(_map_leaves(item, kind, function) for item in content)
    return content


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors in the ``state`` of a published SSNet (uresnet_pytorch) checkpoint.

    A file that is nothing but such a state is read as well.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed, with the fix.
        ValueError: if the file is damaged, holds anything but weights, or has no tensors.
    """
    content = read_torch_file(path)
    state = content.get("state", content) if isinstance(content, dict) else {}
    tensors = {str(name): leaf for name, leaf in state.items() if isinstance(leaf, np.ndarray)}
    if not tensors:
        raise ValueError(f"{path}: holds no weights; expected a dict with the tensors in 'state'")
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
