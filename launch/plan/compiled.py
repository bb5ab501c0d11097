"""What a compiler knows of a program: work, traffic, memory, exchanges. Kept on disk.

Numbers are of one device. A result belongs to the lowered program itself, the devices and the
versions of the compilers: whatever does not change the program does not compile it again.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
import time
from pathlib import Path

import jax

from sgm_jax.run.log import LOGGER

_PACKAGES = ("jax", "jaxlib", "libtpu")
_EXCHANGE = re.compile(
    r"= (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|collective-broadcast)(?P<start>-start)?\("
)
_SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What running a program once costs one device.

    Attributes:
        flops: multiplications and additions.
        bytes_accessed: between memory and chip.
        argument_bytes: of memory, for what goes in.
        memory_bytes: in all: what goes in and out, what is needed between, the program.
        exchanges: number and bytes of what devices exchange, ``[number, bytes]`` by kind.
        compile_seconds: that the compiler took.
        refused: why it could not be compiled; all else is then 0.
    """

    flops: float = 0.0
    bytes_accessed: float = 0.0
    argument_bytes: int = 0
    memory_bytes: int = 0
    exchanges: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    compile_seconds: float = 0.0
    refused: str = ""

    @property
    def exchanged_bytes(self) -> int:
        """Bytes of all exchanges."""
        return sum(size for _, size in self.exchanges.values())


def cost(lowered: jax.stages.Lowered, where: str, *, cache: Path, effort: float = 0.0) -> Cost:
    """Return what a program costs, compiling it if that is not known yet.

    Args:
        lowered: the program.
        where: name of the devices that it is for.
        cache: folder of what is known.
        effort: see :func:`compile_cost`.
    """
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    if effort:
        versions.append(f"effort {effort}")
    said = "\n".join([where, *versions, lowered.as_text()])
    known = cache / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.json"
    if known.is_file():
        return Cost(**json.loads(known.read_text()))
    LOGGER.info("compiling for %s; a large network takes minutes", where)
    found = compile_cost(lowered, effort=effort)
    cache.mkdir(parents=True, exist_ok=True)
    draft = known.with_suffix(".part")
    draft.write_text(json.dumps(dataclasses.asdict(found)))
    draft.replace(known)
    return found


def compile_cost(lowered: jax.stages.Lowered, *, effort: float = 0.0) -> Cost:
    """Compile a program and read what it costs; one that does not fit the memory is refused.

    Args:
        lowered: the program.
        effort: of the compiler to make it fast, from -1 to 1; 0 is what running it takes.
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
    held = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        # What is consumed gives its place to what comes out.
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return Cost(
        flops=analysis["flops"],
        bytes_accessed=analysis["bytes accessed"],
        argument_bytes=memory.argument_size_in_bytes,
        memory_bytes=held,
        exchanges=exchanges(compiled.as_text()),
        compile_seconds=round(time.monotonic() - began, 1),
    )


def exchanges(program: str) -> dict[str, list[int]]:
    """Return number and bytes of the results of each kind of exchange in a program's text."""
    found: dict[str, list[int]] = {}
    for match in _EXCHANGE.finditer(program):
        sizes = [_shape_bytes(*shape) for shape in _SHAPE.findall(match["result"])]
        if match["start"] and match["kind"] != "all-reduce":
            # It gives back what goes in, then what will come out.
            sizes = sizes[len(sizes) // 2 :]
        count, size = found.get(match["kind"], (0, 0))
        found[match["kind"]] = [count + 1, size + sum(sizes)]
    return found


def _shape_bytes(kind: str, dimensions: str) -> int:
    bits = 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
    return math.prod(int(size) for size in dimensions.split(",") if size) * bits // 8


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
