"""Published PyTorch weights of score_sde to the parameters of ``NCSNpp``, by name and layout."""

import functools
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sgm_jax.models.ncsnpp import NCSNpp

# Layers of a block in the order in which PyTorch registers them.
_ORDER = ("GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", "Conv_2", "Conv2d_0")
_ORDER += ("NIN_0", "NIN_1", "NIN_2", "NIN_3")
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "W": "W"}


# Tracing a network takes a second, and every function here asks for it.
@functools.lru_cache(maxsize=8)
def _abstract_params(net: NCSNpp) -> dict:
    """Return the parameter tree of the network with shapes in place of arrays."""
    image = jnp.zeros((1, net.image_size, net.image_size, net.num_channels))
    return jax.eval_shape(net.init, jax.random.key(0), image, jnp.ones((1,)))["params"]


def _rank(path: tuple[str, ...]) -> tuple[int, int, bool]:
    """Sort a parameter as PyTorch lists it: by layer, by layer of the block, weight before bias."""
    inner = _ORDER.index(path[1]) if len(path) == 3 else 0
    return int(path[0][:3]), inner, path[-1] == "bias"


def _torch_name(path: tuple[str, ...]) -> str:
    leaf = _LEAVES[path[-1]]
    if path[-2].startswith("NIN"):
        leaf = {"weight": "W", "bias": "b"}[leaf]
    return ".".join(["all_modules", str(int(path[0][:3])), *path[1:-1], leaf])


def _from_layout(path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
    """Turn ``OIHW`` into ``HWIO`` and dense ``[out, in]`` into ``[in, out]``; NIN keeps its own."""
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    if tensor.ndim == 2 and not path[-2].startswith("NIN"):
        return tensor.T
    return tensor


def _to_layout(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return _from_layout(path, array)


def _ordered(tree: Mapping) -> list[tuple[str, ...]]:
    return sorted(flatten_dict(tree), key=_rank)


def torch_names(net: NCSNpp, *, frozen: bool = False) -> list[str]:
    """Return the names of the trainable tensors in the order of PyTorch's ``parameters()``.

    The exponential moving average of a published checkpoint is a list in this order, without names.
    The frozen Fourier frequencies are absent unless asked for. An unconditional network lists the
    time-embedding layers that PyTorch registers in every block, and never uses.
    """
    names = []
    for path in _ordered(_abstract_params(net)):
        if path[-1] == "W" and not frozen:
            continue
        name = _torch_name(path)
        names.append(name)
        if not net.conditional and name.endswith("Conv_0.bias") and path[0].endswith("_block"):
            names += [name.replace("Conv_0.bias", f"Dense_0.{leaf}") for leaf in ("weight", "bias")]
    return names


def to_torch(params: Mapping) -> dict[str, np.ndarray]:
    """Return parameters (or their gradients) under PyTorch's names, layouts and order."""
    leaves = flatten_dict(params)
    return {
        _torch_name(path): _to_layout(path, np.asarray(leaves[path])) for path in _ordered(params)
    }


def from_torch(state: Mapping[str, np.ndarray], net: NCSNpp) -> dict:
    """Return the parameters of ``net`` from the tensors of a score_sde state dictionary.

    Args:
        state: arrays named as in ``state_dict()``, with or without the ``module.`` prefix that
            parallel training leaves; the buffer of noise levels is not needed and skipped.
        net: the network whose config the weights were trained with.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or of another shape.
    """
    tensors = {re.sub(r"^module\.", "", name): np.asarray(value) for name, value in state.items()}
    tensors.pop("sigmas", None)
    expected = flatten_dict(_abstract_params(net))
    unused = set(tensors) - {_torch_name(path) for path in expected} - set(torch_names(net))
    problems = [f"unexpected: {name} {tensors[name].shape}" for name in sorted(unused)]
    params = {}
    for path in sorted(expected, key=_rank):
        name, shape = _torch_name(path), expected[path].shape
        if name not in tensors:
            problems.append(f"missing: {name}")
            continue
        array = _from_layout(path, tensors[name])
        if array.shape != shape:
            problems.append(
                f"shape: {name} is {array.shape} in our layout, the network has {shape}"
            )
            continue
        params[path] = jnp.asarray(array, jnp.float32)
    if problems:
        raise ValueError(
            "the weights do not fit the network; is it the config they were trained with?\n  "
            + "\n  ".join(problems)
        )
    return unflatten_dict(params)
