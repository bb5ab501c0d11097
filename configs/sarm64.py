"""An autoregressive generator of 64x64 images on a CPU core: exact zeros, exact likelihood.

python -m sgm_jax.main --mode=simulate --config=configs/sarm64.py
python -m sgm_jax.main --config=configs/sarm64.py
python -m sgm_jax.main --mode=sample --workdir=runs/sarm64 --num_samples=1000
python -m sgm_jax.main --mode=likelihood --workdir=runs/sarm64

The pixels are drawn row by row, each from all before it. 0.06 M parameters; a step of 16 images
takes 0.7 CPU-seconds, the training 40 minutes of a core, and an image 0.02 to draw. Two minutes to
try everything, on images of 16 pixels: --config=configs/sarm64.py:tiny. What the choices mean, and
what comes out: docs/generators/sarm.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "" or "tiny"."""
    config = larcv_png64.of_another_family("sarm")
    training, data, model = config.training, config.data, config.model

    # The scale on which networks see charge, and on which the logistics of a head lie. What is
    # drawn are whole levels, whatever it is; on the tiny set this one saves 0.05 of 1.45 bits.
    data.transform = "log"

    training.batch_size = 16
    training.n_iters = 3000
    training.eval_freq = 500
    training.snapshot_freq = 1000
    training.snapshot_freq_for_preemption = 250
    training.snapshot_sampling = True

    optim = config.optim
    # After 300 steps of the tiny set it is at 1.45 bits, Adam at 1.56 with the better of two rates.
    optim.optimizer = "Muon"
    optim.lr = 0.02
    optim.adam_lr = 2e-3
    optim.warmup = 50
    # It falls to 0 over the last 70 %: for a longer training raise n_iters.
    optim.schedule = "linear"
    optim.decay_fraction = 0.7

    model.ema_rate = 0.999
    # What a pixel is drawn from: "dc_logistic" (a gate, and a mixture of `components` discretised
    # logistics for lit pixels), "dc_normal" (SARM's truncated normal), "dd" (a gate and a softmax
    # over the lit levels) or "ungated" (the mixture alone: PixelCNN++).
    model.head = "dc_logistic"
    model.components = 5
    # The evaluator sets levels up to 4 to 0, in all sets; so the network never sees any of them.
    # Brighter pixels than the last level count as that.
    model.threshold = 4
    model.last_level = 255
    # "row", "column", "spiral_out_clockwise", "spiral_out_counter_clockwise",
    # "spiral_in_clockwise", "spiral_in_counter_clockwise", "random" (by order_seed), or "entropy":
    # falling with the training images, measured when a run begins and kept in order_places.
    model.order = "row"
    model.order_seed = 0
    model.order_places = ()
    # "one"; "window": a square of `window` pixels in the middle has a network of its own and comes
    # first (SARM-2, with a spiral outwards); "blocks": first which blocks of `block` pixels are
    # lit, then the pixels of those alone.
    model.stages = "one"
    model.window = 15
    model.block = 8
    # "causal_conv": gated blocks of locally masked convolutions, one for each dilation, with
    # `channels` between them and `width` seen of each pixel around.
    model.trunk = "causal_conv"
    model.channels = 32
    model.width = 16
    model.first_kernel = 7
    model.kernel = 3
    model.dilations = (1, 2, 4, 8, 1, 2, 4, 8)
    # Sums over all earlier pixels, also of the row and of the column.
    model.sums = True
    # The network is told which earlier pixels are of the last level, and so are the sums.
    model.saturated = True
    # After which blocks every pixel attends to all earlier ones; for grids of up to 16 x 16.
    model.attention = ()
    model.heads = 4
    # "made": SARM's masked dense network; see configs/sarm_made32.py.
    model.hidden = 1024
    model.layers = 5
    model.inner = 16
    # Of the vector of a condition, which is a bias in every gate.
    model.asked_features = 64

    # What the log-odds of gates are divided by when images are drawn. Below 1 lines go on more
    # often and begin less often; choose it by the lit pixels of a few hundred drawn images.
    config.sampling.gate_temperature = 1.0
    # At most one pixel of the last level in each drawn image, as where images are scaled by their
    # largest pixel.
    config.sampling.one_saturated = False

    if variant == "tiny":
        _make_tiny(config)
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there is: tiny")
    return config.lock()


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and networks so small that all of it takes two minutes."""
    training, model = config.training, config.model
    larcv_png64.make_images_tiny(config, "sarm_tiny")
    model.channels, model.width, model.dilations = 16, 8, (1, 2, 4)
    training.n_iters = 300
    training.log_freq, training.eval_freq = 20, 100
    training.snapshot_freq, training.snapshot_freq_for_preemption = 300, 100
    config.optim.warmup = 20
    config.eval.num_samples, config.eval.num_images = 64, 128
