"""Do weights from a file fit SSNet? Asked before anything large is read or built."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.ssnet import SSNet

# Far beyond the published 16 filters and 4 strides; a file could ask for a network of any size.
_MOST = {"filters": 1024, "num_strides": 8, "num_classes": 100}


def sized_network(normalisation: str, *, filters: int, num_strides: int, num_classes: int) -> SSNet:
    """Return a network, unless it is one that nobody could have trained.

    Raises:
        ValueError: with the number that is out of bounds.
    """
    size = {"filters": filters, "num_strides": num_strides, "num_classes": num_classes}
    for name, value in size.items():
        if type(value) is not int or not 1 <= value <= _MOST[name]:
            raise ValueError(f"{name} is {value!r}; it lies in 1..{_MOST[name]}")
    return SSNet(normalisation, **size)


def shape_problems(arrays: Mapping[str, Any], shapes: Mapping[str, tuple]) -> list[str]:
    """Return which arrays are missing, unexpected or of another shape; no number is looked at."""
    problems = [f"missing: {name}" for name in sorted(shapes.keys() - arrays.keys())]
    for name in sorted(arrays):
        shape = arrays[name].shape
        if name not in shapes:
            problems.append(f"unexpected: {name} {shape}")
        elif shape != shapes[name]:
            problems.append(f"shape: {name} is {shape} in our layout, not {shapes[name]}")
    return problems


def number_problems(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return which arrays hold anything but finite numbers."""
    return [
        f"not finite: {name}"
        for name, array in sorted(arrays.items())
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all()
    ]


def refuse(problems: list[str], source: str) -> None:
    """Refuse the weights of a source with all that is wrong with them, if anything is.

    Raises:
        ValueError: with one line for each problem.
    """
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"{source}: the weights do not fit the network:\n  {listed}")
