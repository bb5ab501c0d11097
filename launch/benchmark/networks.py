"""What training, sampling and labelling cost in the networks of this package.

The PyTorch figures of the score networks are medians of score_sde_pytorch at commit cb1f359 with
torch 2.13.0 (CPU, two threads, two cores of an AMD EPYC), for the same network, batch and step.
Those of SSNet are of the same layers, written down for this purpose, on one thread, in turns with
ours: labelling in inference mode; for training, forward and backward pass with batch statistics but
without augmentation and optimiser, which ours includes. Tensors are contiguous: channels_last is a
sixth faster, and its logits differ by up to 2e-2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import larcv_png64, larcv_png64_cpu, ssnet
from evaluation.ssnet.network import SHOWER, TRACK
from evaluation.ssnet.scores import score_function
from evaluation.ssnet.training import SegmentationTraining, flax_variables, network
from launch.benchmark.measurement import Comparison, Line, median_seconds, processor_seconds
from launch.programs import known_std, training_call
from sgm_jax import generator as contract
from sgm_jax.drawer import Drawer
from sgm_jax.generators import score
from sgm_jax.run import parallel

SAMPLER_STEPS = 4
# Networks by name: what differs from the paper's configuration, and the batch to measure with.
CASES: dict[str, tuple[dict, int]] = {
    "tiny": (
        {"data.image_size": 32, "data.num_channels": 1, "model.nf": 32}
        | {"model.ch_mult": (1, 2, 2), "model.num_res_blocks": 1},
        16,
    ),
    "small": ({"data.num_channels": 1, "model.nf": 32, "model.num_res_blocks": 2}, 16),
    "paper": ({}, 2),
}
PYTORCH_TRAINING = {"tiny": 1.51, "small": 6.84, "paper": 8.24}
PYTORCH_SAMPLING = {"tiny": 0.27, "small": 1.71, "paper": 2.17}
PYTORCH_SSNET_LABELLING, PYTORCH_SSNET_TRAINING = 0.43, 1.40
_LIT = 0.05  # of the pixels, about as in the data

OVERHEAD_STEPS = 10
# Samplers by name: their config.sampling.method.
SAMPLERS = {"euler_maruyama": "pc"}
SAMPLERS |= {name: name for name in ("ddim", "heun", "dpm_solver", "dpm_solver_sde")}


def case_config(name: str) -> ml_collections.ConfigDict:
    """Return the configuration of the network called ``name``."""
    overrides, batch = CASES[name]
    config = larcv_png64.get_config()
    config.update_from_flattened_dict(overrides)
    config.training.batch_size = config.eval.batch_size = batch
    config.model.num_scales = SAMPLER_STEPS
    config.sampling.method = "pc"
    return config


def time_training(name: str, repeats: int) -> Line:
    """Measure one update of the network called ``name``."""
    config = case_config(name)
    batch = config.training.batch_size
    seconds = processor_seconds(training_call(config, batch), repeats)
    return Line(
        f"{name}: training step, {batch} images", seconds, PYTORCH_TRAINING.get(name), batch
    )


def time_sampling(name: str, repeats: int) -> Line:
    """Measure one Euler-Maruyama step of the network called ``name``."""
    config = case_config(name)
    draw, _, _ = _drawing(contract.build(config), config)
    seconds, batch = processor_seconds(draw, repeats) / SAMPLER_STEPS, config.eval.batch_size
    return Line(f"{name}: sampler step, {batch} images", seconds, PYTORCH_SAMPLING.get(name), batch)


def compare_sampler(
    name: str, repeats: int, config: ml_collections.ConfigDict | None = None
) -> Comparison:
    """Compare drawing a batch of images with as many network evaluations alone, in turns.

    Args:
        name: of the sampler, a key of ``SAMPLERS``.
        repeats: batches that are drawn, of which the median counts.
        config: of the network; ``configs/larcv_png64_cpu.py`` by default.
    """
    config = known_std(config or larcv_png64_cpu.get_config())
    config.sampling.method, config.sampling.num_steps = SAMPLERS[name], OVERHEAD_STEPS
    config.model.num_scales = OVERHEAD_STEPS
    generator, batch = score.build(config), config.eval.batch_size
    draw, variables, evaluations = _drawing(generator, config)
    alone, data = _evaluations_alone(generator), config.data
    shape = (batch, data.image_size, data.image_size, data.num_channels)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    images = parallel.shard(noise)

    def evaluate() -> None:
        jax.block_until_ready(alone(variables.params, images, jnp.int32(evaluations)))

    ours, theirs = median_seconds([draw, evaluate], repeats)
    what = f"{name}, {batch} images x {evaluations}"
    return Comparison(what, ours, ours / theirs, "its evaluations alone", theirs, 1.0)


def _drawing(
    generator: contract.Generator, config: ml_collections.ConfigDict
) -> tuple[Callable[[], None], contract.Variables, int]:
    """Return a call that draws a batch, the network's variables, and the evaluations an image."""
    batch = config.eval.batch_size
    drawer = Drawer(generator, batch_size=batch, seed=0)
    state = jax.jit(generator.initial_state)(jax.random.key(0))
    variables = parallel.replicate(state.averaged)

    def draw() -> None:
        drawer.draw(variables, 0, batch, progress=lambda done: None)

    return draw, variables, drawer.drawing.nfe


