"""What a training costs, said before it begins where a CPU would take weeks."""

import os

import jax
import jax.numpy as jnp
import ml_collections

from sgm_jax.generator import Generator
from sgm_jax.run.log import LOGGER
from sgm_jax.run.progress import duration
from sgm_jax.step import Variables

# Convolutions of both networks in configs/, float32, on an EPYC core of 2021: 35 GFLOP/s.
CPU_FLOPS = 3e10
# A gradient costs two more passes.
PASSES = 3
LONG_SECONDS = 7 * 24 * 3600.0
FOR_A_CPU = "--config=configs/larcv_png64_cpu.py"


def warn_if_long(
    config: ml_collections.ConfigDict, generator: Generator, variables: Variables, steps: int
) -> None:
    """Warn if these updates would take this machine's CPU more than a week; name what fits.

    On accelerators nothing is said: the bar shows the time left soon enough.
    """
    if jax.default_backend() != "cpu":
        return
    rate = CPU_FLOPS * cores()
    images = PASSES * config.training.batch_size
    # No parameter of a network is used more often than once a pixel. Tracing takes a second.
    size = sum(leaf.size for leaf in jax.tree.leaves(variables.params))
    height, width, _ = generator.image_shape
    if steps * images * 2 * size * height * width / rate < LONG_SECONDS:
        return
    flops = images * forward_flops(generator, variables)
    if steps * flops / rate < LONG_SECONDS:
        return
    LOGGER.warning(
        "a step is %.3g TFLOP, about %s on the CPU here (%d cores), and the %s steps that are left "
        "take about %s: this network needs a GPU or a TPU. For a CPU there is %s; to try this one: "
        "--config.training.n_iters=2 --config.training.batch_size=2 --config.eval.num_images=2",
        flops / 1e12,
        duration(flops / rate),
        cores(),
        f"{steps:,}",
        duration(steps * flops / rate),
        FOR_A_CPU,
    )


def forward_flops(generator: Generator, variables: Variables) -> float:
    """Return the multiplications and additions in the loss of one image; nothing is compiled."""
    shape = (1, *generator.image_shape)
    batch = {
        "image": jax.ShapeDtypeStruct(shape, jnp.float32),
        "index": jax.ShapeDtypeStruct((1,), jnp.int32),
        # Seen by discriminators only.
        "drawn": jax.ShapeDtypeStruct(shape, jnp.float32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    lowered = jax.jit(lambda *args: generator.eval_loss(*args)[0]).lower(like, key, batch)
    return float(lowered.cost_analysis()["flops"])


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
