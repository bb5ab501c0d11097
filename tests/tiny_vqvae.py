"""Vector-quantised generators small enough for a test."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import vqvae64
from sgm_jax import generator as contract
from sgm_jax.config import check
from sgm_jax.generators.vqvae import build, first_stage

SMALL = {
    "training.batch_size": 8,
    "training.n_iters": 4,
    "training.log_freq": 1,
    "training.eval_freq": 2,
    "training.snapshot_freq": 2,
    "training.snapshot_freq_for_preemption": 1,
    "training.snapshot_sampling": False,
    "data.image_size": 8,
    "data.random_flip": False,
    "optim.warmup": 0,
    # The rate does not depend on the number of steps, so that a run may end early and go on.
    "optim.schedule": "constant",
    "first.batch_size": 8,
    "first.n_iters": 4,
    "model.channels": (4, 8),
    "model.blocks": 1,
    "model.codes": 6,
    "model.code_size": 4,
    "prior.embedding": 5,
    "prior.channels": 8,
    "prior.width": 4,
    "prior.first_kernel": 3,
    "prior.layers": 2,
    "prior.dilations": (1, 2),
    "prior.heads": 2,
    "prior.context": 3,
    "prior.context_blocks": 1,
    "prior.asked_features": 4,
    "sampling.at_once": 4,
    "eval.batch_size": 8,
    "eval.num_images": 8,
    "eval.num_samples": 8,
}
TWO_LEVELS = {"model.levels": 2, "sampling.temperatures": (1.0, 1.0)}
SNAIL = {"prior.trunk": "causal_conv", "prior.attention": (0,)}
PUBLISHED = {
    "model.as_published": True,
    "model.codebook": "gradient",
    "model.output": "mse",
    "model.commitment": 1.0,
    "data.transform": "linear",
    "prior.mask": "as_published",
    "prior.first_kernel": 7,
    "prior.layers": 3,
}


def vqvae_config(folder=None, **overrides):
    """Return a checked configuration, of images in a folder if one is given."""
    config = vqvae64.get_config()
    fields = SMALL | overrides
    if folder is not None:
        fields |= {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    config.update_from_flattened_dict(fields)
    check(config)
    return config


def first_stage_of(**overrides):
    """Return the first stage of a configuration."""
    stage = first_stage(vqvae_config(**overrides))
    check(stage)
    return contract.build(stage)


def scattered(init, *arguments, seed=5):
    """Return what ``init(key, ...)`` gives the shape of, all random: also biases and averages."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(init, jax.random.key(0), *arguments)

    def leaf(place, shape):
        if shape.dtype != jnp.float32:
            return jnp.zeros(shape.shape, shape.dtype)
        name = jax.tree_util.keystr(place)
        fan_in = np.prod(shape.shape[:-1]) if len(shape.shape) > 1 else 4
        values = rng.normal(0, fan_in**-0.5, shape.shape)
        # Shares, variances and squares are not negative.
        positive = any(part in name for part in ("shares", "error", "['var']"))
        return jnp.asarray(np.abs(values) + 0.1 if positive else values, jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def random_prior(**overrides):
    """Return a prior and random variables of it and of its first stage, with many hits."""
    generator = build(vqvae_config(**overrides))
    variables = scattered(lambda key: generator.initial_state(key).averaged)
    if generator.first.output.likelihood:
        last = variables.extra.params["network"]["up"]["last"]["four"]
        # A fresh decoder finds one pixel in fifty lit. Hits and charge of four pixels take turns.
        last["bias"] = last["bias"].at[::2].set(4.0)
    return generator, variables


def sparse_images(count, size=8, seed=0):
    """Return images of whole levels with a short line in each, uint8 ``[count, size, size]``."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, size, size), np.uint8)
    for image in images:
        row, length = rng.integers(0, size), rng.integers(2, size + 1)
        image[row, :length] = rng.choice([40, 90, 200])
    return images


def write_sets(folder, count=64, size=8):
    """Write images to train on and to test with."""
    for seed, name in enumerate(("train", "test")):
        np.save(folder / f"{name}.npy", sparse_images(count, size, seed))
