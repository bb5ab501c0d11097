"""Flows and generators of them small enough for a test."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import l2lflows64
from sgm_jax.config import check
from sgm_jax.generators.flows import build
from sgm_jax.generators.flows.flow import flow
from sgm_jax.generators.flows.spline import Spline

SMALL = {
    "training.batch_size": 8,
    "training.n_iters": 4,
    "training.log_freq": 1,
    "training.eval_freq": 2,
    "training.snapshot_freq": 2,
    "training.snapshot_freq_for_preemption": 1,
    "training.snapshot_sampling": False,
    "training.layers": 3,
    "data.image_size": 6,
    "data.random_flip": False,
    "optim.warmup": 0,
    "optim.schedule": "constant",
    "model.context": 2,
    "model.blocks": 2,
    "model.hidden": 12,
    "model.hidden_layers": 2,
    "model.energy_blocks": 2,
    "model.energy_hidden": 12,
    "model.embedding_hidden": 8,
    "model.embedding_features": 4,
    "model.bins": 4,
    "model.asked_features": 4,
    "sampling.at_once": 4,
    "eval.batch_size": 8,
    "eval.num_images": 8,
    "eval.num_samples": 8,
    "eval.num_probes": 2,
}
MAF = {"model.transform": "maf", "model.share": False}


def flows_config(folder=None, **overrides):
    """Return a checked configuration, of images in a folder if one is given."""
    config = l2lflows64.get_config()
    fields = SMALL | overrides
    if folder is not None:
        fields |= {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    config.update_from_flattened_dict(fields)
    check(config)
    return config


def scattered(params, size=0.3, seed=5):
    """Return parameters of the same shapes, all random, also those that begin with zeros."""
    rng = np.random.default_rng(seed)

    def leaf(old):
        return jnp.asarray(rng.normal(0, size, old.shape), old.dtype)

    return jax.tree.map(leaf, params)


def random_generator(**overrides):
    """Return a generator and random parameters of it."""
    generator = build(flows_config(**overrides))
    shapes = jax.eval_shape(lambda key: generator.initial_state(key).params, jax.random.key(0))
    return generator, scattered(shapes)


def small_flow(kind, *, size=5, context=0, blocks=3, hidden=16, bins=6, **options):
    """Return a flow of few numbers."""
    options = {"permutation": "random", "seed": 0, "layers": 2} | options
    parts = {"size": size, "context": context, "blocks": blocks, "hidden": hidden}
    return flow(kind, spline=Spline(bins, bound=5.0), **parts, **options)


def sparse_images(count, size=6, seed=0):
    """Return images of whole levels with a short line in each, uint8 ``[count, size, size]``."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, size, size), np.uint8)
    for image in images:
        row, length = rng.integers(0, size), rng.integers(2, size + 1)
        image[row, :length] = rng.integers(5, 200, length)
    return images


def write_sets(folder, count=64, size=6):
    """Write images to train on and to test with."""
    for seed, name in enumerate(("train", "test")):
        np.save(folder / f"{name}.npy", sparse_images(count, size, seed))
