"""Measure the processor time of training, sampling and starting up on this machine.

    python -m launch.benchmark                       # every line
    python -m launch.benchmark --only=tiny_training,import

Processor seconds count all threads, so neighbours on the machine disturb them less than wall time.
The PyTorch figures are medians of score_sde_pytorch at commit cb1f359 with torch 2.13.0 (CPU, two
threads, two cores of an AMD EPYC), for the same network, batch and step.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import app, flags

from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.sde import VPSDE, per_image

_ONLY = flags.DEFINE_list("only", [], "lines to measure; every line if empty")
_REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each line, after one that is not counted")


class Case(NamedTuple):
    """A network and the batch it is measured with."""

    net: NCSNpp
    batch: int


class Line(NamedTuple):
    """A measurement in processor seconds, beside what PyTorch took, if that is known."""

    what: str
    seconds: float
    pytorch_seconds: float | None = None


CASES: dict[str, Case] = {
    "tiny": Case(NCSNpp(32, 1, 32, (1, 2, 2), 1, (16,)), batch=16),
    "small": Case(NCSNpp(64, 1, 32, (1, 2, 2, 2), 2, (16,)), batch=16),
    "paper": Case(NCSNpp(64, 3, 128, (1, 2, 2, 2), 4, (16,)), batch=2),
}
PYTORCH_TRAINING = {"tiny": 1.51, "small": 6.84, "paper": 8.24}
PYTORCH_SAMPLING = {"tiny": 0.27, "small": 1.71, "paper": 2.17}


def processor_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of ``call``, all threads, after one run to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def start(case: Case) -> tuple[dict, jax.Array]:
    """Return fresh parameters and a batch of noise to work on."""
    shape = (case.batch, case.net.image_size, case.net.image_size, case.net.num_channels)
    images = jax.random.normal(jax.random.key(1), shape)
    params = jax.jit(case.net.init)(jax.random.key(0), images, jnp.ones((case.batch,)))["params"]
    return params, images


def training_step(net: NCSNpp, transform: optax.GradientTransformation) -> Callable:
    """Return the compiled step of the paper: noise prediction, Adam, clipping, moving average."""
    sde = VPSDE()

    def loss(params, key, images):
        t_key, z_key, dropout_key = jax.random.split(key, 3)
        t = jax.random.uniform(t_key, (len(images),), minval=1e-5)
        z = jax.random.normal(z_key, images.shape)
        mean, std = sde.marginal_prob(images, t)
        noisy, rngs = mean + per_image(std, z) * z, {"dropout": dropout_key}
        out = net.apply({"params": params}, noisy, 999.0 * t, True, rngs=rngs)
        return jnp.mean(jnp.square(out - z))

    def step(state, key, images):
        params, moments, average = state
        grads = jax.grad(loss)(params, key, images)
        updates, moments = transform.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        return params, moments, optax.incremental_update(params, average, 1e-4)

    return jax.jit(step, donate_argnums=0)


def time_training(name: str, repeats: int) -> Line:
    """Measure one update of the network called ``name``."""
    case = CASES[name]
    params, images = start(case)
    transform = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(2e-4))
    step = training_step(case.net, transform)
    state = params, transform.init(params), jax.tree.map(jnp.copy, params)

    def call() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, jax.random.key(2), images))

    what = f"{name}: training step, {case.batch} images"
    return Line(what, processor_seconds(call, repeats), PYTORCH_TRAINING.get(name))


def time_sampling(name: str, repeats: int) -> Line:
    """Measure one Euler-Maruyama step of the network called ``name``."""
    case = CASES[name]
    params, images = start(case)
    sde, dt = VPSDE(), -1.0 / 1000

    @jax.jit
    def step(x, key):
        t = jnp.full((case.batch,), 0.5)
        out = case.net.apply({"params": params}, x, 999.0 * t)
        drift, diffusion = sde.sde(x, t)
        score = -out / per_image(sde.marginal_prob(x, t)[1], x)
        noise = jax.random.normal(key, x.shape)
        g = per_image(diffusion, x)
        return x + (drift - g**2 * score) * dt + g * (-dt) ** 0.5 * noise

    def call() -> None:
        jax.block_until_ready(step(images, jax.random.key(2)))

    what = f"{name}: sampler step, {case.batch} images"
    return Line(what, processor_seconds(call, repeats), PYTORCH_SAMPLING.get(name))


def time_import(repeats: int) -> Line:
    """Measure ``import sgm_jax`` in a fresh interpreter, start of Python included."""
    code = "import sgm_jax, time; print(time.process_time())"
    times = []
    for _ in range(repeats):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(float(run.stdout))
    return Line("import sgm_jax", statistics.median(times))


def _lines() -> dict[str, Callable[[int], Line]]:
    lines: dict[str, Callable[[int], Line]] = {"import": time_import}
    for name in CASES:
        lines[f"{name}_training"] = lambda repeats, name=name: time_training(name, repeats)
        lines[f"{name}_sampling"] = lambda repeats, name=name: time_sampling(name, repeats)
    return lines


LINES = _lines()


def table(lines: list[Line]) -> str:
    """Lay the measurements out in columns."""
    rows = [f"{'processor seconds':<36}{'sgm_jax':>9}{'PyTorch':>9}"]
    for line in lines:
        pytorch = "-" if line.pytorch_seconds is None else f"{line.pytorch_seconds:.2f}"
        rows.append(f"{line.what:<36}{line.seconds:>9.3f}{pytorch:>9}")
    return "\n".join(rows)


def main(argv: list[str]) -> None:
    """Measure the lines asked for and print them.

    Raises:
        ValueError: if a line is unknown.
    """
    del argv
    unknown = set(_ONLY.value) - set(LINES)
    if unknown:
        raise ValueError(f"--only={','.join(sorted(unknown))}: unknown; known: {', '.join(LINES)}")
    names = _ONLY.value or list(LINES)
    print(table([LINES[name](_REPEATS.value) for name in names]))


if __name__ == "__main__":
    app.run(main)
