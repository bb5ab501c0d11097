"""SSNet, the segmentation network of the evaluation, on simulated truth.

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
    python -m evaluation.train_ssnet --config=configs/ssnet.py
    python -m evaluation.train_ssnet --config=configs/ssnet.py --export=ssnet.npz

Network, loss and augmentation are those of the published SSNet (used by arXiv:2307.13687; code
NuTufts/uresnet_pytorch); comments say where ours differ. If training is stopped, the same command
continues.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = ml_collections.ConfigDict()
    config.seed = 42

    config.data = data = ml_collections.ConfigDict()
    data.train_path = "data/lar64/train/larcv_png_64"
    data.test_path = "data/lar64/test/larcv_png_64"
    data.labels_path = "data/lar64/labels.h5"
    # Folders of other simulations to train on as well, so that the network does not rest on one
    # detector: each with train/larcv_png_<image_size> and labels.h5.
    data.further_sets = ()
    data.image_size = 64
    # Charge is scaled by a factor uniform in 1 +- this. The original: 0.1, which its scaling of
    # every image to one maximum takes out again.
    data.brightness = 0.2

    config.model = model = ml_collections.ConfigDict()
    model.filters = 16
    model.num_strides = 4

    config.training = training = ml_collections.ConfigDict()
    training.batch_size = 32
    training.num_epochs = 2
    # An export to begin with instead of random weights: to go on with other images, your own.
    training.initial_weights = ""
    # Also teach that empty pixels are background: the paper's image label reads their scores.
    training.empty_pixels = True
    # The last updates are made with the running statistics, held fixed, that the network is used
    # with. Those of sparse images differ much from batch to batch. The original: none.
    training.settling_fraction = 0.15
    training.log_freq = 50
    training.snapshot_freq = 200

    config.optim = optim = ml_collections.ConfigDict()
    # Rises over the first tenth of the updates, then falls to 0 as a cosine. The original: 1e-3,
    # halved every fourth of 20 epochs.
    optim.lr = 2e-3
    optim.warmup_fraction = 0.1
    # Times the parameters, added to the gradient (not decoupled).
    optim.weight_decay = 1e-4

    config.eval = evaluate = ml_collections.ConfigDict()
    evaluate.batch_size = 32
    # Test images looked at after each epoch, evenly spaced; after the last one, all.
    evaluate.num_images = 2000
    return config.lock()
