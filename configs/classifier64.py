"""What leads a generator without conditions to a particle and a momentum, on two CPU cores.

python -m sgm_jax.main --mode=simulate --config=configs/larcv_cond64.py
python -m sgm_jax.main --config=configs/classifier64.py
python -m sgm_jax.main --config=configs/larcv_cond64.py --config.model.condition="()" \\
    --workdir=runs/larcv_plain64
python -m sgm_jax.main --mode=sample --workdir=runs/larcv_plain64 --particle=muon \\
    --momentum=0,0,300 --classifier=runs/classifier64

A classifier of noised images: p(particle, momentum | x_t, t). Images and noise are those of
configs/larcv_cond64.py. 0.4 M parameters; a step takes 0.12 CPU-seconds, an eighth of one of the
score network, so 20,000 steps are 40 minutes of one core. Of the model's fields it reads nf,
ch_mult, num_res_blocks, dropout, space_to_depth, nonlinearity, condition and momentum_scale.
"""

import ml_collections

from configs import larcv_cond64


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = larcv_cond64.get_config()
    config.generator = "classifier"
    training, optim, model = config.training, config.optim, config.model
    training.n_iters = 20_000
    training.snapshot_sampling = False

    # After 400 steps the loss of test images is 2.39 nats, with Muon at the generator's rate 2.60.
    optim.optimizer = "Adam"
    optim.lr = 1e-3
    optim.decay_start = 2000

    # 64x64 pixels become 16x16 with 16 channels, and end as 4x4.
    model.space_to_depth = 4
    model.ch_mult = (1, 2, 2)
    return config