def _evaluations_alone(generator: score.ScoreGenerator) -> Callable:
    def call(params: dict, images: jax.Array, count: jax.Array) -> jax.Array:
        labels = jnp.ones(len(images))

        def once(_: int, x: jax.Array) -> jax.Array:
            return generator.net.apply({"params": params}, x, labels)

        return jax.lax.fori_loop(0, count, once, images)

    return parallel.batch_function(call, in_axes=(None, 0, None))


def time_ssnet_labelling(repeats: int, config: ml_collections.ConfigDict | None = None) -> Line:
    """Measure the labelling of one batch, with running statistics."""
    pytorch = PYTORCH_SSNET_LABELLING if config is None else None
    config = config or ssnet.get_config()
    state = SegmentationTraining(config, 1).initial_state(jax.random.key(config.seed))
    net = network(config, "running_statistics")
    label = score_function(net, flax_variables(state.averaged))
    images = _labelled_batch(config.eval.batch_size, config.data.image_size)["image"]
    seconds, count = processor_seconds(lambda: label(images), repeats), len(images)
    return Line(f"ssnet: labelling, {count} images", seconds, pytorch, images=count)


def time_ssnet_training(repeats: int, config: ml_collections.ConfigDict | None = None) -> Line:
    """Measure one update of SSNet, augmentation and optimiser included."""
    pytorch = PYTORCH_SSNET_TRAINING if config is None else None
    config = config or ssnet.get_config()
    training = SegmentationTraining(config, 100)
    update = parallel.train_function(training.train_step)
    state = parallel.replicate(training.initial_state(jax.random.key(config.seed)))
    batch = _labelled_batch(config.training.batch_size, config.data.image_size)
    stack = {name: values[None] for name, values in batch.items()}

    def call() -> None:
        nonlocal state
        state, metrics = update(state, jax.random.key(0), stack)
        jax.block_until_ready((state, metrics))

    seconds, count = processor_seconds(call, repeats), config.training.batch_size
    return Line(f"ssnet: training step, {count} images", seconds, pytorch, images=count)


def _labelled_batch(count: int, side: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lit = rng.random((count, side, side)) < _LIT
    return {
        "image": np.where(lit, rng.integers(1, 256, lit.shape), 0)[..., None].astype(np.float32),
        "label": np.where(lit, rng.choice([SHOWER, TRACK], lit.shape), 0).astype(np.int32),
        "index": np.arange(count, dtype=np.int32),
    }
