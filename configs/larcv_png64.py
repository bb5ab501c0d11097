"""The paper's run: 64x64 images, VP-SDE, NCSN++ with 62.7 M parameters (arXiv:2307.13687, Table 3).

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
    python -m sgm_jax.main --config=configs/larcv_png64.py
    python -m sgm_jax.main --mode=sample --config=configs/larcv_png64.py --num_samples=50048

Cost: 32.3 TFLOP a step. 60,000 steps are the published "epoch 150", and 20,000 steps took the
authors 6 hours on two RTX 2080. It needs an accelerator: a CPU takes minutes for a step. To try it:

    python -m sgm_jax.main --config=configs/larcv_png64.py --workdir=runs/try \\
        --config.training.batch_size=2 --config.training.n_iters=2 --config.eval.num_images=2

The values are those of the authors' run, field by field. Comments say where these differ from the
printed table, and where ours differ. An "epoch" of the paper is 400 steps.
"""

import ml_collections

from sgm_jax.simulation.config import default_simulation_config

# Fields of ``training`` that say nothing in other families, and those of ``model`` that do.
_OF_SCORE = (
    *("sde", "continuous", "objective", "p_mean", "p_std", "reduce_mean", "likelihood_weighting"),
    *("weighting", "time_sampling", "low_discrepancy", "dtype"),
)
_OF_ALL_MODELS = ("ema_rate", "ema_rates", "condition", "momentum_scale")


