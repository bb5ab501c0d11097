"""Compare generated images with real ones: numbers with errors and floors, and pictures.

  python -m evaluation --real=test/ --generated=samples.npz --train=train/ --out=report/
  python -m evaluation --workdir=runs/mine

The second line takes what a run was trained and tested on, and the newest images that were drawn
with it; its report goes to runs/mine/report. What is typed beside --workdir goes first.
A set of images is anything that sgm_jax.data reads: a folder of PNG files, .npy, .npz or HDF5, on
the scale 0..255, or charges of any unit with --scaling. OUT gets report.json, report.md,
report.html (one file with the figures inside), figures/ with the numbers behind each figure, and
the measurements of every image. SSNet labels every image once; give the labels of evaluation.label
(with features.npy beside them) to skip this. If the command is stopped, the same command continues
with what is missing.
"""

import argparse
import shutil
from pathlib import Path

from evaluation.metrics.budget import BUDGETS
from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--workdir", type=Path, help="of a training run, whose sets are compared")
    parser.add_argument("--real", help="held-out real images")
    parser.add_argument("--generated", help="generated images")
    parser.add_argument(
        "--train", help="training images; compared with the real ones they give the floor"
    )
    parser.add_argument("--generated_2", "--generated-2", help="images of a second generator")
    parser.add_argument("--name", default="generated", help="what to call the generated images")
    parser.add_argument("--name_2", "--name-2", default="generated_2")
    for which in ("real", "generated", "train", "generated_2"):
        text = f"labels.h5 of evaluation.label for --{which}; SSNet then skips this set"
        parser.add_argument(f"--labels_{which}", type=Path, help=text)
    for which in ("real", "generated"):
        text = f"likelihood.npz of --mode=likelihood for --{which}, shown beside the other"
        parser.add_argument(f"--likelihood_{which}", type=Path, help=text)
    parser.add_argument("--ssnet", type=Path, help="weights of SSNet (default: the package's)")
    parser.add_argument(
        "--nossnet", action="store_true", help="leave out everything that needs SSNet"
    )
    parser.add_argument("--out", type=Path, help="folder to make")
    parser.add_argument("--metrics", help="only these, like physics,looking (default: all)")
    parser.add_argument("--budget", choices=BUDGETS, default="small", help="numbers of images")
    help_text = "pixels at most this become 0 in all sets; auto: 4 if generated images were cut "
    help_text += "there, as --mode=sample does, and the real ones were not (default: %(default)s)"
    parser.add_argument("--threshold", default="auto", help=help_text)
    help_text = "of --real and --train to 0..255, as config.data.scaling in training: none, "
    help_text += "per_image, quantile or fixed:FULL (default: that of --workdir, or none)"
    parser.add_argument("--scaling", help=help_text)
    help_text = "the same of generated images (default: %(default)s)"
    parser.add_argument(
        "--generated_scaling", "--generated-scaling", default="none", help=help_text
    )
    help_text = "of images with three planes, 0 to 2"
    parser.add_argument("--plane", type=int, help=help_text)
    help_text = "add a deliberately bad set, training images with 0.9 of their charge"
    parser.add_argument("--ceiling", action="store_true", help=help_text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a finished report")
    parser.add_argument("--nofigures", action="store_true", help="draw nothing")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compare sets; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: make_report(options), debug=options.debug, options=vars(options))


def make_report(options: argparse.Namespace) -> None:
    """Make the report of parsed arguments, or finish it.

    Raises:
        FileNotFoundError: a set, labels or weights are not there.
        ValueError: sets that cannot be compared, or ``out`` already exists.
    """
    # Imported here because it imports JAX, which reads the environment that run sets.
    from evaluation import evaluate
    from evaluation.images.alike import parse_threshold
    from evaluation.of_run import complete
    from evaluation.report.folder import PARTIAL, check_free

    options = complete(options)
    threshold = parse_threshold(options.threshold)
    check_free(options.out, result="report.json", overwrite=options.overwrite)
    start_jax(alone="python -m evaluation")
    generated = {options.name: options.generated}
    if options.generated_2:
        if options.name == options.name_2:
            raise ValueError(f"two sets have one name, {options.name}; use --name and --name_2")
        generated[options.name_2] = options.generated_2
    names = {"real": "real", "train": "train"}
    names |= {"generated": options.name, "generated_2": options.name_2}
    labels = {name: getattr(options, f"labels_{role}") for role, name in names.items()}
    likelihoods = {
        name: path
        for name, path in (
            ("real", options.likelihood_real),
            (options.name, options.likelihood_generated),
        )
        if path is not None
    }
    work = options.out / PARTIAL
    report = evaluate(
        options.real,
        generated,
        train=options.train,
        labels={name: path for name, path in labels.items() if path is not None},
        likelihoods=likelihoods,
        ssnet=False if options.nossnet else options.ssnet or True,
        metrics=options.metrics,
        budget=options.budget,
        threshold=threshold,
        scaling=options.scaling,
        generated_scaling=options.generated_scaling,
        plane=options.plane,
        ceiling=options.ceiling,
        seed=options.seed,
        work=work,
        overwrite=options.overwrite,
    )
    report.save(options.out, figures=not options.nofigures)
    if all(result.status != "failed" for result in report.results):
        shutil.rmtree(work)
    for text in (*report.warnings, *report.headline()):
        LOGGER.info("%s", text)
    LOGGER.info("look at %s", options.out / "report.html")


if __name__ == "__main__":
    main()
