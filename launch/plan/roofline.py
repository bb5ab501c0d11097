"""The best time that a chip's peaks allow for a step.

It is the longer of two times: all work at the chip's peak, and all memory traffic at the memory's
bandwidth. No program is faster than that, and a good one comes near. Exchanges between chips have a
time of their own, because they overlap with work more or less.
"""

import dataclasses

from launch.plan.chips import PASSES, Topology


@dataclasses.dataclass(frozen=True)
class Cost:
    """What running a program once costs one device."""

    flops: float = 0.0  # multiplications and additions
    bytes_accessed: float = 0.0  # between memory and chip
    argument_bytes: int = 0  # memory of the inputs
    memory_bytes: int = 0  # of inputs, outputs, intermediate values and the program together
    # Between devices, ``[number, bytes]`` by kind.
    exchanges: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    compile_seconds: float = 0.0
    refused: str = ""  # why it could not be compiled; all other fields are then 0

    @property
    def exchanged_bytes(self) -> int:
        """Bytes of all exchanges."""
        return sum(size for _, size in self.exchanges.values())


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One step on one slice.

    float32 products are made of as many bf16 ones as the precision says, and all work is taken as
    such products.
    """

    topology: Topology
    dtype: str  # of the network
    precision: str  # of float32 matrix products, as jax calls it
    images_per_chip: int  # of a batch
    cost: Cost  # of the step, on one chip
    largest_per_chip: int | None = None  # None if not computed, 0 if not even one fits
    derived: bool = False  # from the cost of another number of images, or on another slice

    @property
    def flop_seconds(self) -> float:
        """Time of the work at the chip's peak."""
        passes = PASSES[self.precision] if self.dtype == "float32" else 1
        return self.cost.flops * passes / self.topology.chip.peak_flops

    @property
    def byte_seconds(self) -> float:
        """Time of the traffic at the memory's bandwidth."""
        return self.cost.bytes_accessed / self.topology.chip.hbm_bytes_per_second

    @property
    def exchange_seconds(self) -> float:
        """Time of the exchanges at a pod's all-reduce bandwidth."""
        return self.cost.exchanged_bytes / self.topology.chip.reduced_bytes_per_second

    @property
    def fits(self) -> bool:
        """Whether the step fits the chip's memory."""
        return not self.cost.refused and self.cost.memory_bytes <= self.topology.chip.hbm_bytes

    @property
    def step_seconds(self) -> float:
        """The best time of a step."""
        return max(self.flop_seconds, self.byte_seconds)

    @property
    def share_of_peak(self) -> float:
        """Of the chip's work in that time: what traffic leaves. 0 if it was not compiled."""
        return 0.0 if self.cost.refused else self.flop_seconds / self.step_seconds

    @property
    def images_per_second(self) -> float:
        """Images of all chips that go through a step in a second."""
        return self.images_per_chip * self.topology.count / self.step_seconds

    def hours(self, images: int) -> float:
        """Return the time in which so many images have gone through a step."""
        return images / self.images_per_second / 3600


def between(costs: dict[int, Cost], images: int) -> Cost:
    """Return the cost of a number of images: lines through those of two other numbers.

    The lines begin at the part that does not depend on the images, such as the update of the
    parameters. The number of chips does not matter: each runs the same program. If one of the two
    was refused, all are.
    """
    (few, less), (many, more) = sorted(costs.items())
    if less.refused or more.refused:
        return less if less.refused else more
    share = (images - few) / (many - few)

    def line(field: str) -> float:
        low, high = getattr(less, field), getattr(more, field)
        return low + share * (high - low)

    return Cost(
        flops=line("flops"),
        bytes_accessed=line("bytes_accessed"),
        argument_bytes=round(line("argument_bytes")),
        memory_bytes=round(line("memory_bytes")),
        exchanges=less.exchanges,
    )


def largest(costs: dict[int, Cost], hbm_bytes: float) -> int:
    """Return how many images a chip has memory for: a line through two compiled numbers of them.

    Near the limit the compiler trades time for memory, so the true number may be larger. A number
    that was refused counts as not fitting.
    """
    (few, less), (many, more) = sorted(costs.items())
    if less.refused:
        return 0
    if more.refused:
        return few
    slope = max((more.memory_bytes - less.memory_bytes) / (many - few), 1.0)
    return max(int(few + (hbm_bytes - less.memory_bytes) / slope), 0)
