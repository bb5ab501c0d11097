"""Images of 64x64 pixels by normalising flows, row by row, on two CPU cores: L2LFlows.

python -m sgm_jax.main --mode=simulate --config=configs/l2lflows64.py
python -m sgm_jax.main --config=configs/l2lflows64.py
python -m sgm_jax.main --mode=sample --workdir=runs/l2lflows64 --num_samples=1000
python -m sgm_jax.main --mode=likelihood --workdir=runs/l2lflows64

First the charges of all rows are drawn, then each row given its charge and the five before it.
1.2 M parameters; a step of 64 images takes 0.11 CPU-seconds, the training 40 minutes of a core, and
an image 0.005 to draw. A few minutes to try everything, on images of 16 pixels:
--config=configs/l2lflows64.py:tiny. As published (arXiv:2302.11594), with masked autoregressive
flows, one for each row, 44 M parameters: --config=configs/l2lflows64.py:published. What the choices
mean: docs/generators/l2lflows.md.
"""

import ml_collections

from configs import larcv_png64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "", "tiny" or "published"."""
    config = larcv_png64.of_another_family("l2lflows")
    training, data, model = config.training, config.data, config.model

    # Of the charges of pixels, before the logit.
    data.transform = "log"

    training.batch_size = 64
    training.n_iters = 20_000
    training.eval_freq = 500
    training.snapshot_freq = 2000
    training.snapshot_freq_for_preemption = 250
    training.snapshot_sampling = True
    # Of each image so many layers, which are lit, are learnt from in a step.
    training.layers = 8

    config.optim.lr = 1e-3
    config.optim.warmup = 100
    config.optim.schedule = "linear"

    model.ema_rate = 0.999
    # A layer is a "rows" or "columns" strip of so many of them, and is told of so many layers
    # before it.
    model.layers = "rows"
    model.strip = 1
    model.context = 5
    # One causal flow for all layers, told which one it is; or False: one for each.
    model.share = True
    # "coupling", fast both ways, or "maf": masked autoregressive, as published.
    model.transform = "coupling"
    # Between blocks numbers change places: "paired", every second time the halves and else random
    # (by permutation_seed), so that two couplings map all; always "random"; or in "reverse".
    model.permutation = "paired"
    model.permutation_seed = 0
    # Of the flow of a layer's pixels, and of that of all layers' charges.
    model.blocks = 8
    model.hidden = 96
    model.hidden_layers = 2
    model.energy_blocks = 8
    model.energy_hidden = 64
    model.energy_hidden_layers = 2
    # Rational-quadratic splines between -tail_bound and tail_bound, and linear tails.
    model.bins = 8
    model.tail_bound = 6.0
    model.least_bin = 1e-3
    # Of the network that sees the layers before.
    model.embedding_hidden = 128
    model.embedding_features = 32
    # Levels up to this one become 0, as the evaluator cuts them.
    model.threshold = 4
    # Keeps the logits of a dark and of the brightest pixel finite, and those of charges.
    model.alpha = 0.01
    model.energy_alpha = 0.01
    # Mean and deviation of these logits, measured when a run begins.
    model.standard = ()
    # What is drawn of a layer is brought to its charge: "l2lflows" zeroes the fewest of the dimmest
    # pixels so that no other is below the threshold; "caloflow" rescales, then cuts.
    model.postprocess = "l2lflows"
    # Of the vector of a condition, which all flows see.
    model.asked_features = 32

    if variant == "tiny":
        _make_tiny(config)
    elif variant == "published":
        _make_published(config)
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there are: tiny, published")
    return config.lock()


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Make images and networks so small that all of it takes two minutes."""
    training, model = config.training, config.model
    larcv_png64.make_images_tiny(config, "l2lflows_tiny")
    model.blocks = model.energy_blocks = 6
    model.hidden = model.energy_hidden = model.embedding_hidden = 48
    training.n_iters = 1000
    training.log_freq, training.eval_freq = 20, 100
    training.snapshot_freq, training.snapshot_freq_for_preemption = 500, 100
    config.optim.lr = 3e-3
    config.optim.warmup = 20
    model.ema_rate = 0.99
    config.eval.num_samples, config.eval.num_images = 64, 128


def _make_published(config: ml_collections.ConfigDict) -> None:
    """Take the published transforms; what is known of their sizes is of the group's later ones."""
    model, training, optim = config.model, config.training, config.optim
    model.transform, model.share, model.permutation = "maf", False, "random"
    model.blocks = model.energy_blocks = 6
    model.hidden = model.energy_hidden = 64
    model.hidden_layers = model.energy_hidden_layers = 1
    model.least_bin = 1e-6
    model.energy_alpha = 1e-6
    training.layers = 16
    optim.grad_clip = 100.0
