"""An autoencoder with critics, after BIB-AE, of 64x64 images on two CPU cores.

python -m sgm_jax.main --mode=simulate --config=configs/bibae64.py
python -m sgm_jax.main --config=configs/bibae64.py
python -m sgm_jax.main --mode=sample --workdir=runs/bibae64 --num_samples=1000

Networks of 1.8 M parameters together; a step of 32 images takes 0.7 CPU-seconds, and an image
0.0008 to draw. A few minutes to try everything, on images of 16 pixels:
--config=configs/bibae64.py:tiny. What the choices mean, and which of them are published:
docs/generators/bibae.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "" or "tiny"."""
    config = larcv_png64.of_another_family("bibae")
    training, data, model, optim = config.training, config.data, config.model, config.optim

    # The scale on which all networks see charge: faint pixels are most of a track.
    data.transform = "log"

    training.batch_size = 32
    training.n_iters = 15_000
    training.eval_freq = 500
    training.snapshot_freq = 3000
    training.snapshot_freq_for_preemption = 500
    training.snapshot_sampling = True

    # Rates of the autoencoder, of the critics and of the post-processor.
    optim.lr = 3e-4
    optim.critic_lr = 5e-4
    optim.post_lr = 1e-3
    # Updates of the critics for each of the autoencoder; published are 5.
    optim.critic_steps = 1
    optim.beta1 = 0.0
    optim.beta2 = 0.99
    optim.warmup = 0
    optim.grad_clip = -1.0

    model.ema_rate = 0.999
    # Numbers that an image goes through, and random ones that the decoder sees beside them.
    model.latent = 24
    model.noise = 40
    # Of how many recent images the latents are kept, to draw from.
    model.kept = 4096
    # Features of the grids, coarse ones first; the image is twice as fine as the last.
    model.channels = (128, 64, 32, 16)
    # Numbers that encoder and critics have seen of an image at the end.
    model.features = 128
    # Of critics: "wgan_gp" with the weight `penalty`, or "hinge"; spectral norms; and images in
    # groups of so many, of which they also see how much they differ (0: they do not).
    model.loss = "wgan_gp"
    model.penalty = 10.0
    model.spectral_norm = False
    model.group = 4
    # What the autoencoder loses: weights of the divergence of an image's latents from a normal, of
    # the discrepancy of a batch of them from one, of the squared error of its image, and of what
    # the critics of image, difference and latents say.
    model.divergence = 0.05
    model.discrepancy = 10.0
    model.reconstruction = 0.1
    model.image_critic = 1.0
    model.difference_critic = 1.0
    model.latent_critic = 1.0
    # The post-processor: its features, when it begins to learn, and how much it costs to move
    # pixels. It compares so many of the brightest pixels in windows, with a kernel of this
    # sharpness: 50 is as wide as a tenth of network space.
    model.post_features = 32
    model.post_start = 3000
    model.post_error = 0.01
    model.pixels = 512
    model.window = 64
    model.stride = 32
    model.sharpness = 50.0
    # As in the evaluation levels up to this one are 0, in real images and in drawn ones.
    model.threshold = 4
    # Of the vector of a condition that encoder and decoder see.
    model.asked_features = 32

    if variant == "tiny":
        _make_tiny(config)
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there is: tiny")
    return config.lock()


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and networks so small that all of it takes two CPU-minutes."""
    training, model = config.training, config.model
    larcv_png64.make_images_tiny(config, "bibae_tiny")
    model.channels, model.features = (64, 32), 64
    model.latent, model.noise, model.kept, model.ema_rate = 16, 16, 1024, 0.99
    model.post_start, model.pixels, model.window, model.stride = 500, 128, 32, 16
    training.n_iters = 1200
    training.log_freq, training.eval_freq = 50, 200
    training.snapshot_freq, training.snapshot_freq_for_preemption = 600, 200
    config.eval.num_samples, config.eval.num_images = 64, 192
