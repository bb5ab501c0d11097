"""What samplers cost beyond the network: drawing images beside the same evaluations alone."""

import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import larcv_png64_cpu
from launch.benchmark.evaluator import Comparison
from launch.programs import known_std
from sgm_jax.drawer import Drawer
from sgm_jax.generators import score
from sgm_jax.run import parallel

STEPS = 10
SAMPLERS = {
    "euler_maruyama": {"sampling.method": "pc"},
    "ddim": {"sampling.method": "ddim"},
    "heun": {"sampling.method": "heun"},
    "dpm_solver": {"sampling.method": "dpm_solver"},
    "dpm_solver_sde": {"sampling.method": "dpm_solver_sde"},
}


def compare(name: str, repeats: int, config: ml_collections.ConfigDict | None = None) -> Comparison:
    """Measure a batch of images against so many calls of the network in a loop, in turns.

    Args:
        name: of the sampler, a key of ``SAMPLERS``.
        repeats: batches that are drawn, of which the median counts.
        config: its network; that of ``configs/larcv_png64_cpu.py`` if not given.
    """
    config = known_std(config or larcv_png64_cpu.get_config())
    config.update_from_flattened_dict(SAMPLERS[name] | {"sampling.num_steps": STEPS})
    config.model.num_scales = STEPS
    generator, batch = score.build(config), config.eval.batch_size
    drawer = Drawer(generator, batch_size=batch, seed=0)
    state = jax.jit(generator.initial_state)(jax.random.key(0))
    variables = parallel.replicate(state.averaged)
    alone, images = _network_alone(generator), _noise(config)

    def draw() -> None:
        drawer.draw(variables, 0, batch, progress=lambda done: None)

    def evaluate() -> None:
        jax.block_until_ready(alone(variables.params, images, jnp.int32(drawer.drawing.nfe)))

    ours, theirs = _in_turns(draw, evaluate, repeats)
    what = f"{name}, {batch} images x {drawer.drawing.nfe}"
    return Comparison(what, ours, ours / theirs, "its evaluations alone", theirs, 1.0)


def _network_alone(generator: score.ScoreGenerator) -> Callable:
    def call(params: dict, images: jax.Array, count: jax.Array) -> jax.Array:
        labels = jnp.ones(len(images))

        def once(_: int, x: jax.Array) -> jax.Array:
            return generator.net.apply({"params": params}, x, labels)

        return jax.lax.fori_loop(0, count, once, images)

    return parallel.batch_function(call, in_axes=(None, 0, None))


def _noise(config: ml_collections.ConfigDict) -> jax.Array:
    data = config.data
    shape = (config.eval.batch_size, data.image_size, data.image_size, data.num_channels)
    return parallel.shard(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _in_turns(
    first: Callable[[], None], second: Callable[[], None], repeats: int
) -> tuple[float, float]:
    """Return the median processor seconds of each, after one call of each that compiles."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for call, spent in zip((first, second), times, strict=True):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


COMPARISONS: dict[str, Callable[[int], Comparison]] = {
    f"sampler_{name}": functools.partial(compare, name) for name in SAMPLERS
}
