"""Do generated images show the particle and the momentum that were asked for?

  python -m sgm_jax.main --mode=sample --workdir=runs/X --conditions=data/cond64/labels.h5::test
  python -m evaluation.conditional --real=data/cond64/test/larcv_png_64 \\
      --generated=runs/X/samples/step_020000_conditions --out=obey

compares them with simulated images: charge against momentum, direction, range, for which particle
a classifier takes them, and all observables, each with its error and the floor that two parts of
the simulated images give. What the real images show is in the labels of their simulation, or in
--conditions; generated images come as folders of --mode=sample. Several of them, such as guidance
1 and 2, stand in one table: --generated=g1=FOLDER --generated=g2=FOLDER. OUT gets conditional.html
(one file with the figures inside), conditional.json and figures/. If the command is stopped, the
same command continues.
"""

import argparse
import shutil
from pathlib import Path

from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER

CLASSIFIERS = "trees,cnn"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.conditional", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    help_text = "simulated images, such as data/cond64/test/larcv_png_64"
    parser.add_argument("--real", required=True, help=help_text)
    help_text = "folder of drawn images, or NAME=FOLDER; may be given several times"
    parser.add_argument("--generated", required=True, action="append", help=help_text)
    help_text = "file of what the real images show (default: the labels.h5 of their simulation)"
    parser.add_argument("--conditions", help=help_text)
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    help_text = "that say which particle an image shows, or none (default: %(default)s)"
    parser.add_argument("--classifiers", default=CLASSIFIERS, help=help_text)
    help_text = "pixels at most this become 0 in all sets (default: %(default)s, see evaluation)"
    parser.add_argument("--threshold", default="auto", help=help_text)
    help_text = "energy of a grey level, for sets whose recipe.json does not say it"
    parser.add_argument("--mev_per_level", "--mev-per-level", type=float, help=help_text)
    help_text = "side of a pixel, likewise"
    parser.add_argument("--pixel_mm", "--pixel-mm", type=float, help=help_text)
    parser.add_argument("--limit", type=int, help="images of each set at most, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a finished report")
    parser.add_argument("--nofigures", action="store_true", help="draw nothing")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Make a report; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: make_report(options), debug=options.debug, options=vars(options))


def make_report(options: argparse.Namespace) -> None:
    """Make the report of parsed arguments, or finish it.

    Raises:
        FileNotFoundError: a set, or what it shows, is not there.
        ValueError: sets that cannot be compared, or ``out`` already exists.
    """
    # Imported here because it imports JAX, which reads the environment that run_command sets.
    from evaluation.conditional.evaluator import evaluate_conditional
    from evaluation.conditional.report import JSON, PAGE
    from evaluation.images.alike import parse_threshold
    from evaluation.report.folder import PARTIAL, check_free

    threshold = parse_threshold(options.threshold)
    generated = named(options.generated)
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit={options.limit} must be at least 1")
    check_free(options.out, result=JSON, overwrite=options.overwrite)
    start_jax(alone="python -m evaluation.conditional")
    work = options.out / PARTIAL
    report = evaluate_conditional(
        options.real,
        generated,
        conditions=options.conditions,
        classifiers=[] if options.classifiers == "none" else options.classifiers.split(","),
        threshold=threshold,
        mev_per_level=options.mev_per_level,
        pixel_mm=options.pixel_mm,
        limit=options.limit,
        seed=options.seed,
        work=work,
        overwrite=options.overwrite,
    )
    report.save(options.out, figures=not options.nofigures)
    shutil.rmtree(work)
    for text in report.warnings:
        LOGGER.info("%s", text)
    LOGGER.info("look at %s", options.out / PAGE)


def named(sources: list[str]) -> dict[str, str]:
    """Return the folders by their names; one without a name is called ``generated``.

    Raises:
        ValueError: two sets of one name.
    """
    folders: dict[str, str] = {}
    for source in sources:
        name, equals, folder = source.partition("=")
        name, folder = (name, folder) if equals else ("generated", source)
        if name in folders:
            raise ValueError(f"two sets have one name, {name}; give --generated=NAME=FOLDER")
        folders[name] = folder
    return folders


if __name__ == "__main__":
    main()
