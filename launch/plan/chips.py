"""TPU chips in numbers, and slices of them. Programs are only compiled: no chip need be here."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

# Rounds of bf16 multiplications that make one product of float32 matrices, by jax's name of the
# precision: 3 and 6 products of the two or three bf16 numbers that a float32 one is split into.
PASSES = {"default": 1, "high": 3, "highest": 6}
# libtpu only compiles here; without these it would ask a metadata server and look for chips.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # A lock would guard chips that are not used.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one chip can do at best."""

    peak_flops: float  # bf16 multiplications and additions in a second
    hbm_bytes: float  # memory
    hbm_bytes_per_second: float  # between memory and chip
    reduced_bytes_per_second: float  # that each chip of a full pod puts through an all-reduce
    options: dict[str, str] = dataclasses.field(default_factory=dict)  # of jax's description


# Peak, memory and bandwidth of a chip, and a pod's all-reduce bandwidth over its chips, as
# cloud.google.com/tpu/docs/v4, /v5e and /v6e give them (read in November 2026).
CHIPS = {
    # Both cores of a chip are one device, as on Cloud TPUs.
    "v4": Chip(275e12, 32 * 2**30, 1200e9, 1.1e15 / 4096, {"chip_config_name": "megacore"}),
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 51.2e12 / 256),
    "v6e": Chip(918e12, 32 * 2**30, 1638e9, 102.4e12 / 256),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of a pod: a kind of chip and their number."""

    name: str  # as jax takes it, like v5e:4x8
    chip: Chip
    count: int


def topology(name: str) -> Topology:
    """Return the slice called ``name``, such as ``v5e:2x2`` or ``v4:2x2x1``.

    Raises:
        ValueError: with the chips that are known.
    """
    parts = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
    if not parts or parts[1] not in CHIPS:
        raise ValueError(
            f"--topology={name} is unknown; known are the chips {', '.join(CHIPS)} in grids, as in "
            "v5e:4x8 or v4:2x2x1"
        )
    return Topology(name, CHIPS[parts[1]], math.prod(map(int, parts[2].split("x"))))


def prepare() -> None:
    """Set the environment for compiling without chips; call it before JAX is imported.

    Raises:
        ImportError: if there is no compiler for TPUs.
    """
    os.environ.update(ENVIRONMENT)
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError(
            "compiling for TPUs needs libtpu (but no TPU): pip install 'sgm_jax[tpu]'"
        )


def devices(topology: Topology) -> Sequence[Any]:
    """Return the devices of a slice, for the compiler.

    Raises:
        ValueError: if such a slice does not exist.
    """
    import jax
    from jax.experimental import topologies

    try:
        description = topologies.get_topology_desc(topology.name, "tpu", **topology.chip.options)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"--topology={topology.name}: {error}") from error
    return description.devices
