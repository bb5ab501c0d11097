"""Spectral normalisation: kernels divided by their largest singular value (arXiv:1802.05957).

It is found by power iteration: a vector for each kernel is kept from step to step, and one
iteration a step is enough, since kernels move slowly. These are functions of a tree of parameters,
so that a network needs to know nothing of it.

The matrix of a kernel ``[..., in, out]`` has a row for each of all its inputs, as in the paper. A
locally connected layer has a matrix for each place, and each of them is normalised.
"""

from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

Array = jax.Array
Tree = Any
# By the path of a kernel in the parameters: unit vectors ``[..., out]``.
Vectors = dict[str, Array]
# Layers whose name begins so have a kernel [height, width, in, out], one matrix for each place.
LOCAL = "local"
_KERNEL = "kernel"
_TINY = 1e-12


def first_vectors(key: Array, params: Tree) -> Vectors:
    """Return random unit vectors for the kernels of a network."""
    matrices = _matrices(params)
    keys = jax.random.split(key, len(matrices))
    return {
        name: _unit(jax.random.normal(key, (*matrix.shape[:-2], matrix.shape[-1])))
        for key, (name, matrix) in zip(keys, matrices.items(), strict=True)
    }


def iterated(params: Tree, vectors: Vectors, steps: int = 1) -> Vectors:
    """Return the vectors after so many power iterations; they carry no gradient."""
    vectors = dict(vectors)
    for name, matrix in _matrices(jax.lax.stop_gradient(params)).items():

        def iterate(_: Any, right: Array, matrix: Array = matrix) -> Array:
            return _unit(jnp.einsum("...ij,...i->...j", matrix, _left(matrix, right)))

        vectors[name] = jax.lax.fori_loop(0, steps, iterate, vectors[name])
    return vectors


def normalised(params: Tree, vectors: Vectors) -> Tree:
    """Return the parameters with each kernel divided by its largest singular value."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    for name, matrix in _matrices(params).items():
        left = _left(jax.lax.stop_gradient(matrix), vectors[name])
        largest = jnp.einsum("...i,...ij,...j->...", left, matrix, vectors[name])
        # A kernel of zeros stays one.
        matrix = matrix / jnp.maximum(largest, _TINY)[..., None, None]
        flat[name] = matrix.reshape(flat[name].shape)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _matrices(params: Tree) -> dict[str, Array]:
    """Return the matrices ``[in, out]`` of kernels, or those ``[height, width, in, out]``."""
    matrices = {}
    for name, leaf in flax.traverse_util.flatten_dict(params, sep="/").items():
        *_, layer, last = ("", *name.split("/"))
        if last == _KERNEL:
            is_local = layer.startswith(LOCAL)
            matrices[name] = leaf if is_local else leaf.reshape(-1, leaf.shape[-1])
    return matrices


def _left(matrix: Array, right: Array) -> Array:
    return _unit(jnp.einsum("...ij,...j->...i", matrix, right))


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector, axis=-1, keepdims=True), _TINY)
