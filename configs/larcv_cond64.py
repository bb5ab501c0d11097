"""Images of a particle and a momentum that are asked for, on two CPU cores.

python -m sgm_jax.main --mode=simulate --config=configs/larcv_cond64.py
python -m sgm_jax.main --config=configs/larcv_cond64.py --init=lar64
python -m sgm_jax.main --mode=sample --config=configs/larcv_cond64.py --particle=muon \\
    --momentum=0,0,300

The five kinds of particle, seen from where they start: the vertex is in the middle of each image,
so its place says nothing about the momentum, and one scale of charge holds for all images, so their
charge does. Momenta are in MeV/c along the line of sight, down the rows and to the right, see
sgm_jax/data/condition.py. The network is that of configs/larcv_png64_cpu.py.
"""

import ml_collections

from configs import larcv_png64_cpu
from sgm_jax.simulation.config import ABSOLUTE, KIND_NAMES, START


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = larcv_png64_cpu.get_config()
    data, model, simulation = config.data, config.model, config.simulation

    data.train_path = "data/cond64/train/larcv_png_64"
    data.test_path = "data/cond64/test/larcv_png_64"
    data.condition = "labels"
    data.particles = KIND_NAMES
    model.condition = ("particle", "momentum")
    model.momentum_map = True

    # A pixel is 10 mm and an image 64 cm: with the 3 mm of the other sets all tracks and showers
    # but those of slow protons leave the image, and its charge says nothing about the momentum.
    simulation.crop = START
    simulation.pixel_mm = 10.0
    # A level is 0.1 MeV: a minimum ionising track leaves 2.1 MeV in a pixel, and 255 are 25.5 MeV.
    simulation.scaling = ABSOLUTE
    simulation.counts_per_mev = 10.0
    # Pixels are dark up to where drawn ones are, below 5 of 255.
    simulation.threshold_mev = 0.45
    # Three lit pixels, for short tracks belong to what is asked.
    simulation.min_lit_fraction = 0.0007

    # The noise levels of the other set, as much smaller as the pixels' standard deviation is: 0.05
    # on the logarithmic scale, since images are darker.
    config.training.p_mean = -1.3
    config.training.n_iters = 20_000
    return config
