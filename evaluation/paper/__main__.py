"""Make every figure and table of arXiv:2307.13687 from the checkpoints of a run.

  python -m evaluation.paper --workdir=runs/X --out=paper

Images are drawn from each checkpoint, measured as the paper does and compared with real ones. OUT
gets index.html (one file with the figures inside), paper.json with all numbers, figures/ as PNG and
PDF, samples/, report/ with all metrics of one checkpoint, and turing.html. If the command is
stopped, the same command continues with what is missing.
"""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.paper.plan import SIZES, plan_of
from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER

if TYPE_CHECKING:
    from evaluation.paper.collect import Material

_TURING_IMAGES = 50  # of either kind, as in the paper


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.paper", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workdir", required=True, type=Path, help="of the training run")
    parser.add_argument("--real", help="held-out real images (default: the run's test images)")
    help_text = "training images; they give the floor (default: the run's)"
    parser.add_argument("--train", help=help_text)
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    help_text = "numbers of images; small: 2,000 of a checkpoint, paper: 10,000"
    parser.add_argument("--budget", choices=SIZES, default="small", help=help_text)
    help_text = "steps, like 1000,5000 (default: all kept, at most eight of them)"
    parser.add_argument("--checkpoints", default="", help=help_text)
    help_text = "the one that all metrics are computed of (default: the last)"
    parser.add_argument("--report", type=int, help=help_text)
    help_text = "numbers of network evaluations to compare, like 5,10,20 (default: %(default)s)"
    parser.add_argument("--evaluations", default="5,10,20,50", help=help_text)
    help_text = "images to draw from each checkpoint, if not as many as the budget says"
    parser.add_argument("--num_samples", "--num-samples", type=int, help=help_text)
    parser.add_argument("--ssnet", type=Path, help="weights of SSNet (default: the package's)")
    help_text = (
        "pixels at most this become 0 in all sets (default: %(default)s, as in what is drawn)"
    )
    parser.add_argument("--threshold", type=int, default=4, help=help_text)
    parser.add_argument("--plane", type=int, help="of images with three planes, 0 to 2")
    parser.add_argument("--seed", type=int, default=0, help="of the metrics and the figures")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Make a page; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: make_page(options), debug=options.debug, options=vars(options))


def make_page(options: argparse.Namespace) -> None:
    """Make the page of parsed arguments, or finish it.

    Raises:
        FileNotFoundError: a run, a checkpoint, images or weights are not there.
        ValueError: what does not fit the run, or ``out`` holds something else.
    """
    # Imported here because they import JAX, which reads the environment that run_command sets.
    from evaluation.paper.collect import Material, collect, open_sets
    from evaluation.paper.page import write
    from evaluation.paper.sections import sections
    from evaluation.ssnet.weights import open_weights
    from sgm_jax.run.parts import Parts, open_parts
    from sgm_jax.trained import from_run, stored_config

    config = stored_config(options.workdir)
    options.real = options.real or config.data.test_path
    options.train = options.train or config.data.train_path
    plan = plan_of(options)
    weights = open_weights(options.ssnet)
    real, train = open_sets(plan, config, options.real, options.train)
    start_jax(alone="python -m evaluation.paper")
    recipe = plan.recipe | {
        "real": real.facts["hash_of_used"],
        "train": train.facts["hash_of_used"],
        "ssnet": weights.sha256,
    }
    with open_parts(plan.out, recipe, fix="choose another --out") as held:
        parts = Parts(held.path("partial"))  # it stays where a metric failed, to try again
        if held.path("paper.json").is_file() and not parts.folder.exists():
            LOGGER.info("it is finished: look at %s", held.path("index.html"))
            return
        material = Material(plan, config, weights, real, train)
        collect(material, {"held-out": options.real, "training": options.train}, parts)
        turing = held.path("turing.html")
        material.trying("The Turing test", lambda: turing.write_text(_turing(options, material)))
        material.report().save(held.path("report"), figures=False)
        trained = from_run(config, plan.run, checkpoint=plan.report)
        write(material, sections(material, trained), plan.out)
        if all(row.status != "failed" for row in material.results):
            shutil.rmtree(parts.folder)
    for text in material.warnings:
        LOGGER.info("%s", text)
    LOGGER.info("look at %s", options.out / "index.html")


def _turing(options: argparse.Namespace, material: "Material") -> str:
    """Return the page of a Turing test, with the paper's cut of faint pixels in both sets."""
    from evaluation.images.sets import FAINT, load
    from evaluation.turing import page

    sources = {
        "real": (options.real, material.config.data.scaling),
        "generated": (material.reported.facts["source"], "none"),
    }
    count = min(_TURING_IMAGES, len(material.real), len(material.reported))
    reading = {"limit": count, "seed": options.seed, "threshold": FAINT, "plane": options.plane}
    sets = (
        load(source, role, scaling=scaling, **reading)
        for role, (source, scaling) in sources.items()
    )
    return page(*sets, title="Real or generated?", seed=options.seed)


if __name__ == "__main__":
    main()