def get_config() -> ml_collections.ConfigDict:
    """Return the locked configuration."""
    config = ml_collections.ConfigDict()
    # The original has a seed of 42 and never uses it; ours decides everything that is random.
    config.seed = 42
    # The family: a name in sgm_jax.generator.GENERATORS.
    config.generator = "score"

    config.training = training = ml_collections.ConfigDict()
    training.sde = "vpsde"
    training.continuous = True
    # "noise": the network predicts the noise (weight std^2; the paper's text says 1).
    # "velocity": it predicts a mixture of noise and image (arXiv:2202.00512); see weighting.
    # "edm": it is preconditioned as by Karras et al., with log(sigma) ~ N(p_mean, p_std^2).
    training.objective = "noise"
    training.p_mean = -1.2
    training.p_std = 1.2
    training.batch_size = 128
    training.n_iters = 60_000
    training.reduce_mean = True
    training.likelihood_weighting = False
    # What the squared error of the noise is multiplied with: "noise" (1), "velocity" (that of the
    # velocity) or "min_snr" (arXiv:2303.09556). "edm" has a weight of its own ("noise"), or
    # "balanced", which gives every noise level about the same share of the loss.
    training.weighting = "noise"
    # Times are drawn "uniform", or by "importance": evenly in the logarithm of the noise level,
    # for likelihood weighting (arXiv:2101.09258). Both give the same loss on average.
    training.time_sampling = "uniform"
    # Spread the times of a batch evenly, which makes its loss vary less (arXiv:2107.00630).
    training.low_discrepancy = False
    # "bfloat16": features and their products, in training and in sampling, at half the memory and
    # traffic. Parameters, averages, optimiser, normalisation, images and loss stay float32.
    training.dtype = "float32"
    # Weights to begin with in place of random ones: a name of the package or a file of --export.
    training.initial_weights = ""
    # Of a network with conditions: the shares of images in which all of it is forgotten, and in
    # which each field is, so that the type alone, the momentum alone or nothing can be asked.
    training.drop_condition = 0.1
    training.drop_field = 0.1
    # Steps in one dispatch; more than 1 pays on accelerators only.
    training.n_jitted_steps = 1
    training.log_freq = 100
    # The original looks at one random test batch every 100 steps; we look at the same
    # eval.num_images test images with the same noise each time.
    training.eval_freq = 1000
    training.snapshot_freq = 4000
    # The original: 10,000. A restart then loses at most this many steps; writing 1 GB holds a run
    # up for a second, a step on TPUs takes 40 ms.
    training.snapshot_freq_for_preemption = 2000
    training.snapshot_sampling = False
    # Also keep the weights of the lowest test loss, in best.npz; --pretrained draws with them.
    training.keep_best = False
    training.tensorboard = False

    config.sampling = sampling = ml_collections.ConfigDict()
    # "pc": predictor and corrector on model.num_scales uniform times; with the fields below that is
    # the paper's sampler. Or, on num_steps noise levels from sigma_max down, "heun" (EDM's),
    # "ddim", "dpm_solver" (++ 2M) or "dpm_solver_sde". Or "ode": the probability flow with
    # adaptive steps. Why this one: docs/samplers/README.md.
    sampling.method = "dpm_solver"
    sampling.predictor = "euler_maruyama"
    sampling.corrector = "none"
    # Correction steps before each prediction, and how long they are.
    sampling.n_steps_each = 1
    sampling.snr = 0.16
    sampling.noise_removal = True
    sampling.probability_flow = False
    sampling.num_steps = 20
    sampling.sigma_min = 0.002
    # Several times the norm of an image's lit pixels, and within reach of every SDE.
    sampling.sigma_max = 50.0
    sampling.rho = 7.0
    # Where the levels lie: "edm" (rho), "log_snr", "time" or "quadratic" (in time).
    sampling.grid = "edm"
    # "ddim": the share of its noise drawn afresh; 0 follows the probability flow.
    sampling.eta = 0.0
    # How strongly images are led to their condition, --guidance: 1 draws what was learnt, more
    # makes images more typical and more alike, 0 ignores it. At which noise levels: "()" for all,
    # or the lowest and the highest, such as "(0.1, 5.0)".
    sampling.guidance = 1.0
    sampling.guidance_interval = ()
    # A weaker network of the same images, a file of weights or a workdir, that leads by contrast
    # (autoguidance), and how strongly: 1 is without it. It takes one more evaluation.
    sampling.weaker = ""
    sampling.autoguidance = 2.0
    # How many times as bright a denoised image is taken to be, and at which noise levels: what
    # brings drawn images to the mean charge of real ones (docs/sampling.md). 1 is without it.
    sampling.gain = 1.0
    sampling.gain_interval = (0.2, 3.0)
    # A discriminator (configs/discriminator64.py), a file of weights or a workdir, that keeps or
    # rejects what is drawn, so that what is kept is distributed as real images; and up to which
    # ratio of both densities: one of so many images is kept. Several choose one after the other,
    # each with its bound: "FIRST:8,SECOND:2" (docs/sampling.md).
    sampling.rejection = ""
    sampling.rejection_bound = 4.0
    # How images that were drawn, and kept, are turned over at random, where real images have that
    # symmetry and drawn ones lack it: "mirror", left for right as data.random_flip does, or
    # "flips", upside down as well; "none" leaves them as they are (docs/sampling.md).
    sampling.symmetry = "none"
    # Of each step of the probability flow, also in --mode=likelihood.
    sampling.ode_rtol = 1e-5
    sampling.ode_atol = 1e-5
    # Images for which a device solves it at once. Programs for other numbers round differently, and
    # the flow makes visible differences of that: an image depends on this number, and on no batch.
    sampling.ode_batch = 4

    config.eval = evaluate = ml_collections.ConfigDict()
    evaluate.batch_size = 128
    evaluate.num_samples = 50_048
    evaluate.num_images = 1024
    # Random directions, "rademacher" or "gaussian", in which a likelihood probes each image.
    evaluate.num_probes = 4
    evaluate.probe = "rademacher"

    config.data = data = ml_collections.ConfigDict()
    data.train_path = "data/lar64/train/larcv_png_64"
    data.test_path = "data/lar64/test/larcv_png_64"
    data.image_size = 64
    # One grey channel, three times, as the authors' loader made it.
    data.num_channels = 3
    # The three channels are planes of the detector that differ, and stay apart in what is drawn.
    data.planes = False
    data.random_flip = True
    data.centered = True
    # How the network sees charge: "linear" (the paper), "sqrt", "log" or "asinh". The last three
    # spread faint pixels, which are most of a track.
    data.transform = "linear"
    # How far above all others level 255 lies in network space, 0..1 without it. Where many images
    # have a pixel of exactly 255, a network can then learn to draw it.
    data.saturation = 0.0
    # How the stored values come to 0..255. "none": they are there; "per_image": the largest of each
    # image becomes 255; "quantile": the one that 99 % of its lit pixels do not exceed, so that a
    # hot pixel does not set the scale; "fixed:4095": 4095 becomes 255 in all images.
    data.scaling = "none"
    # What the images show: "labels" for labels.h5 beside them, or .csv, .npz or .h5 files with a
    # row for each of them, such as "shown_{split}.csv" for shown_train.csv and shown_test.csv; ""
    # for nothing. And the names of the kinds of particle.
    data.condition = ""
    data.particles = ()
    # The least and the largest momentum of the training images in MeV/c, of all of them and then of
    # each kind of particle. It is measured when a run begins; nothing beyond is drawn unasked.
    data.momentum_range = ()
    # Standard deviation of the pixels, for "edm"; -1 measures it on the training images.
    data.std = -1.0

    config.model = model = ml_collections.ConfigDict()
    # Table 3 prints 20 for both.
    model.beta_min = 0.1
    model.beta_max = 20.0
    model.num_scales = 1000
    model.sigma_min = 0.01
    model.sigma_max = 50.0
    model.dropout = 0.1
    model.embedding_type = "positional"
    model.fourier_scale = 16.0
    model.ema_rate = 0.9999
    # Further averages, such as (0.999, 0.99999), to draw with by --ema=0.999.
    model.ema_rates = ()
    model.scale_by_sigma = False
    model.nonlinearity = "swish"
    model.nf = 128
    model.ch_mult = (1, 2, 2, 2)
    model.num_res_blocks = 4
    model.attn_resolutions = (16,)
    model.resamp_with_conv = True
    model.conditional = True
    model.fir = True
    model.fir_kernel = (1, 3, 3, 1)
    model.skip_rescale = True
    model.resblock_type = "biggan"
    model.progressive = "none"
    model.progressive_input = "residual"
    model.progressive_combine = "sum"
    model.init_scale = 0.0
    # What the network sees of a condition, such as "('particle', 'momentum')"; nothing in the
    # original. And, in MeV/c, a momentum of ordinary size.
    model.condition = ()
    model.momentum_scale = 500.0
    # Where the momentum is among them, tell each place how it lies to it; for particles that start
    # in the middle of their images.
    model.momentum_map = False
    # 1 is the original; 2 folds 2x2 pixels into channels and so needs a quarter of the work.
    model.space_to_depth = 1
    # 4: the network also looks at the means of 4x4 parts of the image; 0 is the original.
    model.overview = 0

    config.optim = optim = ml_collections.ConfigDict()
    # "Adam" (the original's), or "Muon" (arXiv:2502.16982) for matrices and convolutions, with Adam
    # at optim.adam_lr for the other parameters. Muon's lr is near 0.02.
    optim.optimizer = "Adam"
    optim.lr = 2e-4
    optim.adam_lr = 1e-3
    optim.beta1 = 0.9
    optim.beta2 = 0.999
    optim.eps = 1e-8
    optim.weight_decay = 0.0
    optim.warmup = 5000
    # "constant" after the warm-up; "inverse_sqrt": as 1 / sqrt(step) after optim.decay_start;
    # "cosine": falling to 0 at training.n_iters; or "linear": falling to 0 over the last
    # optim.decay_fraction of training.n_iters. With the last two, training.n_iters belongs to what
    # a restart must not change.
    optim.schedule = "constant"
    optim.decay_fraction = 0.4
    optim.decay_start = 1000
    optim.grad_clip = 1.0

    config.simulation = default_simulation_config()
    return config.lock()


