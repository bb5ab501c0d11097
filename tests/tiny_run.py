"""A configuration and images small enough to train in a test."""

import numpy as np

from configs import larcv_png64


def tiny_config(folder, **overrides):
    """Return a locked configuration of images in ``folder``, with ``"section.field"`` overrides."""
    config = larcv_png64.get_config()
    config.data.train_path = str(folder / "train.npy")
    config.data.test_path = str(folder / "test.npy")
    config.data.image_size = 16
    config.data.num_channels = 1
    config.model.nf = 8
    config.model.ch_mult = (1,)
    config.model.num_res_blocks = 1
    config.model.attn_resolutions = ()
    config.model.num_scales = 10
    config.sampling.method = "pc"
    config.training.batch_size = 8
    config.training.n_iters = 4
    config.training.log_freq = 1
    config.training.eval_freq = 2
    config.training.snapshot_freq = 2
    config.training.snapshot_freq_for_preemption = 1
    config.optim.warmup = 2
    config.eval.batch_size = 8
    config.eval.num_images = 8
    config.eval.num_samples = 12
    config.update_from_flattened_dict(overrides)
    return config


def write_images(folder, count=20, seed=0):
    """Write a training and a test set of sparse random images, ``[count, 16, 16]`` uint8."""
    rng = np.random.default_rng(seed)
    for name in ("train", "test"):
        lit = rng.random((count, 16, 16)) < 0.1
        images = np.where(lit, rng.integers(5, 256, lit.shape), 0)
        np.save(folder / f"{name}.npy", images.astype(np.uint8))


EDM = {"training.objective": "edm", "data.centered": False}
EDM |= {"sampling.method": "heun", "sampling.num_steps": 18}
