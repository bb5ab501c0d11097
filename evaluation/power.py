"""Measure how small a flaw each metric of the evaluator notices.

    python -m evaluation.power --real=data/test --train=data/train --out=runs/power

Training images with a known flaw stand in for generated images; other training images give the
floor. OUT gets power.md, a table of every metric by flaw, and power.json. If the command is
stopped, the same command continues with the metrics that are missing.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.images import distort
from evaluation.metrics.verdict import excess, stands_out
from evaluation.report import render as render_template
from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER

# The flaws that are given to training images, by the set name in the rows.
CASES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "same": lambda images, seed: images,
    "charge_x_0.95": lambda images, seed: distort.scale_charge(images, 0.95),
    "dropped_2_percent": lambda images, seed: distort.drop_pixels(images, 0.02, seed=seed),
    "blurred_0.5_px": lambda images, seed: distort.blur(images, 0.5),
}

Row = dict[str, Any]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.power", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="held-out real images")
    parser.add_argument("--train", required=True, help="training images, at least twice --n")
    parser.add_argument("--out", type=Path, default=Path("runs/power"), help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/power/work"), help="keeps results")
    parser.add_argument("--n", type=int, default=2000, help="images of every set")
    parser.add_argument("--metrics", help="only these, like physics,looking (default: all)")
    parser.add_argument("--ssnet", type=Path, help="weights of SSNet (default: the package's)")
    help_text = "to 0..255: none, per_image, quantile or fixed:FULL (default: %(default)s)"
    parser.add_argument("--scaling", default="none", help=help_text)
    parser.add_argument("--plane", type=int, help="of images with three planes, 0 to 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def measure_power(options: argparse.Namespace) -> dict[str, Any]:
    """Compute every metric of every case; return what power.json holds.

    Raises:
        ValueError: too few training images, or a folder of other settings.
    """
    # Imported here because they import jax, which reads the environment that run sets.
    from evaluation import evaluate
    from evaluation.metrics.budget import Budget
    from evaluation.metrics.table import choose

    sets = load_cases(options)
    report = evaluate(
        sets["real"],
        {name: sets[name] for name in CASES},
        train=sets["train"],
        ssnet=options.ssnet or True,
        metrics=[metric for metric in choose(options.metrics) if not metric.joint],
        budget=Budget(
            None, None, None, permutations=1_000, image_permutations=1_000, splits=20, at_once=2
        ),
        seed=options.seed,
        work=options.work,
    )
    settings = {
        "n": options.n,
        "seed": options.seed,
        "sets": {role: images.facts["hash_of_used"] for role, images in sets.items()},
        "ssnet": report.sets["real"]["ssnet"],
    }
    rows = [result.to_dict() for result in report.results]
    return {"settings": settings, "rows": rows, "provenance": report.provenance}


def load_cases(options: argparse.Namespace) -> dict[str, Any]:
    """Return by role: real images, training images for the floor, and one set for each flaw."""
    from evaluation.images.sets import ImageSet, check_alike, load

    reading = {"seed": options.seed, "scaling": options.scaling, "plane": options.plane}
    real = load(options.real, "real", limit=options.n, **reading)
    both = load(options.train, "train", limit=2 * options.n, **reading)
    if len(real) < options.n or len(both) < 2 * options.n:
        raise ValueError(
            f"--n={options.n} needs {options.n} real and {2 * options.n} training images; "
            f"got {len(real)} and {len(both)}: lower --n"
        )
    order = np.random.default_rng([options.seed, 3]).permutation(len(both))
    train, base = (both.take(np.sort(half)) for half in np.split(order, 2))
    sets = {"real": real, "train": train}
    for name, spoil in CASES.items():
        images = spoil(base.images, options.seed)
        facts = base.facts | {"hash_of_used": f"{name} of {base.facts['hash_of_used']}"}
        sets[name] = ImageSet(name, images, facts=facts)
    check_alike(list(sets.values()))
    return sets


def verdict(row: Row) -> tuple[str, bool | None]:
    """Return a row's p or z as text, and whether it noticed the flaw (None: no answer).

    Rows without p are judged by z = (value - floor) / (sqrt(2) stderr), two-sided: value and
    floor have about the same error.
    """
    if row["status"] != "ok":
        return row["status"], None
    if row["p"] is not None:
        return f"p {row['p']:.3g}", stands_out(row["p"], None)
    z = excess(row["value"], row["floor"], row["stderr"])
    return ("no error", None) if z is None else (f"z {z:.1f}", stands_out(None, z))


def render(content: dict[str, Any]) -> str:
    """Return power.md."""
    cells = {(row["metric"], row["set"]): verdict(row) for row in content["rows"]}
    metrics = dict.fromkeys(metric for metric, _ in cells)
    table = {
        metric: {case: cells.get((metric, case), ("", None)) for case in CASES}
        for metric in metrics
    }
    caught = {}
    for case in CASES:
        answers = {metric: table[metric][case][1] for metric in metrics}
        names = dict.fromkeys(metric.split("/")[0] for metric, answer in answers.items() if answer)
        judged = [answer for answer in answers.values() if answer is not None]
        caught[case] = sum(judged), len(judged), ", ".join(names) or "none"
    return render_template("power.md", content | {"table": table, "caught": caught})


def main(arguments: list[str] | None = None) -> None:
    """Make the table; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    from sgm_jax.run.files import write_json

    start_jax()
    content = measure_power(options)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "power.json", content)
    (options.out / "power.md").write_text(render(content))
    LOGGER.info("look at %s", options.out / "power.md")


if __name__ == "__main__":
    main()
