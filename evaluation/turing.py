"""Make a Turing test of images: one HTML page that asks of each whether it is real or generated.

  python -m evaluation.turing --real=test/ --generated=samples.npz --out=turing.html

The page works offline, on a phone as well, and sends nothing; its result, with the time of every
answer, can be saved as JSON. With labels of both sets tracks and showers are equally many and are
scored apart. The answers are masked, not encrypted: who wants to find them in the page can.
"""

import argparse
from pathlib import Path

from sgm_jax.command import run
from sgm_jax.log import LOGGER


def main(arguments: list[str] | None = None) -> None:
    """Make a page; ``arguments`` are those of the command line by default."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.turing", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="PNG folder, .npy, .npz or HDF5 file")
    parser.add_argument("--generated", required=True, help="the same, of the generator")
    parser.add_argument("--out", required=True, type=Path, help="HTML file to make")
    parser.add_argument("--count", type=int, default=50, help="images of each kind")
    parser.add_argument("--name", default="Real or generated?", help="title of the page")
    help_text = "pixels at most this become 0 in both sets (the paper: 4, in generated images)"
    parser.add_argument("--threshold", type=int, default=0, help=help_text)
    for which in ("real", "generated"):
        text = f"labels.h5 of evaluation.label for --{which}"
        parser.add_argument(f"--labels_{which}", type=Path, help=text)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    given = parser.parse_args(arguments)
    run(lambda: make(given), debug=given.debug)


def make(given: argparse.Namespace) -> None:
    """Write the page of parsed arguments.

    Raises:
        FileNotFoundError: a set or the folder of ``out`` is not there.
        ValueError: sets that do not fit, too few images, or ``out`` is there already.
    """
    from evaluation.sets import check_alike, load
    from evaluation.turing_page import MOST, choose, page

    if not 1 <= given.count <= MOST:
        raise ValueError(f"--count={given.count} must be from 1 to {MOST}, of each kind")
    if given.out.exists() and not given.overwrite:
        raise ValueError(f"{given.out} is there already: add --overwrite or choose another --out")
    if not given.out.parent.is_dir():
        raise FileNotFoundError(f"no folder {given.out.parent} to put {given.out.name} into")
    labels = (given.labels_real, given.labels_generated)
    by_class = None not in labels
    if not by_class and labels != (None, None):
        raise ValueError("labels of one set only: give both --labels_real and --labels_generated")
    sets = []
    for place, (role, file) in enumerate(zip(("real", "generated"), labels, strict=True)):
        options = {"threshold": given.threshold, "labels": file}
        limit = None if by_class else given.count  # of classes enough must be found first
        one = load(getattr(given, role), role, limit=limit, seed=given.seed, **options)
        sets.append(choose(one, given.count, by_class=by_class, seed=given.seed + place))
    check_alike(sets)
    given.out.write_text(page(*sets, title=given.name, seed=given.seed))
    LOGGER.info("open %s in a browser: %d + %d images", given.out, given.count, given.count)


if __name__ == "__main__":
    main()
