"""SARM as it was published, on images of 32 pixels: a masked dense network, D+D, in two stages.

python -m sgm_jax.main --mode=simulate --config=configs/sarm_made32.py
python -m sgm_jax.main --config=configs/sarm_made32.py
python -m sgm_jax.main --mode=sample --workdir=runs/sarm_made32 --num_samples=1000

arXiv:2009.14017 has jets of 25 x 25 pixels, one network for each class, 1024 units in each of six
layers and 100 features for each pixel; this has 16, which keeps it at 30 million parameters. The
spiral goes outwards and counter-clockwise, the best of the published orders. A dense network does
not know that detector images look alike wherever they lie: for larger images there is
configs/sarm64.py.
"""

import ml_collections

from configs import sarm64


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = sarm64.get_config()
    data, training, model, simulation = (
        config.data,
        config.training,
        config.model,
        config.simulation,
    )
    data.train_path = "data/sarm32/train/larcv_png_32"
    data.test_path = "data/sarm32/test/larcv_png_32"
    data.image_size = simulation.image_size = 32

    model.trunk = "made"
    model.head = "dd"
    model.order = "spiral_out_counter_clockwise"
    model.stages = "window"
    model.window = 15
    model.saturated = False

    # Published: batches of 128, and 1e-4 which is halved after the hundredth epoch.
    training.batch_size = 128
    config.optim.optimizer = "Adam"
    config.optim.lr = 3e-4
    training.n_iters = 5000
    return config
