"""What SSNet costs: labelling and one training step, on 64x64 images.

The PyTorch figures are of the same layers, written down for this purpose, with torch 2.13.0 on one
thread of an AMD EPYC, in turns with ours: labelling in inference mode; for training forward and
backward pass with batch statistics, without augmentation and optimiser, which ours includes.
Tensors are contiguous: channels_last is a sixth faster, and up to 2e-2 off in the logits.
"""

import jax
import ml_collections
import numpy as np

from configs import ssnet
from evaluation.ssnet.network import SHOWER, TRACK
from evaluation.ssnet.scores import score_function
from evaluation.ssnet.training import SegmentationTraining, flax_variables, network
from launch.benchmark.measurement import Line, processor_seconds
from sgm_jax.run import parallel

PYTORCH_INFERENCE, PYTORCH_TRAINING = 0.43, 1.40
_LIT = 0.05  # of the pixels, about as in the data


def time_inference(repeats: int, config: ml_collections.ConfigDict | None = None) -> Line:
    """Measure the labelling of one batch, with running statistics."""
    pytorch = PYTORCH_INFERENCE if config is None else None
    config = config or ssnet.get_config()
    state = SegmentationTraining(config, 1).initial_state(jax.random.key(config.seed))
    net = network(config, "running_statistics")
    score = score_function(net, flax_variables(state.averaged))
    images = _batch(config.eval.batch_size, config.data.image_size)["image"]
    seconds = processor_seconds(lambda: score(images), repeats)
    what = f"ssnet: labelling, {len(images)} images"
    return Line(what, seconds, pytorch, images=len(images))


def time_training(repeats: int, config: ml_collections.ConfigDict | None = None) -> Line:
    """Measure one update, augmentation and optimiser included."""
    pytorch = PYTORCH_TRAINING if config is None else None
    config = config or ssnet.get_config()
    training = SegmentationTraining(config, 100)
    update = parallel.train_function(training.train_step)
    state = parallel.replicate(training.initial_state(jax.random.key(config.seed)))
    batch = _batch(config.training.batch_size, config.data.image_size)
    stack = {name: values[None] for name, values in batch.items()}

    def call() -> None:
        nonlocal state
        state, metrics = update(state, jax.random.key(0), stack)
        jax.block_until_ready((state, metrics))

    seconds, count = processor_seconds(call, repeats), config.training.batch_size
    what = f"ssnet: training step, {count} images"
    return Line(what, seconds, pytorch, images=count)


def _batch(count: int, side: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lit = rng.random((count, side, side)) < _LIT
    return {
        "image": np.where(lit, rng.integers(1, 256, lit.shape), 0)[..., None].astype(np.float32),
        "label": np.where(lit, rng.choice([SHOWER, TRACK], lit.shape), 0).astype(np.int32),
        "index": np.arange(count, dtype=np.int32),
    }
