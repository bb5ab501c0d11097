"""The paper's images on two CPU cores: one channel, a small network, EDM preconditioning.

python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64_cpu.py
python -m sgm_jax.main --config=configs/larcv_png64_cpu.py
python -m sgm_jax.main --mode=sample --config=configs/larcv_png64_cpu.py --num_samples=1000

0.35 GFLOP an image, 0.9 M parameters. A step of 32 images takes 0.95 CPU-seconds: 80,000 steps are
a day of one core, and a run may be ended, or go on, at any step. A network evaluation of an image
takes 7 ms of one core. Why it is trained so: docs/choices/recipe.md. With --init=lar64 it goes on
from the weights that come with the package.
"""

import ml_collections

from configs import larcv_png64


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = larcv_png64.get_config()
    training, sampling, model = config.training, config.sampling, config.model

    # One grey channel, background exactly 0.
    config.data.num_channels = 1
    config.data.centered = False

    # Noise prediction draws noise for the first thousand steps, EDM tracks after a few hundred.
    training.objective = "edm"
    # On the logarithmic scale the pixels' standard deviation is 0.12: noise levels around five
    # times that, where it is decided what an image shows, and enough of the large ones, where it is
    # decided how much.
    config.data.transform = "log"
    training.p_mean = -0.5
    training.p_std = 1.6
    training.weighting = "balanced"
    training.low_discrepancy = True
    # Small batches learn faster: docs/choices/recipe.md.
    training.batch_size = 32
    training.n_iters = 80_000
    training.eval_freq = 1000
    training.snapshot_freq = 8000
    training.snapshot_freq_for_preemption = 500
    training.snapshot_sampling = True
    # The rate falls with the steps that were made, so a run may end, or go on, at any of them.
    config.optim.optimizer = "Muon"
    config.optim.lr = 0.02
    config.optim.warmup = 50
    config.optim.schedule = "inverse_sqrt"
    config.optim.decay_start = 500
    # After n steps it spans a tenth of them, at most the last ten thousand.
    model.ema_rate = 0.9999

    # 64x64 pixels become 32x32 with four channels.
    model.space_to_depth = 2
    model.nf = 32
    model.ch_mult = (1, 1, 2)
    model.num_res_blocks = 1
    model.attn_resolutions = (8,)
    model.dropout = 0.0
    # How much charge there is, which normalisation takes away.
    model.overview = 4

    # With 10 evaluations MMD is worse by three errors (500 images at step 1000, 9.1 +- 2.4 and
    # 1.5 +- 0.6). The largest level is several times the norm of an image.
    sampling.num_steps = 20
    sampling.sigma_min = 0.01
    sampling.sigma_max = 20.0
    config.eval.batch_size = 64
    config.eval.num_samples = 1000
    return config
