"""Devices and processes: the only module that knows them.

Everywhere else, the arrays of a batch have a leading ``[B]`` axis; here it becomes
``[devices, B / devices]`` for ``jax.pmap``. State and parameters are the same on every device and
come and go without a device axis, so no other module needs to replicate or unreplicate them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = Any
AXIS = "batch"


def process_index() -> int:
    """Return which of the processes this is."""
    return jax.process_index()


def process_count() -> int:
    """Return how many processes run this program together."""
    return jax.process_count()


def is_main() -> bool:
    """Tell whether this process writes files."""
    return jax.process_index() == 0


def device_count() -> int:
    """Return the number of devices over all processes."""
    return jax.device_count()


def describe() -> str:
    """Return the number of this process and the devices it runs on, in one line."""
    kind = jax.devices()[0].device_kind
    return f"process {process_index() + 1} of {process_count()}, {device_count()} x {kind}"


def check_divisible(batch_size: int, name: str) -> None:
    """Refuse a batch that the devices cannot share evenly.

    Raises:
        ValueError: with the nearest sizes that fit.
    """
    devices = device_count()
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        fits = [str(size) for size in (below, below + devices) if size > 0]
        raise ValueError(
            f"{name} {batch_size} is not divisible by {devices} devices; try {' or '.join(fits)}"
        )


def fitting_batch(count: int, *, most: int) -> int:
    """Return a batch over all devices for so many images, which wastes little on the last one.

    Up to 16 images a device it is exact, and at most an eighth more above: every size is a program
    of its own, which takes longer to compile than an eighth of the images to draw.

    Args:
        count: of images.
        most: images at once; each device takes one at least.
    """
    devices = device_count()
    largest = max(most // devices, 1)
    needed = max(-(-count // devices), 1)
    calls = -(-needed // largest)
    each = -(-needed // calls)
    step = 2 ** max((each - 1).bit_length() - 4, 0)
    return min(-(-each // step) * step, largest) * devices


def mean(tree: Tree) -> Tree:
    """Average over devices, inside a function given to :func:`train_function`."""
    return jax.lax.pmean(tree, AXIS)


def mapped_step(
    step: Callable, *, steps_per_call: int = 1, devices: Sequence[jax.Device] | None = None
) -> Callable:
    """Map ``step(state, key, batch) -> (state, metrics)`` over devices.

    Args:
        step: averages its gradients and metrics with :func:`mean`.
        steps_per_call: how many steps to run in one dispatch; each has its metrics, ``[steps]``.
        devices: to compile for; all that exist by default. For devices of a topology that is not
            present, a function can be compiled but not run.

    Returns:
        A function of the same arguments with batches of ``[devices, steps, B / devices, ...]``. The
        state given to it is consumed.
    """

    def single(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        state, metrics = step(state, key, jax.tree.map(lambda leaf: leaf[0], batch))
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    def several(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        return jax.lax.scan(lambda state, batch: step(state, key, batch), state, batch)

    return jax.pmap(
        single if steps_per_call == 1 else several,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )


def train_function(step: Callable, *, steps_per_call: int = 1) -> Callable:
    """Compile ``step(state, key, batch) -> (state, metrics)`` for all devices.

    Args:
        step: averages its gradients and metrics with :func:`mean`.
        steps_per_call: how many steps to run in one dispatch; they are the leading axis of this
            process's part of the batch, ``[steps, b, ...]``, and of the metrics.

    Returns:
        A function of the same arguments. The state given to it is consumed.
    """
    mapped = mapped_step(step, steps_per_call=steps_per_call)

    def call(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        return mapped(state, key, jax.tree.map(lambda leaf: _split(leaf, axis=1), batch))

    return call


def batch_function(
    function: Callable,
    *,
    in_axes: tuple[int | None, ...],
    devices: Sequence[jax.Device] | None = None,
) -> Callable:
    """Compile a function whose results all have a batch axis.

    Args:
        function: of arrays with (``0``) and without (``None``) a batch axis.
        in_axes: which is which, as for ``jax.vmap``.
        devices: as for :func:`mapped_step`.

    Returns:
        A function of the same arguments, batch axes ``[devices, B / devices]`` in and out: see
        :func:`shard` and :func:`gather`.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=0, devices=devices)


def mean_function(function: Callable) -> Callable:
    """Compile ``function(params, key, batch) -> scalars`` and average them over devices."""
    mapped = jax.pmap(
        lambda *args: mean(function(*args)),
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
    )
    return lambda params, key, batch: mapped(params, key, shard(batch))


def shard(batch: Tree) -> Tree:
    """Split this process's part of a batch, ``[b, ...]``, over its devices."""
    return jax.tree.map(lambda leaf: _split(leaf, axis=0), batch)


def gather(tree: Tree) -> Tree:
    """Return the whole batch ``[B, ...]`` of a :func:`batch_function`'s result on every host."""
    if process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), tree)


def broadcast(numbers: np.ndarray) -> np.ndarray:
    """Return process 0's numbers on every process."""
    if process_count() == 1:
        return numbers
    return np.asarray(multihost_utils.broadcast_one_to_all(numbers))


def where(flag: bool) -> list[int]:
    """Return on which processes a flag is set; every process gets the same answer."""
    flags = np.atleast_1d(multihost_utils.process_allgather(np.asarray(flag)))
    return [int(index) for index in np.flatnonzero(flags)]


def wait_for_all() -> None:
    """Return when every process has come this far."""
    if process_count() > 1:
        multihost_utils.sync_global_devices("sgm_jax")


def meet() -> None:
    """Let all devices of all processes exchange something for the first time.

    On CPU the first contact fails if one side is 30 seconds late, as may happen while each compiles
    its first step. Later exchanges wait as long as needed.
    """
    wait_for_all()
    mapped = jax.pmap(lambda x: jax.lax.psum(x, AXIS), axis_name=AXIS)
    jax.block_until_ready(mapped(np.zeros(jax.local_device_count(), np.float32)))


def local_rows(count: int) -> slice:
    """Return which rows of a global batch of ``count`` this process holds."""
    each = count // process_count()
    return slice(process_index() * each, (process_index() + 1) * each)


def replicate(tree: Tree) -> Tree:
    """Put a tree on every device of this process, placed as the functions here return it.

    For a state that is placed in another way, the train function would be compiled a second time.
    Every process puts the same tree on its own devices; nothing is sent between them.
    """
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def to_host(tree: Tree) -> Tree:
    """Copy a tree to host memory, for keeping: its device buffers may be reused at once."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def stop_requested(here: bool, step: int) -> bool:
    """Tell whether all processes are to stop before this step.

    One process decides for itself. Several agree through the distributed service, which sees a
    SIGTERM to any of them.
    """
    if process_count() == 1:
        return here
    return multihost_utils.reached_preemption_sync_point(step)


def _split(leaf: Any, axis: int) -> Any:
    """Move device shards of one axis to the front: ``[D, ...]``."""
    devices = jax.local_device_count()
    shape = (*leaf.shape[:axis], devices, leaf.shape[axis] // devices, *leaf.shape[axis + 1 :])
    array = jnp if isinstance(leaf, jax.Array) else np
    return array.moveaxis(leaf.reshape(shape), axis, 0)
