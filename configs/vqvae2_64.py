"""Images of a particle and a momentum through codes of 8x8 and 16x16 places: VQ-VAE-2, PixelSNAIL.

python -m sgm_jax.main --mode=simulate --config=configs/vqvae2_64.py
python -m sgm_jax.main --config=configs/vqvae2_64.py
python -m sgm_jax.main --mode=sample --workdir=runs/vqvae2_64 --particle=muon --momentum=0,0,300

The images are those of configs/larcv_cond64.py. The second command trains the autoencoder in
runs/vqvae2_64/first_stage, and then the prior of both grids in runs/vqvae2_64. A few minutes to try
everything: --config=configs/vqvae2_64.py:tiny. What the choices mean: docs/generators/vqvae.md.
"""

import ml_collections

from configs import larcv_cond64, vqvae64


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Return the locked configuration; ``variant`` is "" or "tiny"."""
    config = vqvae64.get_config().unlock()
    asked = larcv_cond64.get_config()
    data, model, prior = config.data, config.model, config.prior
    for name in ("train_path", "test_path", "condition", "particles"):
        data[name] = asked.data[name]
    config.simulation = asked.simulation
    model.condition = asked.model.condition

    model.levels = 2
    prior.trunk = "causal_conv"
    # Of the 8x8 codes, after every third block.
    prior.attention = (2, 5)
    prior.first_kernel = 5
    config.sampling.temperatures = (1.0, 1.0)
    if variant == "tiny":
        vqvae64.make_tiny(config)
        data.train_path = "data/vqvae2_tiny/train/larcv_png_16"
        data.test_path = "data/vqvae2_tiny/test/larcv_png_16"
        prior.attention = (1,)
        # An image of 16 pixels is as wide as one of 64.
        config.simulation.pixel_mm = 40.0
    elif variant:
        raise ValueError(f"there is no variant {variant!r}; there is: tiny")
    return config.lock()
