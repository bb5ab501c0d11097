"""Discriminators small enough for a test."""

import numpy as np

from configs import discriminator64
from sgm_jax.config import check

SMALL = {
    "training.batch_size": 8,
    "training.n_iters": 4,
    "training.log_freq": 1,
    "training.eval_freq": 2,
    "training.snapshot_freq": 2,
    "training.snapshot_freq_for_preemption": 1,
    "data.image_size": 8,
    "data.random_flip": False,
    "optim.warmup": 0,
    "model.channels": (8, 8),
    "model.hidden": 16,
    "model.shift": 0,
    "eval.batch_size": 8,
    "eval.num_images": 8,
}


def discriminator_config(folder, drawn=None, **overrides):
    """Return a checked configuration, of real images in a folder and of drawn ones."""
    config = discriminator64.get_config()
    fields = {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    fields["data.drawn_path"] = str(folder / "drawn" if drawn is None else drawn)
    config.update_from_flattened_dict(SMALL | fields | overrides)
    check(config)
    return config


def counted_images(rng, count, share, side=8):
    """Return images ``[count, side, side]`` uint8, each pixel lit with the same probability."""
    lit = rng.random((count, side, side)) < share
    return np.where(lit, rng.integers(5, 256, lit.shape), 0).astype(np.uint8)
