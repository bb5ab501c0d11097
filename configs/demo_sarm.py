"""All of it in seven minutes on two CPU cores: what ``make demo`` runs.

python -m sgm_jax.main --mode=simulate --config=configs/demo_sarm.py
python -m sgm_jax.main --config=configs/demo_sarm.py
python -m sgm_jax.main --mode=sample --config=configs/demo_sarm.py

The network of configs/sarm64.py, 0.06 M parameters, on 6,000 images. Simulation takes 15-30 s, and
training five minutes (2 steps/s): of so short a training, images drawn pixel by pixel are the
nearest to real ones. SSNet calls four in ten of them tracks.
"""

import ml_collections

from configs import larcv_png64, sarm64


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = sarm64.get_config()
    larcv_png64.make_images_few(config)
    config.training.n_iters = 600
    config.training.log_freq = 20
    config.training.eval_freq = 200
    config.training.snapshot_freq = 300
    config.training.snapshot_sampling = False
    config.training.snapshot_freq_for_preemption = 100
    # The shorter the training, the sooner lines end.
    config.sampling.gate_temperature = 0.97
    config.eval.num_samples = 64
    config.eval.num_images = 256
    return config
