"""A GAN of 64x64 images on two CPU cores: the fastest to draw, and no likelihood.

python -m sgm_jax.main --mode=simulate --config=configs/gan64.py
python -m sgm_jax.main --config=configs/gan64.py
python -m sgm_jax.main --mode=sample --workdir=runs/gan64 --num_samples=1000

Two networks of 1.0 M parameters together; a step of 32 images takes 0.35 CPU-seconds, the training
an hour of a core, and an image 0.0004 to draw. A few minutes to try everything, on images of 16
pixels: --config=configs/gan64.py:tiny. With the locally connected layers of LAGAN, for images that
all have the same centre: --config=configs/gan64.py:lagan (1 CPU-second a step). What the choices
mean: docs/generators/gan.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "", "tiny" or "lagan"."""
    config = larcv_png64.of_another_family("gan")
    training, data, model, optim = config.training, config.data, config.model, config.optim

    # The scale on which both networks see charge: faint pixels are most of a track.
    data.transform = "log"

    training.batch_size = 32
    training.n_iters = 10_000
    training.eval_freq = 500
    training.snapshot_freq = 1000
    training.snapshot_freq_for_preemption = 500
    training.snapshot_sampling = True

    # Two rates (arXiv:1706.08500), of the generator and of the discriminator.
    optim.lr = 5e-4
    optim.discriminator_lr = 1e-3
    # Updates of the discriminator for each of the generator; published are 5 with "wgan_gp".
    optim.discriminator_steps = 1
    optim.beta1 = 0.0
    optim.beta2 = 0.99
    optim.warmup = 0
    optim.grad_clip = -1.0

    model.ema_rate = 0.999
    # "wgan_gp", with the weight `penalty` of the penalty on the discriminator's slope; or "hinge",
    # which with spectral norms draws the same few images again and again.
    model.loss = "wgan_gp"
    model.penalty = 10.0
    # Kernels of the discriminator are divided by their largest singular value.
    model.spectral_norm = False
    # Random numbers that an image is made of.
    model.latent = 100
    # Features of the grids, coarse ones first; the image is twice as fine as the last.
    model.channels = (128, 64, 32, 16)
    # Numbers that the discriminator has seen of an image at the end.
    model.features = 128
    # Of images in groups of so many it also sees how much they differ; 0: it does not.
    model.group = 4
    # How often images are flipped, along each axis, and by how many pixels they are shifted at
    # most, before the discriminator sees them.
    model.flip = 0.0
    model.shift = 0
    # As in the evaluation levels up to this one are 0, in real images and in drawn ones.
    model.threshold = 4
    # LAGAN: the last layers have weights of their own at each place, with so many features.
    model.lagan = False
    model.local_channels = 6
    # Of the vector of a condition that the generator sees.
    model.asked_features = 32

    if variant == "tiny":
        _make_tiny(config)
    elif variant == "lagan":
        # Published are 128 and 64 features, on images of 25 pixels.
        model.lagan, model.channels = True, (64, 32)
        # A penalty on the slope makes a step of these layers half as long again.
        model.loss, model.spectral_norm = "hinge", True
        optim.lr, optim.discriminator_lr = 1e-4, 4e-4
        training.n_iters = 9000
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there are: tiny, lagan")
    return config.lock()


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and networks so small that all of it takes two CPU-minutes."""
    training, model = config.training, config.model
    larcv_png64.make_images_tiny(config, "gan_tiny")
    model.channels, model.features, model.latent = (64, 32), 64, 32
    model.ema_rate = 0.99
    training.n_iters = 1500
    training.log_freq, training.eval_freq = 50, 250
    training.snapshot_freq, training.snapshot_freq_for_preemption = 500, 250
    config.eval.num_samples, config.eval.num_images = 64, 192
