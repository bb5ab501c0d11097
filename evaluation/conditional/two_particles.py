"""Two kinds of particle, told apart by classifiers that have learnt from generated images.

  python -m evaluation.conditional.two_particles --particles=electron,muon \\
      --real=data/X/test/larcv_png_32 --train=data/X/train/larcv_png_32 \\
      --generated=row=FOLDER --generated=column=FOLDER --out=two

A set of images is as good as real ones if a classifier that was trained on it does as well on real
images as one that was trained on real images (SARM, arXiv:2009.14017, with jets of two kinds).
Beside that AUC are the distances W1 of two observables of each kind between generated and real
images: charge, and track length. The row "real" has the numbers of the simulated training images,
as many as there are generated ones: no set can be expected to be better. Generated images come as
folders of --mode=sample --conditions=LABELS.h5::test. OUT gets two_particles.md and .json.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER

if TYPE_CHECKING:  # it imports JAX, which reads the environment that run_command sets
    from evaluation.conditional.sets import ConditionedSet, Shown

RESULT, PAGE, TRAINED = "two_particles.json", "two_particles.md", "real"
OBSERVED = ("charge", "track_length_px")
SORTS = ("trees", "cnn")
FEWEST = 100  # images of a kind in a set
TRAININGS = 3


@dataclass(frozen=True)
class Number:
    """A number with its standard error."""

    value: float
    stderr: float


def separation(
    sort: str,
    trained: "ConditionedSet",
    tested: "ConditionedSet",
    kinds: tuple[str, str],
    *,
    seed: int,
) -> Number:
    """Return the AUC between two kinds of real images of a classifier of other images.

    Args:
        sort: ``"trees"`` or ``"cnn"``.
        trained: the images that it learns from, measured, of these kinds.
        tested: the real images.
        kinds: names of the particles; the second one should get larger scores.
        seed: of the first of :data:`TRAININGS` trainings.

    Returns:
        The mean over the trainings. The error is that of the tested images (DeLong) and that of
        the mean over the trainings.
    """
    from evaluation.metrics.auc import auc, delong_variance
    from evaluation.metrics.classifier import KINDS, seen_by

    labels = (trained.particle == kinds[1]).astype(np.int64)
    is_second = tested.particle == kinds[1]
    inputs, of_real = (seen_by(sort, images.images) for images in (trained, tested))
    values, variances = [], []
    for k in range(TRAININGS):
        said = KINDS[sort].fit(inputs, labels, seed=seed + k)(of_real)
        scores = said[:, 1] - said[:, 0]
        values.append(auc(scores[~is_second], scores[is_second]))
        variances.append(delong_variance(scores[~is_second], scores[is_second]))
    spread = np.var(values, ddof=1) / TRAININGS
    return Number(float(np.mean(values)), float(np.sqrt(np.mean(variances) + spread)))


def distance(
    name: str, real: "ConditionedSet", other: "ConditionedSet", kind: str, *, seed: int
) -> Number:
    """Return W1 of an observable between the images of a kind, with its error."""
    from evaluation.images.sets import Pair
    from evaluation.metrics.budget import BUDGETS
    from evaluation.metrics.observables import OBSERVABLES
    from evaluation.metrics.physics import value_rows

    sets = [images.take(images.particle == kind).images for images in (real, other)]
    pair = Pair(*sets, floor=(sets[0], sets[0]), floor_from="")
    budget = replace(BUDGETS["small"], permutations=1)
    edges = OBSERVABLES[name].edges
    rows = value_rows(name, pair, lambda images: images.table[name], edges, budget, seed)
    (row,) = (row for row in rows if row.metric == f"{name}/w1")
    return Number(row.value, row.stderr)


def compare(
    real: "str | Path | Shown",
    train: "str | Path | Shown",
    generated: "Mapping[str, str | Path | Shown]",
    kinds: tuple[str, str],
    *,
    classifiers: Sequence[str] = SORTS,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the numbers of each set by its name, ``real`` first, and how many images they are of.

    Args:
        real: simulated images to test on, beside their ``labels.h5``; or a `Shown`.
        train: others to learn from, likewise.
        generated: folders of drawn images, or `Shown`, by name.
        kinds: two kinds of particle.
        classifiers: ``"trees"`` on observables, ``"cnn"`` on pixels.
        limit: images of each kind at most, and at least :data:`FEWEST`.
        seed: of everything random.

    Raises:
        FileNotFoundError: a set, or what it shows, is not there.
        ValueError: sets that cannot be compared, or too few images of a kind.
    """
    from evaluation.conditional.opening import common_units, open_alike
    from evaluation.conditional.sets import Shown, read_generated, read_real
    from evaluation.metrics.observables import measure

    unknown = set(classifiers) - set(SORTS)
    if unknown:
        raise ValueError(
            f"--classifiers has {', '.join(sorted(unknown))}; it can have {', '.join(SORTS)}"
        )
    if len(set(kinds)) != 2:
        raise ValueError(f"--particles={','.join(kinds)} must be two kinds, such as electron,muon")
    if limit is not None and limit < FEWEST:
        raise ValueError(f"--limit={limit} must be at least {FEWEST}")
    taken = {"tested", TRAINED} & set(generated)
    if taken:
        raise ValueError(f"{', '.join(taken)}: so the simulated images are called; give another")
    sources = {"tested": real, TRAINED: train} | dict(generated)
    shown = {}
    for name, source in sources.items():
        if isinstance(source, Shown):
            shown[name] = source
        elif name in generated:
            shown[name] = read_generated(source, needs_momentum=False)
        else:
            shown[name] = read_real(source)
    units, doubts = common_units(shown, {"mev_per_level": None, "pixel_mm": None})
    opened, more = open_alike(
        shown, units, threshold="auto", limit=None, seed=seed, needs_momentum=False
    )
    for doubt in (*doubts, *more):
        LOGGER.warning("%s", doubt)
    places = [[np.flatnonzero(s.particle == kind) for kind in kinds] for s in opened]
    for images, rows in zip(opened, places, strict=True):
        for kind, of_kind in zip(kinds, rows, strict=True):
            if len(of_kind) < FEWEST:
                raise ValueError(
                    f"{images.name} has {len(of_kind)} images of {kind}, and {FEWEST} are needed"
                )
    # As many of each kind in each set that is learnt from: more would be better by themselves.
    count = min(len(of_kind) for rows in places[1:] for of_kind in rows)
    count = count if limit is None else min(count, limit)
    chosen = []
    for k, (images, rows) in enumerate(zip(opened, places, strict=True)):
        rng = np.random.default_rng([seed, k])
        some = rows if k == 0 else [rng.permutation(of_kind)[:count] for of_kind in rows]
        images = images.take(np.sort(np.concatenate(some)))
        table = measure(images.images.images)
        chosen.append(replace(images, images=replace(images.images, table=table)))
    tested, *learnt_from = chosen
    numbers = {}
    for images in learnt_from:
        own = {
            f"auc/{sort}": separation(sort, images, tested, kinds, seed=seed)
            for sort in classifiers
        }
        for name in OBSERVED:
            own |= {
                f"w1/{name}/{kind}": distance(name, tested, images, kind, seed=seed)
                for kind in kinds
            }
        numbers[images.name] = {name: vars(number) for name, number in own.items()}
        LOGGER.info("%s: %s", images.name, ", ".join(_cells(numbers[images.name])))
    return {"kinds": list(kinds), "count": count, "tested": len(tested), "sets": numbers}


