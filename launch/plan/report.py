"""A plan in words and numbers: a line for the log, a Markdown table, two files."""

import dataclasses
from pathlib import Path

from launch.plan.chips import PASSES
from launch.plan.roofline import Estimate
from sgm_jax.run.files import write_json

_GIB = 2**30


def sentence(estimate: Estimate) -> str:
    """Return an estimate in a line, for the log."""
    what = f"{estimate.topology.name}, {estimate.dtype}, {estimate.images_per_chip} images per chip"
    cost = estimate.cost
    if cost.refused:
        return f"{what}: {cost.refused}"
    source = "derived" if estimate.derived else f"compiled in {cost.compile_seconds:g} s"
    return (
        f"{what}: {cost.flops / 1e12:.3g} TFLOP, {cost.bytes_accessed / 1e9:.3g} GB, "
        f"at best {1e3 * estimate.step_seconds:.3g} ms ({source})"
    )


def heading(precision: str, effort: float) -> str:
    """Return what the numbers of the table mean."""
    return (
        "TFLOP, GB of memory traffic, memory and exchanges are those of one step on one chip, as "
        "the compiler counts them. The best time is the longer of work at the chip's bf16 peak "
        "and traffic at its memory's bandwidth; exchanges between chips are not in it. Products "
        f"of float32 at the precision '{precision}' are {PASSES[precision]} of "
        "bf16 each. The largest batch follows from a line through the memory of two. Efficiency "
        "is images per second and chip, relative to the first slice. The compiler's effort was "
        f"{effort:g}; below 0 it may fuse less, and count more traffic than there will be."
    )


def table(estimates: list[Estimate], runs: dict[str, int]) -> str:
    """Return a Markdown table of slices, with scaling relative to the first of the same dtype.

    Args:
        estimates: the rows.
        runs: images that go through a step in a whole run, by the run's name.
    """
    header = [
        *("slice", "chips", "dtype", "images per chip", "cost", "TFLOP", "GB", "memory, GiB"),
        "fits",
        *("largest batch", "exchanged, MB", "ms of work", "ms of traffic", "ms of exchange"),
        *("best ms", "share of peak", "steps/s", "efficiency"),
        *(f"{unit}: {what}" for what in runs for unit in ("hours", "chip-hours")),
    ]
    rows = [_row(estimate, estimates, runs) for estimate in estimates]
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(row: Estimate, estimates: list[Estimate], runs: dict[str, int]) -> list[str]:
    """Return a row; work, traffic, memory and exchanges are those of a step on one chip."""
    chips, cost, hbm = row.topology.count, row.cost, row.topology.chip.hbm_bytes
    begin = [row.topology.name, str(chips), row.dtype, str(row.images_per_chip)]
    begin.append("derived" if row.derived else "compiled")
    batch = "" if row.largest_per_chip is None else str(row.largest_per_chip * chips)
    if cost.refused:
        return [*begin, "", "", f"> {hbm / _GIB:g}", "no", batch, *[""] * (8 + 2 * len(runs))]
    first = next(other for other in estimates if other.dtype == row.dtype)
    speed = row.images_per_second / first.images_per_second if not first.cost.refused else 0.0
    return [
        *begin,
        f"{cost.flops / 1e12:.3g}",
        f"{cost.bytes_accessed / 1e9:.3g}",
        f"{cost.memory_bytes / _GIB:.2f} of {hbm / _GIB:g}",
        "yes" if row.fits else "no",
        batch,
        f"{cost.exchanged_bytes / 1e6:.3g}",
        f"{1e3 * row.flop_seconds:.3g}",
        f"{1e3 * row.byte_seconds:.3g}",
        f"{1e3 * row.exchange_seconds:.3g}",
        f"{1e3 * row.step_seconds:.3g}",
        f"{100 * row.share_of_peak:.0f} %",
        f"{1 / row.step_seconds:.3g}",
        f"{speed * first.topology.count / chips:.2f}",
        *(f"{row.hours(images) * n:.3g}" for images in runs.values() for n in (1, chips)),
    ]


def save(out: Path, text: str, estimates: list) -> None:
    """Write the table and the numbers behind it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".md").write_text(text)
    names = ("flop_seconds", "byte_seconds", "exchange_seconds", "step_seconds")
    names += ("fits", "share_of_peak")
    content = [
        dataclasses.asdict(row) | {name: getattr(row, name) for name in names} for row in estimates
    ]
    write_json(out.with_name(out.name + ".json"), content)
