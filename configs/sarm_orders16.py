"""SARM's test bench: orders of pixels, and particles told apart by what drawn images teach.

python -m sgm_jax.main --mode=simulate --config=configs/sarm_orders16.py
python -m sgm_jax.main --config=configs/sarm_orders16.py --config.model.order=row --workdir=runs/row
python -m sgm_jax.main --mode=sample --workdir=runs/row --conditions=data/orders16/labels.h5::test
python -m evaluation.conditional.two_particles --particles=electron,muon --out=two \\
    --real=data/orders16/test/larcv_png_16 --train=data/orders16/train/larcv_png_16 \\
    --generated=row=runs/row/samples/step_000500_conditions

arXiv:2009.14017 has jets of two classes on 25 x 25 pixels, seen from their axis. The nearest thing
of ours are particles seen from their start, 16 x 16 pixels of 40 mm; one network for all kinds. It
is the convolutional one: the published dense network (--config.model.trunk=made) would need far
longer. What came out: docs/generators/sarm.md.
"""

import ml_collections

from configs import larcv_cond64, sarm64


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = sarm64.get_config().unlock()
    asked = larcv_cond64.get_config()
    data, simulation = config.data, asked.simulation
    data.train_path = "data/orders16/train/larcv_png_16"
    data.test_path = "data/orders16/test/larcv_png_16"
    data.condition, data.particles = asked.data.condition, asked.data.particles
    # The start lies in the middle, and mirrored images are images of the same particle.
    config.model.condition = ("particle",)
    config.simulation = simulation
    data.image_size = simulation.image_size = 16
    simulation.pixel_mm = 40.0
    # A pixel is four times as wide as there, and so is the charge that a track leaves in it.
    simulation.counts_per_mev = 2.5

    config.model.head = "dd"
    # On this scale a saturated pixel is one like others.
    config.model.saturated = False
    config.training.batch_size = 128
    config.training.n_iters = 500
    config.training.snapshot_freq = 250
    config.training.eval_freq = 100
    return config.lock()
