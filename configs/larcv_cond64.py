"""Images of a particle and a momentum that are asked for, on two CPU cores.

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_cond64.py
    python -m sgm_jax.main --config=configs/larcv_cond64.py

The five kinds of particle, seen from where they start: the vertex is in the middle of each image,
so its place says nothing about the momentum, and one scale of charge holds for all images, so their
charge does. Momenta are in MeV/c along the line of sight, down the rows and to the right, see
sgm_jax/data/condition.py. Network and training are those of configs/larcv_png64_cpu.py.
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

    simulation.crop = START
    # A level is 1/30 MeV: 255 are 8.5 MeV in a pixel of 3 mm, and a minimum ionising track leaves
    # 0.6. Of the images 7 % have a brighter pixel (18 % of those of protons, at their ends or along
    # the line of sight), which costs 1.2 % of all charge.
    simulation.scaling = ABSOLUTE
    simulation.counts_per_mev = 30.0
    # Pixels are dark up to where drawn ones are, below 5 of 255. This costs 5 % of the charge.
    simulation.threshold_mev = 0.15
    # Ten lit pixels, for short tracks belong to what is asked: all but 1 in 500 of the charged
    # particles pass, and the half of the photons that convert in time.
    simulation.min_lit_fraction = 0.0024
    return config
