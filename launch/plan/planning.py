"""The steps of one configuration on slices of TPUs, lowered, compiled and timed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections

from launch import programs
from launch.plan import chips, roofline
from launch.plan.compiled import Cost, cost


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to run.

    Attributes:
        config: checked.
        mode: train or sample.
        precision: of float32 matrix products, as jax calls it.
        images_per_chip: of a batch; None shares the configuration's.
        cache: folder of what has been compiled.
        effort: of the compiler, see :func:`launch.plan.compiled.compile_cost`.
        compiled_for: the slice that programs are compiled for, and those of other slices and
            numbers of images derived from; None compiles each.
        compiled_images: numbers of images per chip that are compiled for it; two for a line
            through them.
    """

    config: ml_collections.ConfigDict
    mode: str
    precision: str
    images_per_chip: int | None = None
    cache: Path = Path("plan")
    effort: float = 0.0
    compiled_for: chips.Topology | None = None
    compiled_images: tuple[int, ...] = ()
    _known: dict[tuple, Cost] = dataclasses.field(default_factory=dict, compare=False)

    def runs(self, steps: Sequence[int], num_samples: int | None = None) -> dict[str, int]:
        """Return how many images go through a step in whole runs, by what to call them.

        Args:
            steps: of training with the configuration's batch, or of an image's sampling, for each
                run; the configuration's own if there are none.
            num_samples: drawn, where sampling is planned; the configuration's own if None.
        """
        if self.mode == "train":
            batch = self.config.training.batch_size
            return {f"{n} steps": n * batch for n in steps or [self.config.training.n_iters]}
        samples = num_samples or self.config.eval.num_samples
        steps = steps or [programs.sampler_steps(self.config)]
        return {f"{samples} images of {n} steps": n * samples for n in steps}

    def estimate(
        self, where: chips.Topology, dtype: str, *, find_largest: bool
    ) -> roofline.Estimate:
        """Return the best times of a step on a slice.

        Args:
            where: the slice.
            dtype: of the network.
            find_largest: find also how many images fit, for which another number is compiled.

        Raises:
            ValueError: if the chips cannot share the batch.
        """
        each = self._images_per_chip(where)
        if self.compiled_for:
            costs = {n: self._cost(self.compiled_for, dtype, n) for n in self.compiled_images}
            if each not in costs and len(costs) != 2:
                raise ValueError(
                    f"--compiled_images={','.join(map(str, self.compiled_images))}: the cost of "
                    f"{each} images follows from a line through two other numbers"
                )
            found = costs[each] if each in costs else roofline.between(costs, each)
        else:
            costs = {each: self._cost(where, dtype, each)}
            found = costs[each]
            if find_largest:
                other = max(each // 2, 1) if each > 1 else 2
                costs[other] = self._cost(where, dtype, other)
        room = roofline.largest(costs, where.chip.hbm_bytes) if len(costs) > 1 else None
        return roofline.estimate(
            found,
            where,
            dtype=dtype,
            precision=self.precision,
            images_per_chip=each,
            largest_per_chip=room,
            derived=each not in costs or self.compiled_for not in (None, where),
        )

    def _cost(self, where: chips.Topology, dtype: str, images_per_chip: int) -> Cost:
        # Lowering alone takes a quarter of a minute, and one program stands for many slices.
        key = where.name, dtype, images_per_chip
        if key not in self._known:
            self._known[key] = self._compiled(where, dtype, images_per_chip)
        return self._known[key]

    def _compiled(self, where: chips.Topology, dtype: str, images_per_chip: int) -> Cost:
        config = self.config.copy_and_resolve_references().unlock()
        config.training.dtype = dtype
        with jax.default_matmul_precision(self.precision):
            lowered = programs.LOWER[self.mode](
                config, chips.devices(where), images_per_device=images_per_chip
            )
        return cost(lowered, where.name, cache=self.cache, effort=self.effort)

    def _images_per_chip(self, where: chips.Topology) -> int:
        if self.images_per_chip is not None:
            return self.images_per_chip
        section = "training" if self.mode == "train" else "eval"
        batch = self.config[section].batch_size
        if batch % where.count:
            raise ValueError(
                f"config.{section}.batch_size {batch} is not divisible by the {where.count} chips "
                f"of {where.name}; give --images_per_chip, or a batch of a multiple of that"
            )
        return batch // where.count


def sentence(one: roofline.Estimate) -> str:
    """Return an estimate in a line, for the log."""
    where = f"{one.topology.name}, {one.dtype}, {one.images_per_chip} images per chip"
    if one.cost.refused:
        return f"{where}: {one.cost.refused}"
    return (
        f"{where}: {one.cost.flops / 1e12:.3g} TFLOP, {one.cost.bytes_accessed / 1e9:.3g} GB, "
        f"at best {1e3 * one.step_seconds:.3g} ms ("
        + ("derived)" if one.derived else f"compiled in {one.cost.compile_seconds:g} s)")
    )


def heading(plan: Plan) -> str:
    """Return what the numbers of the table mean."""
    return (
        "TFLOP, GB of memory traffic, memory and exchanges are those of one step on one chip, as "
        "the compiler counts them. The best time is the longer of work at the chip's bf16 peak "
        "and traffic at its memory's bandwidth; exchanges between chips are not in it. Products "
        f"of float32 at the precision '{plan.precision}' are {chips.PASSES[plan.precision]} of "
        "bf16 each. The largest batch follows from a line through the memory of two. Efficiency "
        "is images per second and chip, relative to the first slice. The compiler's effort was "
        f"{plan.effort:g}; below 0 it may fuse less, and count more traffic than there will be."
    )
