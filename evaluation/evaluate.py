"""The story of a report: read the sets, compute what is missing, draw, write."""

import argparse
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation import distort, figures, observables, report, rows, run
from evaluation.budget import BUDGETS
from evaluation.sets import ImageSet, Pair, check_alike, load, measured, pair
from sgm_jax.log import LOGGER
from sgm_jax.workdir import provenance, write_json


def evaluate(given: argparse.Namespace) -> dict[str, Any]:
    """Make the report of parsed arguments, or finish it; return the content of report.json.

    Raises:
        FileNotFoundError: a set is not there.
        ValueError: sets that cannot be compared, or ``out`` is there already.
    """
    chosen = rows.choose(given.metrics)
    _check_free(given.out, given.overwrite)
    sets = _load_all(given)
    partial = given.out / "partial"
    _claim(given, sets, partial)
    sets = {
        role: measured(one, observables.measure, partial / "observables" / f"{role}.npz")
        for role, one in sets.items()
    }
    real, train = sets["real"], sets.get("train")
    generated = [one for role, one in sets.items() if role not in ("real", "train")]
    pairs = [pair(real, one, train, seed=given.seed) for one in generated]
    budget = BUDGETS[given.budget]
    found = run.compute(pairs, chosen, budget, seed=given.seed, folder=partial / "rows")
    names = []
    if not given.nofigures:
        names = figures.draw_all(real, generated, given.out / "figures", seed=given.seed)
    for role, one in sets.items():
        kept = partial / "observables" / f"{role}.npz"
        shutil.copyfile(kept, given.out / f"observables_{one.name}.npz")
    content = _content(given, sets, found) | {"floor": _floor(pairs[0])}
    report.write(content, names, given.out)
    write_json(given.out / "report.json", content)  # last: it says that the report is complete
    if all(row["status"] != "failed" for row in found):
        shutil.rmtree(partial)
    return content


def _check_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an unfinished report."""
    replaceable = overwrite and (out / "report.json").is_file()
    if replaceable or not out.exists() or (out / "partial/settings.json").is_file():
        return
    if not out.is_dir() or any(out.iterdir()):
        finished = (out / "report.json").is_file()
        what = (
            "a finished report: add --overwrite" if finished else "no report: choose another --out"
        )
        raise ValueError(f"{out} is there already and holds {what}")


def _load_all(given: argparse.Namespace) -> dict[str, ImageSet]:
    """Read all sets, by role."""
    budget = BUDGETS[given.budget]
    names = {"real": "real", "train": "train", "generated": given.name, "generated_2": given.name_2}
    limits = {"real": budget.real, "train": budget.train}
    sets = {
        role: load(
            getattr(given, role),
            name,
            limit=limits.get(role, budget.generated),
            seed=given.seed,
            threshold=given.threshold,
            labels=getattr(given, f"labels_{role}"),
        )
        for role, name in names.items()
        if getattr(given, role)
    }
    if given.ceiling:
        sets["ceiling"] = _ceiling(sets.get("train"))
    for name in (one.name for one in sets.values()):
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"the name {name!r} must consist of letters, digits, '_', '-' and '.'")
    check_alike(list(sets.values()))
    return sets


def _ceiling(train: ImageSet | None) -> ImageSet:
    """Spoil the training images; real ones would be compared with themselves."""
    if train is None:
        raise ValueError("--ceiling spoils training images: give --train as well")
    factor = 0.9
    worse = distort.scale_charge(train.images, factor)
    facts = train.facts | {"source": f"{factor} x {train.facts['source']}"}
    return ImageSet("ceiling", worse, {}, train.is_track, facts)


def _claim(given: argparse.Namespace, sets: dict[str, ImageSet], partial: Path) -> None:
    """Take the folder for these sets; go on with what an earlier run of the same left."""
    settings = {
        "sets": {role: [one.name, one.facts["hash_of_used"]] for role, one in sets.items()},
        "labels": [one.facts["track_images"] for one in sets.values()],
        "budget": given.budget,
        "seed": given.seed,
    }
    note = partial / "settings.json"
    there = json.loads(note.read_text()) if note.is_file() else {}
    other = [name for name in settings if settings[name] != there.get(name)]
    if there and not other:
        LOGGER.info("continuing the report in %s", given.out)
        return
    if there and not given.overwrite:
        raise ValueError(
            f"{given.out} holds an unfinished report of other {', '.join(other)}; "
            "repeat that command, add --overwrite or choose another --out"
        )
    shutil.rmtree(given.out, ignore_errors=True)  # nothing but an old report, see _check_free
    partial.mkdir(parents=True)
    write_json(note, settings)


def _floor(chance: Pair) -> str:
    """Say which sets the floor is from."""
    sizes = " and ".join(str(len(one)) for one in chance.floor)
    return f"{chance.floor_from} ({sizes} images)"


def _content(
    given: argparse.Namespace, sets: dict[str, ImageSet], found: list[run.Row]
) -> dict[str, Any]:
    """Return the content of report.json."""
    facts = {one.name: one.facts for one in sets.values()}
    made = provenance()
    made["versions"] |= report.versions()
    definitions = {row["metric"]: row["definition"] for row in found if row["definition"]}
    return {
        "schema_version": report.SCHEMA_VERSION,
        "budget": given.budget,
        "sizes": asdict(BUDGETS[given.budget]),
        "seed": given.seed,
        "roles": {role: one.name for role, one in sets.items()},
        "sets": facts,
        "warnings": report.warnings_of(facts),
        "definitions": definitions,
        "rows": found,
        "provenance": made,
    }
