"""From what a program costs to how long it takes at best, and what a run takes.

The best time of a step is the longer of two: all its work at the chip's peak, all its traffic at
the memory's bandwidth. No program is faster; a good one comes near. Exchanges between chips are
timed beside it: they overlap with work more or less.
"""

import dataclasses

from launch.plan.chips import PASSES, Topology
from launch.plan.compiled import Cost

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One step on one slice.

    Attributes:
        topology: the slice.
        dtype: of the network.
        images_per_chip: of a batch.
        cost: of the step, on one chip.
        flop_seconds: its work takes at the peak.
        byte_seconds: its traffic takes at the memory's bandwidth.
        exchange_seconds: its exchanges take at a pod's all-reduce bandwidth.
        largest_per_chip: images that fit; None if nobody asked, 0 if not even one does.
        derived: whether the cost follows from those of other numbers of images, or chips.
    """

    topology: Topology
    dtype: str
    images_per_chip: int
    cost: Cost
    flop_seconds: float
    byte_seconds: float
    exchange_seconds: float
    largest_per_chip: int | None = None
    derived: bool = False

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
        """Of the chip's work in that time: what traffic leaves."""
        return self.flop_seconds / self.step_seconds

    @property
    def images_per_second(self) -> float:
        """Images of all chips that go through a step in a second."""
        return self.images_per_chip * self.topology.count / self.step_seconds

    def hours(self, images: int) -> float:
        """Return the time in which so many images have gone through a step."""
        return images / self.images_per_second / 3600


def estimate(
    cost: Cost,
    topology: Topology,
    *,
    dtype: str,
    precision: str,
    images_per_chip: int,
    largest_per_chip: int | None = None,
    derived: bool = False,
) -> Estimate:
    """Return the best times of a step.

    Args:
        cost: of the step, on one chip.
        topology: the slice.
        dtype: of the network; float32 products are made of as many bf16 ones as the precision
            says, and all work is taken as such products.
        precision: of float32 matrix products, as jax calls it.
        images_per_chip: of a batch.
        largest_per_chip: images that fit, if that is known.
        derived: see :class:`Estimate`.
    """
    chip = topology.chip
    passes = PASSES[precision] if dtype == "float32" else 1
    return Estimate(
        topology,
        dtype,
        images_per_chip,
        cost,
        flop_seconds=cost.flops * passes / chip.peak_flops,
        byte_seconds=cost.bytes_accessed / chip.hbm_bytes_per_second,
        exchange_seconds=cost.exchanged_bytes / chip.reduced_bytes_per_second,
        largest_per_chip=largest_per_chip,
        derived=derived,
    )


def between(costs: dict[int, Cost], images: int) -> Cost:
    """Return the cost of a number of images: lines through those of two other numbers.

    What does not depend on the images, as updating the parameters, is where the lines begin. The
    number of chips is in none of it: each runs the same program.

    Args:
        costs: of two numbers of images; one that is refused is refused for all.
        images: their number.
    """
    (few, less), (many, more) = sorted(costs.items())
    if less.refused or more.refused:
        return less if less.refused else more
    share = (images - few) / (many - few)

    def line(field: str) -> float:
        one, other = getattr(less, field), getattr(more, field)
        return one + share * (other - one)

    return Cost(
        flops=line("flops"),
        bytes_accessed=line("bytes_accessed"),
        argument_bytes=round(line("argument_bytes")),
        memory_bytes=round(line("memory_bytes")),
        exchanges=less.exchanges,
    )


def largest(costs: dict[int, Cost], hbm_bytes: float) -> int:
    """Return how many images a chip has memory for: a line through two compiled numbers of them.

    Near the limit the compiler trades time for memory, so the true number may be larger.

    Args:
        costs: of two numbers of images, the larger last; those refused count as not fitting.
        hbm_bytes: the chip's memory.
    """
    (few, less), (many, more) = sorted(costs.items())
    if less.refused:
        return 0
    if more.refused:
        return few
    slope = max((more.memory_bytes - less.memory_bytes) / (many - few), 1.0)
    return max(int(few + (hbm_bytes - less.memory_bytes) / slope), 0)


def table(estimates: list[Estimate], runs: dict[str, int]) -> str:
    """Return a Markdown table of slices, with scaling relative to the first of the same dtype.

    Args:
        estimates: the rows.
        runs: images that go through a step in a whole run, by the run's name.
    """
    header = [
        *(
            "slice",
            "chips",
            "dtype",
            "images per chip",
            "cost",
            "TFLOP",
            "GB",
            "memory, GiB",
            "fits",
        ),
        *("largest batch", "exchanged, MB", "ms of work", "ms of traffic", "ms of exchange"),
        *("best ms", "share of peak", "steps/s", "efficiency"),
        *(f"{unit}: {what}" for what in runs for unit in ("hours", "chip-hours")),
    ]
    rows = [_row(one, estimates, runs) for one in estimates]
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)
    )


def _row(one: Estimate, estimates: list[Estimate], runs: dict[str, int]) -> list[str]:
    """Return a row; work, traffic, memory and exchanges are those of a step on one chip."""
    chips, cost, hbm = one.topology.count, one.cost, one.topology.chip.hbm_bytes
    room = one.largest_per_chip
    begin = [one.topology.name, str(chips), one.dtype, str(one.images_per_chip)]
    begin.append("derived" if one.derived else "compiled")
    batch = "" if room is None else str(room * chips)
    if cost.refused:
        return [*begin, "", "", f"> {hbm / _GIB:g}", "no", batch, *[""] * (8 + 2 * len(runs))]
    first = next(other for other in estimates if other.dtype == one.dtype)
    speed = one.images_per_second / first.images_per_second if not first.cost.refused else 0.0
    return [
        *begin,
        f"{cost.flops / 1e12:.3g}",
        f"{cost.bytes_accessed / 1e9:.3g}",
        f"{cost.memory_bytes / _GIB:.2f} of {hbm / _GIB:g}",
        "yes" if one.fits else "no",
        batch,
        f"{cost.exchanged_bytes / 1e6:.3g}",
        f"{1e3 * one.flop_seconds:.3g}",
        f"{1e3 * one.byte_seconds:.3g}",
        f"{1e3 * one.exchange_seconds:.3g}",
        f"{1e3 * one.step_seconds:.3g}",
        f"{100 * one.share_of_peak:.0f} %",
        f"{1 / one.step_seconds:.3g}",
        f"{speed * first.topology.count / chips:.2f}",
        *(f"{one.hours(images) * n:.3g}" for images in runs.values() for n in (1, chips)),
    ]
