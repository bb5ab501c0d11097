"""Devices and processes: the only module that knows them.

Arrays that belong to a batch have a leading ``[B]`` axis everywhere else; here it becomes
``[devices, B / devices]`` for ``jax.pmap``. State and parameters are the same on every device and
enter and leave without a device axis, so nothing outside needs to replicate or unreplicate them.
"""

from collections.abc import Callable
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
    """Return who we are and what we run on, in one line."""
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


def mean(tree: Tree) -> Tree:
    """Average over devices, inside a function given to :func:`train_function`."""
    return jax.lax.pmean(tree, AXIS)


def train_function(step: Callable, *, steps_per_call: int = 1) -> Callable:
    """Compile ``step(state, key, batch) -> (state, metrics)`` for all devices.

    Args:
        step: averages its gradients and metrics with :func:`mean`.
        steps_per_call: run so many steps in one dispatch; the batch then has them as leading axis
            ``[steps, B, ...]`` and the metrics are those of each step, ``[steps]``.

    Returns:
        A function of the same arguments. The state given to it is consumed.
    """

    def one(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        state, metrics = step(state, key, jax.tree.map(lambda leaf: leaf[0], batch))
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    def many(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        return jax.lax.scan(lambda state, batch: step(state, key, batch), state, batch)

    body = one if steps_per_call == 1 else many
    mapped = jax.pmap(
        body, axis_name=AXIS, in_axes=(None, None, 0), out_axes=None, donate_argnums=0
    )

    def call(state: Tree, key: jax.Array, batch: Tree) -> tuple[Tree, Tree]:
        return mapped(state, key, jax.tree.map(lambda leaf: _split(leaf, axis=1), batch))

    return call


def batch_function(function: Callable, *, in_axes: tuple[int | None, ...]) -> Callable:
    """Compile a function whose results all have a batch axis.

    Args:
        function: of arrays with (``0``) and without (``None``) a batch axis.
        in_axes: which is which, as for ``jax.vmap``.

    Returns:
        A function of the same arguments, batch axes ``[devices, B / devices]`` in and out: see
        :func:`shard` and :func:`gather`.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=0)


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


def local_rows(count: int) -> slice:
    """Return which rows of a global batch of ``count`` this process holds."""
    each = count // process_count()
    return slice(process_index() * each, (process_index() + 1) * each)


def replicate(tree: Tree) -> Tree:
    """Put a tree on every device, placed as the functions here return it.

    A state placed otherwise would have its train function compiled a second time, for its own.
    """
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
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