def of_another_family(generator: str) -> ml_collections.ConfigDict:
    """Return this configuration, unlocked, without the fields of the score family.

    Of a family of sparse images: one channel, whose background is exactly 0.
    """
    config = get_config().unlock()
    config.generator = generator
    for name in _OF_SCORE:
        del config.training[name]
    config.model = ml_collections.ConfigDict({name: config.model[name] for name in _OF_ALL_MODELS})
    config.data.num_channels = 1
    config.data.centered = False

    theirs, config.sampling = config.sampling, ml_collections.ConfigDict()
    sampling = config.sampling
    # Images that a device draws at once, and in --mode=likelihood measures. Other numbers round
    # differently, and where that lights a pixel, all that is drawn after it differs.
    sampling.at_once = 32
    # Of the score family: nothing is guided here.
    sampling.guidance = 1.0
    sampling.guidance_interval = ()
    # Of all families.
    for name in ("rejection", "rejection_bound", "symmetry"):
        sampling[name] = theirs[name]

    config.eval.batch_size = 64
    config.eval.num_samples = 1000
    config.eval.num_images = 1024
    return config


def make_images_few(config: ml_collections.ConfigDict) -> None:
    """Make 6,500 images, in the folder of the demo."""
    config.data.train_path = "data/demo/train/larcv_png_64"
    config.data.test_path = "data/demo/test/larcv_png_64"
    config.simulation.num_train, config.simulation.num_test = 6000, 500


def make_images_tiny(config: ml_collections.ConfigDict, name: str) -> None:
    """Make images of 16 pixels, 2,200 of them, in a folder of this name."""
    data, simulation = config.data, config.simulation
    data.train_path = f"data/{name}/train/larcv_png_16"
    data.test_path = f"data/{name}/test/larcv_png_16"
    data.image_size = simulation.image_size = 16
    simulation.num_train, simulation.num_test = 2000, 200