def table(content: dict[str, Any]) -> str:
    """Return the numbers of :func:`compare` as a table of Markdown."""
    names = list(next(iter(content["sets"].values())))
    lines = [
        f"Classifiers of {' and '.join(content['kinds'])}: trained on {content['count']} images of "
        f"each kind, tested on {content['tested']} real ones. W1 in the observable's unit.",
        "",
        f"| learnt from | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [f"| {name} | {' | '.join(_cells(own))} |" for name, own in content["sets"].items()]
    return "\n".join(lines) + "\n"


def _cells(own: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{number['value']:.3f} ± {number['stderr']:.3f}"
        if name.startswith("auc")
        else f"{number['value']:.3g} ± {number['stderr']:.2g}"
        for name, number in own.items()
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.conditional.two_particles", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--particles", required=True, help="two kinds, such as electron,muon")
    parser.add_argument("--real", required=True, help="simulated images to test on")
    parser.add_argument("--train", required=True, help="simulated images to learn from")
    help_text = "folder of drawn images, or NAME=FOLDER; may be given several times"
    parser.add_argument("--generated", required=True, action="append", help=help_text)
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    help_text = "that learn (default: %(default)s)"
    parser.add_argument("--classifiers", default=",".join(SORTS), help=help_text)
    parser.add_argument("--limit", type=int, help="images of each kind to learn from, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a finished report")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compare; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    from evaluation.conditional.__main__ import named
    from evaluation.report.folder import check_free

    check_free(options.out, result=RESULT, overwrite=options.overwrite)
    start_jax(alone="python -m evaluation.conditional.two_particles")
    first, _, second = options.particles.partition(",")
    content = compare(
        options.real,
        options.train,
        named(options.generated),
        (first, second),
        classifiers=options.classifiers.split(","),
        limit=options.limit,
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / PAGE).write_text(table(content))
    write_json(options.out / RESULT, content)
    LOGGER.info("look at %s", options.out / PAGE)


if __name__ == "__main__":
    main()
