"""What keeps or rejects the images of a generator, so that those kept are distributed as real ones.

python -m sgm_jax.main --mode=sample --workdir=runs/sarm64 --num_samples=20000 \\
    --config.seed=1 --samples_dir=drawn
python -m sgm_jax.main --config=configs/discriminator64.py
python -m sgm_jax.main --mode=sample --workdir=runs/sarm64 --num_samples=1000 \\
    --config.sampling.rejection=runs/discriminator64/best.npz

It learns the ratio of two densities, of real images and of drawn ones, by telling them apart. The
last eval.num_images drawn images are kept for the test. 0.3 M parameters; a step takes 0.15
CPU-seconds, the training 16 minutes of a core, and drawing the 20,000 images with SARM eight. In 20
seconds, on images of 16 pixels: --config=configs/discriminator64.py:tiny. What comes out, and what
a second one is for, which learns from what the first keeps
(--config.sampling.rejection=runs/discriminator64/best.npz:8): docs/sampling.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "" or "tiny"."""
    config = larcv_png64.of_another_family("discriminator")
    training, data, optim, model = config.training, config.data, config.optim, config.model

    # Samples of a generator: a folder that --mode=sample wrote, or any file of images.
    data.drawn_path = "drawn"
    # Which generator drew them and how, as the recipe beside them says; noted when a run begins.
    data.drawn_from = ""
    data.transform = "log"

    # So many real images and as many drawn ones.
    training.batch_size = 32
    training.n_iters = 6000
    training.eval_freq = 500
    training.snapshot_freq = 3000
    training.snapshot_freq_for_preemption = 500
    # It learns drawn images by heart if it sees them too often.
    training.keep_best = True

    optim.lr = 1e-3
    optim.warmup = 100
    optim.schedule = "linear"
    optim.decay_fraction = 0.7

    model.ema_rate = 0.998
    # Features of each grid, the finest first; the first has half the resolution of the images.
    model.channels = (24, 48, 96)
    model.hidden = 96
    # Look at sums along straight lines of so many directions as well (60: one each 3 degrees), for
    # how straight and thin tracks are; and the features of grids of lines. 0 is without.
    model.directions = 0
    model.line_channels = (16, 32, 48)
    # Pixels by which both are shifted at random in the training, so that where an image lies does
    # not count. Crops around the centre of the charge are centred, and drawn ones only about: with
    # 0 that is most of what it sees, and of what it rejects (docs/sampling.md).
    model.shift = 16
    # Levels up to 4 count as 0, as in what is drawn.
    model.threshold = 4

    if variant == "tiny":
        _make_tiny(config)
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there is: tiny")
    return config.lock()


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and the network so small that a training takes half a minute."""
    training, model = config.training, config.model
    larcv_png64.make_images_tiny(config, "sarm_tiny")
    model.channels, model.hidden, model.shift = (8, 16), 32, 4
    training.n_iters, training.batch_size = 300, 16
    training.log_freq, training.eval_freq = 20, 50
    training.snapshot_freq, training.snapshot_freq_for_preemption = 300, 100
    config.optim.warmup = 20
    config.eval.num_images = 128
