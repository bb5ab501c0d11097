"""How small a flaw does each metric of the evaluator notice?

    python -m studies.power --real=data/test --train=data/train --out=docs/evaluation

Some training images, spoiled on purpose, stand for generated ones; the floor is from others. OUT
gets power.md, a table of every metric by flaw, and power.json. A run that was killed continues,
when it is repeated, with the metrics that are missing.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from evaluation.images import distort
from sgm_jax.run.command import run as run_command
from sgm_jax.run.command import start_jax
from studies.written import write_study

SIGNIFICANT = 0.001
# What is done to training images, by the name that the rows carry.
CASES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "same": lambda images, seed: images,
    "charge_x_0.95": lambda images, seed: distort.scale_charge(images, 0.95),
    "dropped_2_percent": lambda images, seed: distort.drop_pixels(images, 0.02, seed=seed),
    "blurred_0.5_px": lambda images, seed: distort.blur(images, 0.5),
}

Row = dict[str, Any]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m studies.power", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="held-out real images")
    parser.add_argument("--train", required=True, help="training images, at least twice --n")
    parser.add_argument("--out", required=True, type=Path, help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/power"), help="what is done so far")
    parser.add_argument("--n", type=int, default=2000, help="images of every set")
    parser.add_argument("--metrics", help="only these, like physics,looking (default: all)")
    parser.add_argument("--ssnet", type=Path, help="weights of SSNet (default: the package's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def study(given: argparse.Namespace) -> dict[str, Any]:
    """Compute every metric of every case; return what power.json holds.

    Raises:
        ValueError: too few training images, or a folder of other settings.
    """
    # Imported here because they import jax, which reads the environment that run sets.
    from evaluation.images.sets import pair
    from evaluation.metrics import observables, rows
    from evaluation.metrics.budget import BUDGETS
    from evaluation.metrics.measuring import measured, segmented
    from evaluation.metrics.run import compute
    from evaluation.ssnet.weights import open_weights
    from sgm_jax.run.workdir import provenance

    chosen = [metric for metric in rows.choose(given.metrics) if metric in rows.METRICS]
    asking = [metric for metric in chosen if rows.needs_labels([metric])]
    others = [metric for metric in chosen if metric not in asking]
    weights = open_weights(given.ssnet) if asking else None
    sets = load_cases(given)
    hashes = {role: one.facts["hash_of_used"] for role, one in sets.items()}
    settings = {"n": given.n, "seed": given.seed, "sets": hashes}
    _claim(given.work, settings)
    sets = {
        role: measured(one, observables.measure, given.work / f"observables/{role}.npz")
        for role, one in sets.items()
    }

    def compare(metrics: list[str], folder: Path) -> list[Row]:
        pairs = [pair(sets["real"], sets[name], sets["train"], seed=given.seed) for name in CASES]
        return compute(pairs, metrics, BUDGETS["small"], seed=given.seed, folder=folder)

    found = compare(others, given.work / "rows")
    if weights is not None:
        # What is from SSNet has a folder of its own: the rest is right for any weights.
        folder = given.work / f"ssnet_{weights.sha256[:12]}"
        sets = segmented(sets, weights, folder / "sets", features=True)
        found += compare(asking, folder / "rows")
        settings["ssnet"] = weights.sha256
    return {"settings": settings, "rows": found, "provenance": provenance()}


def load_cases(given: argparse.Namespace) -> dict[str, Any]:
    """Return real images, training images for the floor, and the spoiled ones, by role."""
    from evaluation.images.sets import ImageSet, check_alike, load

    options = {"seed": given.seed}
    real = load(given.real, "real", limit=given.n, **options)
    both = load(given.train, "train", limit=2 * given.n, **options)
    if len(real) < given.n or len(both) < 2 * given.n:
        raise ValueError(
            f"{given.n} images of every set need as many real ones and twice as many for training; "
            f"got {len(real)} and {len(both)}: lower --n"
        )
    order = np.random.default_rng([given.seed, 3]).permutation(len(both))
    train, base = (both.take(np.sort(half)) for half in np.split(order, 2))
    sets = {"real": real, "train": train}
    for name, spoil in CASES.items():
        images = spoil(base.images, given.seed)
        facts = base.facts | {"hash_of_used": f"{name} of {base.facts['hash_of_used']}"}
        sets[name] = ImageSet(name, images, facts=facts)
    check_alike(list(sets.values()))
    return sets


def verdict(row: Row) -> tuple[str, bool | None]:
    """Return what a row says of its case in a few letters, and whether it noticed anything.

    Rows without p are judged by z = (value - floor) / (sqrt(2) stderr), two-sided: value and
    floor have about the same error.
    """
    if row["status"] != "ok":
        return row["status"], None
    if row["p"] is not None:
        return f"p {row['p']:.3g}", row["p"] < SIGNIFICANT
    if not row["stderr"] or row["floor"] is None:
        return "no error", None
    z = (row["value"] - row["floor"]) / (np.sqrt(2) * row["stderr"])
    return f"z {z:.1f}", bool(abs(z) > norm.isf(SIGNIFICANT / 2))


def render(content: dict[str, Any]) -> str:
    """Return power.md."""
    cells = {(row["metric"], row["set"]): verdict(row) for row in content["rows"]}
    metrics = list(dict.fromkeys(metric for metric, _ in cells))
    settings = content["settings"]
    lines = [
        "# What the evaluator notices",
        "",
        f"{settings['n']} images of every set, seed {settings['seed']}. Generated sets are "
        "training images, as they are or spoiled; real ones are test images; the floor is from "
        "other training images. **Bold** is noticed: p < 0.001. Rows without p are judged by "
        "z = (value - floor) / (√2 stderr), two-sided at the same level. 1,000 permutations give "
        "no p below 0.00099.",
        "",
        "| | rows that notice | of | first parts of their names |",
        "|---|---|---|---|",
    ]
    for case in CASES:
        judged = [m for m in metrics if cells.get((m, case), ("", None))[1] is not None]
        caught = [metric for metric in judged if cells[metric, case][1]]
        names = ", ".join(dict.fromkeys(metric.split("/")[0] for metric in caught)) or "none"
        lines.append(f"| {_title(case)} | {len(caught)} | {len(judged)} | {names} |")
    lines += ["", "| metric | " + " | ".join(map(_title, CASES)) + " |", "|---" * 5 + "|"]
    for metric in metrics:
        texts = [_cell(*cells.get((metric, case), ("", None))) for case in CASES]
        lines.append(f"| {metric} | " + " | ".join(texts) + " |")
    made = content["provenance"]
    lines += ["", f"`python -m studies.power`, {made['time']}, commit {made['git_commit']}.", ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Make the table; ``arguments`` are those of the command line by default."""
    given = parse(arguments)
    run_command(lambda: _run(given), debug=given.debug)


def _run(given: argparse.Namespace) -> None:
    start_jax()
    content = study(given)
    write_study(given.out, "power", content, render(content))


def _claim(work: Path, settings: dict[str, Any]) -> None:
    """Take the folder for these settings, or go on in it."""
    from sgm_jax.run.workdir import write_json

    note = work / "settings.json"
    if note.is_file() and json.loads(note.read_text()) != settings:
        raise ValueError(f"{work} holds a study of other settings; choose another --work")
    work.mkdir(parents=True, exist_ok=True)
    write_json(note, settings)


def _title(case: str) -> str:
    return case.replace("_", " ")


def _cell(text: str, caught: bool | None) -> str:
    return f"**{text}**" if caught else text


if __name__ == "__main__":
    main()
