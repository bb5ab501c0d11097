"""Autoencoders with critics, small enough for a test."""

from configs import bibae64
from sgm_jax.config import check

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
    "model.loss": "hinge",
    "model.spectral_norm": True,
    "model.latent": 4,
    "model.noise": 3,
    "model.kept": 12,
    "model.channels": (8, 4),
    "model.features": 6,
    "model.post_features": 5,
    "model.post_start": 2,
    "model.pixels": 32,
    "model.window": 8,
    "model.stride": 8,
    "model.asked_features": 4,
    "sampling.at_once": 4,
    "eval.batch_size": 8,
    "eval.num_images": 8,
    "eval.num_samples": 8,
}


def bibae_config(folder=None, **overrides):
    """Return a checked configuration, of images in a folder if one is given."""
    config = bibae64.get_config()
    fields = SMALL | overrides
    if folder is not None:
        fields |= {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    config.update_from_flattened_dict(fields)
    check(config)
    return config
