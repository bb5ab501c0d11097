"""Compare generated images with real ones: numbers with errors and floors, and pictures.

  python -m evaluation --real=test/ --generated=samples.npz --train=train/ --out=report/

Sets are anything that sgm_jax.data reads: a folder of PNG files, .npy, .npz or HDF5, on the scale
0..255. OUT gets report.json, report.md, report.html (one file, figures inside), figures/ with the
counts behind each, and what was measured on every image. SSNet sees every image once; labels of
evaluation.label, with features.npy beside them, save that. A run that was killed continues, when
it is repeated, with what is missing.
"""

import argparse
from pathlib import Path

from evaluation.metrics.budget import BUDGETS
from sgm_jax.run.command import run, start_jax
from sgm_jax.run.log import LOGGER


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="held-out real images")
    parser.add_argument("--generated", required=True, help="generated images")
    parser.add_argument("--train", help="training images: the floor is those against the real ones")
    parser.add_argument("--generated_2", "--generated-2", help="images of a second generator")
    parser.add_argument("--name", default="generated", help="what to call the generated images")
    parser.add_argument("--name_2", "--name-2", default="generated_2")
    for which in ("real", "generated", "train", "generated_2"):
        text = f"labels.h5 of evaluation.label for --{which}, so that SSNet need not see it again"
        parser.add_argument(f"--labels_{which}", type=Path, help=text)
    parser.add_argument("--ssnet", type=Path, help="weights of SSNet (default: the package's)")
    parser.add_argument("--nossnet", action="store_true", help="leave out all that needs SSNet")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--metrics", help="only these, like physics,looking (default: all)")
    parser.add_argument("--budget", choices=BUDGETS, default="small", help="numbers of images")
    help_text = "pixels at most this become 0 in all sets (the paper: 4, in generated images)"
    parser.add_argument("--threshold", type=int, default=0, help=help_text)
    help_text = "add a deliberately bad set, training images with 0.9 of their charge"
    parser.add_argument("--ceiling", action="store_true", help=help_text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a finished report")
    parser.add_argument("--nofigures", action="store_true", help="draw nothing")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compare sets; ``arguments`` are those of the command line by default."""
    given = parse(arguments)
    run(lambda: _run(given), debug=given.debug)


def _run(given: argparse.Namespace) -> None:
    # Imported here because it imports jax, which reads the environment that run sets.
    from evaluation import evaluate
    from evaluation.report import report

    start_jax(alone="python -m evaluation")
    content = evaluate.evaluate(given)
    for text in (*content["warnings"], *report.headline(content["rows"])):
        LOGGER.info("%s", text)
    LOGGER.info("look at %s", given.out / "report.html")


if __name__ == "__main__":
    main()
