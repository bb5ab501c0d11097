"""The story of a report: read the sets, compute what is missing, draw, write."""

import argparse
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.figures import pages
from evaluation.images import distort
from evaluation.images.sets import ImageSet, Pair, check_alike, load, pair
from evaluation.metrics import observables, rows, run
from evaluation.metrics.budget import BUDGETS
from evaluation.metrics.measuring import measured, segmented
from evaluation.report import report
from evaluation.ssnet.network import CLASSES
from evaluation.ssnet.weights import PACKAGED, Weights, open_weights
from sgm_jax.run.files import write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.workdir import provenance


def evaluate(given: argparse.Namespace) -> dict[str, Any]:
    """Make the report of parsed arguments, or finish it; return the content of report.json.

    Raises:
        FileNotFoundError: a set is not there.
        ValueError: sets that cannot be compared, or ``out`` is there already.
    """
    chosen = rows.choose(given.metrics)
    _check_free(given.out, given.overwrite)
    weights = _open_weights(given, chosen)
    sets = _load_all(given)
    partial = given.out / "partial"
    _claim(given, sets, weights, partial)
    sets = _measure_all(sets, weights, partial, features=rows.needs_features(chosen))
    real, train = sets["real"], sets.get("train")
    generated = [one for role, one in sets.items() if role not in ("real", "train")]
    pairs = [pair(real, one, train, seed=given.seed) for one in generated]
    budget = BUDGETS[given.budget]
    found = run.compute(pairs, chosen, budget, seed=given.seed, folder=partial / "rows")
    names, failures = [], []
    if not given.nofigures:
        folder, options = given.out / "figures", {"budget": budget, "seed": given.seed}
        names, failures = pages.draw_all(pairs, found, folder, **options)
    _keep_tables(sets, given.out)
    content = _content(given, sets, found) | {"floor": _floor(pairs[0])}
    content["warnings"] += failures
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


def _open_weights(given: argparse.Namespace, chosen: list[str]) -> Weights | None:
    """Return SSNet if it has anything to do; without packaged weights its rows say what to do."""
    unlabelled = any(
        getattr(given, role) and not getattr(given, f"labels_{role}")
        for role in ("real", "train", "generated", "generated_2")
    )
    missing = given.ssnet is None and not PACKAGED.is_file()
    if given.nossnet or missing or not (unlabelled and rows.needs_labels(chosen)):
        return None
    weights = open_weights(given.ssnet)
    if weights.net.num_classes != len(CLASSES):
        raise ValueError(f"{given.ssnet}: has {weights.net.num_classes} classes, not 3")
    return weights


def _measure_all(
    sets: dict[str, ImageSet], weights: Weights | None, partial: Path, *, features: bool
) -> dict[str, ImageSet]:
    """Return the sets with their observables and what SSNet says of them."""
    found = {
        role: measured(one, observables.measure, partial / "observables" / f"{role}.npz")
        for role, one in sets.items()
    }
    if weights is None:
        return found
    return segmented(found, weights, partial / "ssnet", features=features)


def _keep_tables(sets: dict[str, ImageSet], out: Path) -> None:
    """Write what was measured on every image."""
    for one in sets.values():
        np.savez_compressed(out / f"observables_{one.name}.npz", **one.table)
        if one.segments is not None:
            np.savez_compressed(out / f"ssnet_{one.name}.npz", **one.segments.table)


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


def _claim(
    given: argparse.Namespace, sets: dict[str, ImageSet], weights: Weights | None, partial: Path
) -> None:
    """Take the folder for these sets; go on with what an earlier run of the same left."""
    settings = {
        "sets": {role: [one.name, one.facts["hash_of_used"]] for role, one in sets.items()},
        "labels": [[one.facts["track_images"], one.facts["ssnet"]] for one in sets.values()],
        "ssnet": None if weights is None else weights.sha256,
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
