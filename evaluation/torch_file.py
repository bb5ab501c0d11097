"""A PyTorch checkpoint to numpy arrays, without running code from the file.

Needs the extra ``torch``; nothing else in the package does.
"""

import pickle
import struct
import warnings
from pathlib import Path

import numpy as np


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the ``state`` of a uresnet_pytorch checkpoint, or of a bare one.

    Only tensors, numbers and containers are built (``weights_only``); anything else is refused.
    Tensors saved on a GPU are read into memory.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed, with the fix.
        ValueError: if the file is damaged, holds anything but weights, or has no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}")
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: reading PyTorch files needs an extra: pip install 'sgm_jax[torch]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which raise if they matter
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, it is no PyTorch file, damaged, or holds more than weights; "
            "code in a file is never run"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, struct.error) as error:
        raise ValueError(
            f"{path}: damaged or truncated PyTorch file ({_first_line(error)}); download it again"
        ) from error
    state = content.get("state", content) if isinstance(content, dict) else {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path}: holds no weights; expected a dict with the tensors in 'state'")
    return {name: value.detach().to(torch.float32).numpy() for name, value in tensors.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
