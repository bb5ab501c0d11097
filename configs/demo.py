"""The score model of configs/larcv_png64_cpu.py in five minutes on two CPU cores.

python -m sgm_jax.main --mode=simulate --config=configs/demo.py
python -m sgm_jax.main --config=configs/demo.py
python -m sgm_jax.main --mode=sample --config=configs/demo.py

0.9 M parameters. Simulation takes 15-30 s, and training five minutes (2.5 steps/s); 64 images take
20 s: sparse, with tracks on an empty background, of which SSNet calls a quarter tracks.
"""

import ml_collections

from configs import larcv_png64, larcv_png64_cpu


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = larcv_png64_cpu.get_config()
    larcv_png64.make_images_few(config)
    # Many small steps, and a rate that falls to 0: the most that five minutes give.
    config.training.batch_size = 16
    config.training.n_iters = 800
    config.training.log_freq = 20
    config.training.eval_freq = 200
    config.training.snapshot_freq = 400
    config.training.snapshot_sampling = False
    config.training.snapshot_freq_for_preemption = 200
    config.optim.schedule = "linear"
    config.optim.decay_fraction = 0.6
    # It slows the first thousand updates down.
    config.model.overview = 0
    # Fresh noise makes smoother lines of so young a network, at the price of lit pixels.
    config.sampling.method = "dpm_solver_sde"
    config.sampling.num_steps = 50
    config.eval.num_samples = 64
    config.eval.num_images = 256
    return config
