"""Read from the compiler what a program costs one device, and keep it on disk.

A kept result belongs to the lowered program itself, the devices and the versions of the compilers,
so a change that leaves the program as it was does not compile it again.
"""

import dataclasses
import hashlib
import json
import math
import re
import time
from pathlib import Path

import jax

from launch.plan.roofline import Cost
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.workdir import package_version

_PACKAGES = ("jax", "jaxlib", "libtpu")
_EXCHANGE = re.compile(
    r"= (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|collective-broadcast)(?P<start>-start)?\("
)
_SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")


def cost(lowered: jax.stages.Lowered, devices: str, *, cache: Path, effort: float = 0.0) -> Cost:
    """Return what a program costs on the devices of this name, from the cache if it is there.

    Otherwise it is compiled, with the effort of :func:`compile_cost`.
    """
    versions = [f"{name} {package_version(name)}" for name in _PACKAGES]
    if effort:
        versions.append(f"effort {effort}")
    key = "\n".join([devices, *versions, lowered.as_text()])
    kept = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if kept.is_file():
        return Cost(**json.loads(kept.read_text()))
    LOGGER.info("compiling for %s; a large network takes minutes", devices)
    result = compile_cost(lowered, effort=effort)
    cache.mkdir(parents=True, exist_ok=True)
    write_json(kept, dataclasses.asdict(result))
    return result


def compile_cost(lowered: jax.stages.Lowered, *, effort: float = 0.0) -> Cost:
    """Compile a program and read its cost; ``refused`` says so if it does not fit the memory.

    Args:
        lowered: the program.
        effort: of the compiler to make the program fast, from -1 to 1; 0 is that of a real run.
    """
    options = {"exec_time_optimization_effort": effort} if effort else None
    began = time.monotonic()
    try:
        compiled = lowered.compile(options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Cost(refused=str(error).splitlines()[0])
    analysis, memory = compiled.cost_analysis(), compiled.memory_analysis()
    memory_bytes = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        # Donated inputs share their memory with outputs.
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return Cost(
        flops=analysis["flops"],
        bytes_accessed=analysis["bytes accessed"],
        argument_bytes=memory.argument_size_in_bytes,
        memory_bytes=memory_bytes,
        exchanges=exchanges(compiled.as_text()),
        compile_seconds=round(time.monotonic() - began, 1),
    )


def exchanges(program: str) -> dict[str, list[int]]:
    """Return number and bytes of the results of each kind of exchange in a program's text."""
    totals: dict[str, list[int]] = {}
    for match in _EXCHANGE.finditer(program):
        sizes = [_shape_bytes(*shape) for shape in _SHAPE.findall(match["result"])]
        if match["start"] and match["kind"] != "all-reduce":
            # Its result lists the inputs first, then the outputs.
            sizes = sizes[len(sizes) // 2 :]
        count, size = totals.get(match["kind"], (0, 0))
        totals[match["kind"]] = [count + 1, size + sum(sizes)]
    return totals


def _shape_bytes(kind: str, dimensions: str) -> int:
    bits = 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
    return math.prod(int(size) for size in dimensions.split(",") if size) * bits // 8
