"""Plan a run on TPUs: compile its real step for chips that are not here, and estimate its time.

  python -m launch.plan --config=configs/larcv_png64.py --topology=v5e:2x2
  python -m launch.plan --config=configs/larcv_png64.py --topology=v5e:2x4,v5e:4x8,v6e:2x4 \\
      --dtype=float32,bfloat16 --mode=sample --images_per_chip=16

It prints and saves the work, memory traffic and memory of a step on one chip, the best time that
these allow (see launch/plan/roofline.py), and hours for the run. It needs libtpu (the extra tpu),
and some patience: the paper's network compiles in minutes. Compiled results are kept in
~/.cache/sgm_jax/plan.
A chip's program depends only on its share of the batch. With --compiled_for=v5e:2x2 two programs
are compiled for that slice, and the costs on all others are derived from them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags

# None of these imports JAX: the environment that it reads is set first.
from launch.plan import chips, report, roofline
from sgm_jax.run.command import run_configured
from sgm_jax.run.experiment import configured
from sgm_jax.run.files import cache_folder
from sgm_jax.run.log import LOGGER


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_string("config", None, "The experiment, a file in configs/.")
    flags.DEFINE_list("topology", ["v5e:2x2"], "Slices: a chip and a grid of chips, each.")
    flags.DEFINE_enum("mode", "train", ("train", "sample"), "Which step.")
    flags.DEFINE_list("dtype", [], "Of the network: float32, bfloat16. Default: the config's.")
    flags.DEFINE_enum(
        "precision", "default", tuple(chips.PASSES), "Float32 products: 1, 3 or 6 bf16 products."
    )
    flags.DEFINE_integer(
        "images_per_chip", None, "Default: the config's batch divided by the chips.", lower_bound=1
    )
    flags.DEFINE_list(
        "steps", [], "Steps of a run, or of an image's sampling. Default: the config's."
    )
    flags.DEFINE_integer(
        "num_samples", None, "sample: images of a run. Default: --config.eval.num_samples."
    )
    flags.DEFINE_string(
        "compiled_for", None, "Compile for this slice only, and derive the cost on the others."
    )
    flags.DEFINE_list(
        "compiled_images", ["16", "32"], "Images per chip compiled with --compiled_for."
    )
    flags.DEFINE_float(
        "effort", -1.0, "Of the compiler; at 0, as in a run, a network takes long.", -1.0, 1.0
    )
    flags.DEFINE_bool("largest", True, "Find the largest batch; this compiles a second program.")
    flags.DEFINE_string("out", None, "Path of a .md and a .json file. Default: runs/plan/<config>.")
    flags.DEFINE_bool("debug", False, "Show where in the code an error was raised.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps of one configuration on slices of TPUs."""

    config: ml_collections.ConfigDict  # checked
    mode: str  # train or sample
    precision: str  # of float32 matrix products, as jax calls it
    images_per_chip: int | None = None  # None divides the configuration's batch among the chips
    cache: Path = Path("plan")  # folder of what has been compiled
    effort: float = 0.0  # of the compiler, see launch.plan.compiled.compile_cost
    # The slice that programs are compiled for; the costs on other slices, and of other numbers of
    # images, are derived from them, with a line through two numbers. None compiles each.
    compiled_for: chips.Topology | None = None
    compiled_images: tuple[int, ...] = ()  # numbers of images per chip that are compiled for it
    _costs: dict[tuple, roofline.Cost] = dataclasses.field(default_factory=dict, compare=False)

    def runs(self, steps: Sequence[int], num_samples: int | None = None) -> dict[str, int]:
        """Return how many images go through a step in a whole run, by a name for the run.

        Args:
            steps: of training with the configuration's batch, or of an image's sampling, for each
                run; the configuration's own if there are none.
            num_samples: images drawn, for sampling; the configuration's own if None.
        """
        from launch import programs

        if self.mode == "train":
            batch = self.config.training.batch_size
            return {f"{n} steps": n * batch for n in steps or [self.config.training.n_iters]}
        samples = num_samples or self.config.eval.num_samples
        steps = steps or [programs.sampler_steps(self.config)]
        return {f"{samples} images of {n} steps": n * samples for n in steps}

    def estimate(
        self, topology: chips.Topology, dtype: str, *, find_largest: bool
    ) -> roofline.Estimate:
        """Return the best times of a step on a slice for a network of this dtype.

        To find also how many images fit, a second program is compiled.

        Raises:
            ValueError: if the chips cannot share the batch.
        """
        images = self._images_per_chip(topology)
        if self.compiled_for:
            costs = {n: self._cost(self.compiled_for, dtype, n) for n in self.compiled_images}
            if images not in costs and len(costs) != 2:
                raise ValueError(
                    f"--compiled_images={','.join(map(str, self.compiled_images))}: give two "
                    f"numbers; the cost of {images} images follows from a line through them"
                )
            cost = costs[images] if images in costs else roofline.between(costs, images)
        else:
            costs = {images: self._cost(topology, dtype, images)}
            cost = costs[images]
            if find_largest:
                other = max(images // 2, 1) if images > 1 else 2
                costs[other] = self._cost(topology, dtype, other)
        largest = roofline.largest(costs, topology.chip.hbm_bytes) if len(costs) > 1 else None
        return roofline.Estimate(
            topology,
            dtype,
            self.precision,
            images,
            cost,
            largest_per_chip=largest,
            derived=images not in costs or self.compiled_for not in (None, topology),
        )

    def _cost(self, topology: chips.Topology, dtype: str, images_per_chip: int) -> roofline.Cost:
        # Lowering alone takes a quarter of a minute, and one program serves many slices.
        key = topology.name, dtype, images_per_chip
        if key not in self._costs:
            self._costs[key] = self._compile(topology, dtype, images_per_chip)
        return self._costs[key]

    def _compile(self, topology: chips.Topology, dtype: str, images_per_chip: int) -> roofline.Cost:
        import jax

        from launch import programs
        from launch.plan.compiled import cost

        config = self.config.copy_and_resolve_references().unlock()
        config.training.dtype = dtype
        with jax.default_matmul_precision(self.precision):
            lowered = programs.LOWER[self.mode](
                config, chips.devices(topology), images_per_device=images_per_chip
            )
        return cost(lowered, topology.name, cache=self.cache, effort=self.effort)

    def _images_per_chip(self, topology: chips.Topology) -> int:
        if self.images_per_chip is not None:
            return self.images_per_chip
        section = "training" if self.mode == "train" else "eval"
        batch = self.config[section].batch_size
        if batch % topology.count:
            raise ValueError(
                f"--config.{section}.batch_size {batch} is not divisible by the {topology.count} "
                f"chips of {topology.name}; give --images_per_chip, or another batch size"
            )
        return batch // topology.count


def _run(overrides: Sequence[str]) -> None:
    options = flags.FLAGS
    slices = [chips.topology(name) for name in options.topology]
    chips.prepare()
    from sgm_jax.config import check

    config, mode = configured(overrides), options.mode
    check(config)
    plan = Plan(
        config,
        mode,
        options.precision,
        images_per_chip=options.images_per_chip,
        cache=cache_folder() / "plan",
        effort=options.effort,
        compiled_for=options.compiled_for and chips.topology(options.compiled_for),
        compiled_images=tuple(map(int, options.compiled_images)),
    )
    runs = plan.runs([int(number) for number in options.steps], options.num_samples)
    estimates = []
    for dtype in options.dtype or [config.training.dtype]:
        for topology in slices:
            estimates.append(plan.estimate(topology, dtype, find_largest=options.largest))
            LOGGER.info("%s", report.sentence(estimates[-1]))
    name = Path(options.config).stem
    table = report.table(estimates, runs)
    print(table)
    heading = report.heading(plan.precision, plan.effort)
    out = Path(options.out or f"runs/plan/{name}_{mode}")
    report.save(out, f"# {name}: {mode}\n\n{heading}\n\n{table}\n", estimates)
    LOGGER.info("%s.md and %s.json", out, out)


if __name__ == "__main__":
    define_flags()
    run_configured(_run)
