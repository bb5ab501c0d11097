"""Published PyTorch weights of score_sde to the parameters of ``NCSNpp``, by name and layout."""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.models.ncsnpp import NCSNpp

# Layers of a block in the order in which PyTorch registers them.
_ORDER = ("GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", "Conv_2", "Conv2d_0")
_ORDER += ("NIN_0", "NIN_1", "NIN_2", "NIN_3")
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "W": "W"}


def _abstract_params(net: NCSNpp) -> dict:
    """Return the parameter tree of the network with shapes in place of arrays."""
    image = jnp.zeros((1, net.image_size, net.image_size, net.num_channels))
    return jax.eval_shape(net.init, jax.random.key(0), image, jnp.ones((1,)))["params"]


def _flatten(tree: Mapping, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flatten(value, (*path, name))
        else:
            leaves[(*path, name)] = value
    return leaves


def _rank(path: tuple[str, ...]) -> tuple[int, int, bool]:
    """Sort a parameter as PyTorch lists it: by layer, by layer of the block, weight before bias."""
    inner = _ORDER.index(path[1]) if len(path) == 3 else 0
    return int(path[0][:3]), inner, path[-1] == "bias"


def _torch_name(path: tuple[str, ...]) -> str:
    leaf = _LEAVES[path[-1]]
    if path[-2].startswith("NIN"):
        leaf = {"weight": "W", "bias": "b"}[leaf]
    return ".".join(["all_modules", str(int(path[0][:3])), *path[1:-1], leaf])
