"""Sparse images with truth, and weights for a small SSNet."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from evaluation.ssnet.weights import to_torch, variable_shapes


def sparse_images(count, side, seed=0):
    """Return float32 images ``[count, side, side, 1]`` with a tenth of the pixels lit."""
    rng = np.random.default_rng(seed)
    lit = rng.random((count, side, side, 1)) < 0.1
    return np.where(lit, rng.integers(5, 256, lit.shape), 0).astype(np.float32)


def trained_variables(net):
    """Return random variables; nothing is compiled. Running statistics are not the initial ones."""
    rng = np.random.default_rng(5)

    def draw(path, leaf):
        name = path[-1].key
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if name == "kernel":
            return jnp.asarray(noise * np.sqrt(2.0 / np.prod(leaf.shape[:3])).astype(np.float32))
        return jnp.asarray(1.0 + 0.2 * noise if name in ("scale", "var") else 0.1 * noise)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(net))


def published_tensors(params):
    """Return parameters as a published file has them, with the shortcuts that are never used."""
    state = to_torch(params)
    for name in [name for name in state if ".resnet2.residual2." in name]:
        unused = state[name][:, :, :1, :1] if state[name].ndim == 4 else state[name]
        state[name.replace("residual2", "shortcut")] = unused
    return state


def write_labelled(folder, count=24, side=16):
    """Write ``train.npy``, ``test.npy`` and ``labels.h5``: rows are tracks, the rest showers."""
    with h5py.File(folder / "labels.h5", "w") as file:
        for seed, split in enumerate(("train", "test")):
            images = sparse_images(count, side, seed)[..., 0].astype(np.uint8)
            half = np.arange(side)[:, None] < side // 2
            codes = np.where(images > 0, np.where(half, 2, np.where(seed, 3, 1)), 0)
            np.save(folder / f"{split}.npy", images)
            file[f"{split}/pixel_label"] = codes.astype(np.uint8)
