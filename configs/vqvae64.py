"""Images of 64x64 pixels through 16x16 codes, on two CPU cores: a VQ-VAE and its prior.

python -m sgm_jax.main --mode=simulate --config=configs/vqvae64.py
python -m sgm_jax.main --config=configs/vqvae64.py
python -m sgm_jax.main --mode=sample --workdir=runs/vqvae64 --num_samples=1000
python -m sgm_jax.main --mode=likelihood --workdir=runs/vqvae64

The second command trains the autoencoder in runs/vqvae64/first_stage, and then the prior of its
codes in runs/vqvae64. A few minutes to try everything, on images of 16 pixels:
--config=configs/vqvae64.py:tiny. The published networks, trap for trap (arXiv:2204.02496):
--config=configs/vqvae64.py:published. What the choices mean: docs/generators/vqvae.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "", "tiny" or "published"."""
    config = larcv_png64.of_another_family("vqvae")
    training, data, model = config.training, config.data, config.model

    # The scale on which the autoencoder sees charge, and on which its error counts.
    data.transform = "log"

    # Of the prior; the first stage has some of its own below.
    training.batch_size = 32
    training.n_iters = 5000
    training.eval_freq = 500
    training.snapshot_freq = 1000
    training.snapshot_freq_for_preemption = 250
    training.snapshot_sampling = True
    config.optim.lr = 1e-3
    config.optim.warmup = 100
    # Of both stages: falling to 0, so that both belong to their numbers of steps.
    config.optim.schedule = "linear"
    config.optim.decay_fraction = 0.7

    config.first = first = ml_collections.ConfigDict()
    first.batch_size = 32
    first.n_iters = 5000
    first.optimizer = "Adam"
    first.lr = 1e-3
    # Of the parameters that Muon leaves to Adam.
    first.adam_lr = 1e-3

    model.ema_rate = 0.999
    # "prior", or "first": the autoencoder alone.
    model.stage = "prior"
    # A workdir or a file of weights of a finished first stage; "" trains one in the folder
    # first_stage of the workdir. Its hash is kept when a prior begins.
    model.first_stage = ""
    model.first_stage_hash = ""
    # Grids of codes: 1, or 2 with a coarser one above (VQ-VAE-2).
    model.levels = 1
    # Features after each halving of the image, and residual blocks of each part.
    model.channels = (32, 64)
    model.blocks = 2
    # Vectors of a codebook, and numbers of each.
    model.codes = 256
    model.code_size = 16
    # "averages": vectors follow those of their encodings, with this decay; or "gradient".
    model.codebook = "averages"
    model.decay = 0.99
    # How strongly encodings are held to their vectors.
    model.commitment = 0.25
    # "hit": the decoder says of each pixel whether it is lit, and which charge it has if it is; or
    # "mse": the charge of every pixel, and no likelihood.
    model.output = "hit"
    # Of the squared error of charge in network space; 50 is that of a normal as wide as 0.1.
    model.charge_weight = 50.0
    # As in the evaluation levels up to this one become 0; brighter pixels count as the last.
    model.threshold = 4
    model.last_level = 255
    # The autoencoder of arXiv:2204.02496 with its traps, see the variant "published".
    model.as_published = False

    config.prior = prior = ml_collections.ConfigDict()
    # "gated_pixelcnn": a vertical and a horizontal stack of `layers`; or "causal_conv": gated
    # blocks of one convolution each, which with attention are PixelSNAIL.
    prior.trunk = "gated_pixelcnn"
    # Numbers that a network sees of a code.
    prior.embedding = 32
    prior.channels = 48
    prior.first_kernel = 7
    prior.kernel = 3
    prior.layers = 6
    # "correct", or "as_published": the row above and the pixel to the left are not seen.
    prior.mask = "correct"
    # Of "causal_conv": as in configs/sarm64.py. With two levels, attention is of the coarse one.
    prior.width = 24
    prior.dilations = (1, 2, 1, 2, 1, 2)
    prior.attention = ()
    prior.heads = 4
    # Of what coarse codes say to fine ones.
    prior.context = 32
    prior.context_blocks = 2
    # Of the vector of a condition, which is a bias in every gate.
    prior.asked_features = 64

    # One for each level, coarse ones first: above 1 codes are more varied than learnt.
    config.sampling.temperatures = (1.0,)
    if variant == "tiny":
        make_tiny(config)
    elif variant == "published":
        _make_published(config)
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there are: tiny, published")
    return config.lock()


def make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and networks so small that all of it takes a few minutes."""
    training = config.training
    larcv_png64.make_images_tiny(config, "vqvae_tiny")
    config.model.channels, config.model.codes, config.model.code_size = (16, 32), 64, 8
    config.prior.channels, config.prior.width, config.prior.embedding = 24, 12, 16
    config.prior.layers, config.prior.dilations = 3, (1, 2, 1)
    config.first.n_iters, training.n_iters = 1500, 600
    training.log_freq, training.eval_freq = 20, 100
    training.snapshot_freq, training.snapshot_freq_for_preemption = 300, 100
    config.optim.warmup = 20
    config.eval.num_samples, config.eval.num_images = 64, 128


def _make_published(config: ml_collections.ConfigDict) -> None:
    """Make it the published one: 16x16 codes of 8 numbers, and a prior of 13 million parameters.

    Published are batches of 512 images and 50 epochs of the first stage, batches of 256 and 15
    epochs of the prior. It needs an accelerator.
    """
    model, first, prior = config.model, config.first, config.prior
    config.data.transform = "linear"
    config.data.random_flip = False
    model.as_published = True
    model.channels, model.code_size, model.codes = (16, 32), 8, 256
    model.codebook, model.commitment, model.output = "gradient", 1.0, "mse"
    first.batch_size, first.lr, first.n_iters = 512, 3e-4, 5000
    config.training.batch_size, config.training.n_iters = 256, 3000
    config.optim.lr, config.optim.warmup, config.optim.schedule = 1e-3, 0, "constant"
    prior.mask, prior.layers, prior.channels = "as_published", 3, 512
