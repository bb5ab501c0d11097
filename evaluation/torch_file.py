"""The tensors of a published SSNet checkpoint; no code from the file is run."""

from pathlib import Path

import numpy as np

from sgm_jax.torch_file import read_torch_file


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the ``state`` of a uresnet_pytorch checkpoint, or of a bare one.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed, with the fix.
        ValueError: if the file is damaged, holds anything but weights, or has no tensors.
    """
    content = read_torch_file(path)
    state = content.get("state", content) if isinstance(content, dict) else {}
    tensors = {str(name): one for name, one in state.items() if isinstance(one, np.ndarray)}
    if not tensors:
        raise ValueError(f"{path}: holds no weights; expected a dict with the tensors in 'state'")
    return {name: one.astype(np.float32) for name, one in tensors.items()}
