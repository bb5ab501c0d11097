"""GANs small enough for a test."""

from configs import gan64
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
    "optim.lr": 1e-4,
    "optim.discriminator_lr": 4e-4,
    "model.loss": "hinge",
    "model.spectral_norm": True,
    "model.flip": 0.25,
    "model.latent": 5,
    "model.channels": (8, 4),
    "model.features": 6,
    "model.local_channels": 3,
    "model.asked_features": 4,
    "model.shift": 2,
    "sampling.at_once": 4,
    "eval.batch_size": 8,
    "eval.num_images": 8,
    "eval.num_samples": 8,
}
LAGAN = {"model.lagan": True}
WASSERSTEIN = {"model.loss": "wgan_gp", "optim.discriminator_steps": 2}


def gan_config(folder=None, **overrides):
    """Return a checked configuration, of images in a folder if one is given."""
    config = gan64.get_config()
    fields = SMALL | overrides
    if folder is not None:
        fields |= {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    config.update_from_flattened_dict(fields)
    check(config)
    return config
