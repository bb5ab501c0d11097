"""Compare conditional images with simulated ones: read, weigh, measure, and make a report."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluation.conditional import alike, measure
from evaluation.conditional.confusion import with_predictions
from evaluation.conditional.distributions import PERMUTATIONS, observable_rows
from evaluation.conditional.opening import (
    REAL,
    common_kinds,
    common_units,
    coverage_doubts,
    kinds_doubts,
    open_alike,
)
from evaluation.conditional.report import ConditionalReport, Pairing
from evaluation.conditional.sets import ConditionedSet, Shown, read_generated, read_real
from evaluation.images.alike import AUTO
from evaluation.metrics.classifier import KINDS as SORTS
from evaluation.metrics.metric import Result
from evaluation.metrics.observables import measured
from evaluation.report.folder import open_work
from evaluation.report.report import versions, warnings_of
from sgm_jax.run.parts import Parts
from sgm_jax.run.workdir import provenance

_FIX = "repeat that command, add --overwrite or choose another --out"
_RANGE_BINS = 5


def evaluate_conditional(
    real: str | Path | Shown,
    generated: Mapping[str, str | Path | Shown],
    *,
    conditions: str | None = None,
    classifiers: Iterable[str] = ("trees", "cnn"),
    threshold: int | Literal["auto"] = AUTO,
    mev_per_level: float | None = None,
    pixel_mm: float | None = None,
    limit: int | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    work: str | Path | None = None,
    overwrite: bool = False,
) -> ConditionalReport:
    """Compare generated images with simulated ones of the particles and momenta asked for.

    Args:
        real: simulated images, with ``labels.h5`` where the simulation writes it; or a `Shown`.
        generated: by name, folders of ``--mode=sample`` or `Shown`.
        conditions: file of what the real images show, instead of ``labels.h5``.
        classifiers: ``"trees"`` on observables, ``"cnn"`` on pixels; none leaves confusion out.
        threshold: pixels at most this become 0 in all sets, see `evaluation.evaluate`.
        mev_per_level: energy of a grey level, for sets whose recipe does not say it.
        pixel_mm: side of a pixel, likewise.
        limit: images of each set at most, chosen by ``seed``; None takes all.
        permutations: of the tests of observables, for p; 0 leaves these tests out.
        seed: of everything random.
        work: folder that keeps what is done, so that the same call goes on after it was stopped.
        overwrite: replace what is kept in ``work`` if it belongs to other settings.

    Raises:
        FileNotFoundError: a set, or what it shows, is not there.
        ValueError: sets that cannot be compared: no conditions, other scales or sizes, no images of
            one kind and momentum in both.
    """
    sorts = list(classifiers)
    _check_names(list(generated), sorts)
    shown = {REAL: real if isinstance(real, Shown) else read_real(real, conditions=conditions)}
    for name, source in generated.items():
        shown[name] = source if isinstance(source, Shown) else read_generated(source)
    units, warnings = common_units(shown, {"mev_per_level": mev_per_level, "pixel_mm": pixel_mm})
    sets, more = open_alike(shown, units, threshold=threshold, limit=limit, seed=seed)
    kinds = common_kinds(sets)
    warnings += more + kinds_doubts(sets, kinds)
    edges = alike.momentum_bins(sets[0], sets[1:], kinds)
    if not edges:
        raise ValueError(
            f"{sets[0].name} has fewer than {alike.FEWEST} images of each kind that was asked for; "
            "give more simulated images"
        )
    recipe = {
        "sets": {s.name: [s.images.facts["hash_of_used"], _hash(s)] for s in sets},
        "seed": seed,
        "classifiers": sorts,
        "permutations": permutations,
    }
    with open_work(work, recipe, overwrite=overwrite, fix=_FIX) as parts:
        sets = [replace(s, images=measured(s.images, parts)) for s in sets]
        sets = [measure.with_measurements(s) for s in sets]
        sets = with_predictions(sets, list(edges), sorts, seed=seed, parts=parts)
        ranges = _range_edges(sets, edges)
        pairings = [
            _pairing(sets[0], own, edges, ranges, permutations=permutations, seed=seed, parts=parts)
            for own in sets[1:]
        ]
    facts = {s.name: s.images.facts | _asked_facts(s) for s in sets}
    for pairing in pairings:
        warnings += pairing.warnings
    origin = provenance()
    origin["versions"] |= versions()
    return ConditionalReport(
        results=[row for pairing in pairings for row in pairing.rows],
        pairings=pairings,
        real=sets[0],
        sets=facts,
        units=units,
        seed=seed,
        warnings=warnings + warnings_of(facts, REAL),
        provenance=origin,
    )


def _pairing(
    real: ConditionedSet,
    generated: ConditionedSet,
    edges: measure.Edges,
    range_edges: measure.Edges,
    *,
    permutations: int,
    seed: int,
    parts: Parts,
) -> Pairing:
    """Compare one generated set with the real one."""
    pair = alike.compared(real, generated, edges, seed=seed)
    if not len(pair.generated):
        raise ValueError(
            f"{generated.name} and {real.name} have no images of one kind, momentum and share of "
            "it in the plane; draw with --conditions= what the simulated images show"
        )
    range_pair = alike.compared(real, generated, range_edges, seed=seed)
    values = measure.numbers(pair, edges, range_edges, range_pair)
    used = pair.real
    floors, first = [], None
    for halves in alike.splits(used, len(pair.generated), seed=seed):
        by_chance, of_range = (
            alike.compared(*halves, bins, seed=seed, resamplings=0) for bins in (edges, range_edges)
        )
        floors.append(measure.numbers(by_chance, edges, range_edges, of_range))
        first = first or by_chance
    rows = measure.rows(values, floors, pair, measure.DEFINITIONS)
    part = f"rows/observables@{generated.name}.json"
    if permutations and parts.missing([part]):
        tests = observable_rows(pair, first, edges, permutations=permutations, seed=seed)
        parts.save(part, [row.to_dict() for row in tests])
    rows += [Result.from_dict(row) for row in parts.load(part)] if permutations else []
    series = {f"response/{name}": binned for name, binned in measure.response(pair, edges).items()}
    series |= {
        f"direction/{name}": binned for name, binned in measure.directions(pair, edges).items()
    }
    series |= {
        f"range/{k}": binned for k, binned in measure.stopping(range_pair, range_edges).items()
    }
    return Pairing(
        generated=generated,
        pair=pair,
        rows=rows,
        series=series,
        confusion={
            sort: measure.matrix(pair, sort, list(edges)) for sort in measure.classifiers_of(real)
        },
        kinds=list(edges),
        beyond=_beyond(real, generated, seed=seed),
        warnings=coverage_doubts(real, generated, edges),
    )


def _range_edges(sets: list[ConditionedSet], edges: measure.Edges) -> measure.Edges:
    """Return bins of momentum with equal numbers of real tracks that stay in the image.

    Of the sets, whose first is the real one, the one with the fewest tracks decides how many.
    The upper quarter is left out: there most that stay were scattered or absorbed.
    """
    ranges = {}
    for kind in (kind for kind in measure.STOPPING if kind in edges):
        sizes = [
            images.size[
                (images.particle == kind)
                & ~images.beyond
                & np.isfinite(images.images.table["range"])
            ]
            for images in sets
        ]
        if len(sizes[0]) < 2 * alike.FEWEST:
            continue
        highest = np.quantile(sizes[0], 0.75)
        fewest = min((size <= highest).sum() for size in sizes if (size <= highest).any())
        bins = min(_RANGE_BINS, max(int(fewest) // (2 * alike.FEWEST), 1))
        ranges[kind] = np.quantile(sizes[0], np.linspace(0.0, 0.75, bins + 1))
    return ranges


def _beyond(real: ConditionedSet, generated: ConditionedSet, *, seed: int) -> list[dict[str, Any]]:
    """Compare generated images of momenta outside the training, below and above it."""
    table = []
    for kind in dict.fromkeys(generated.particle[generated.beyond]):
        own = generated.beyond & (generated.particle == kind)
        inside = (generated.particle == kind) & ~generated.beyond & (real.particle != "").any()
        middle = np.median(generated.size[inside]) if inside.any() else 0.0
        for side, chosen in (
            ("below", own & (generated.size < middle)),
            ("above", own & (generated.size >= middle)),
        ):
            if chosen.any():
                table.append(_beyond_row(real, generated, kind, side, chosen, seed=seed))
    return table


def _beyond_row(
    real: ConditionedSet,
    generated: ConditionedSet,
    kind: str,
    side: str,
    chosen: np.ndarray,
    *,
    seed: int,
) -> dict[str, Any]:
    some = generated.take(chosen)
    edges = {kind: np.array([some.size.min(), some.size.max()])}
    row: dict[str, Any] = {
        "kind": kind,
        "momenta": f"{side}: {edges[kind][0]:.0f} to {edges[kind][1]:.0f} MeV/c",
        "generated images": len(some),
    }
    sets = [replace(images, beyond=np.zeros(len(images), bool)) for images in (real, some)]
    pair = alike.compared(*sets, edges, seed=seed)
    row["simulated images"] = len(pair.real)
    if min(len(pair.real), len(pair.generated)) < alike.FEWEST:
        return row | {"note": f"no comparison: {alike.FEWEST} images of both are needed"}
    charge = measure.response(pair, edges)
    off = measure.directions(pair, edges)[f"{kind}/median_deg"]
    for name, numbers in (
        ("charge, ratio", charge[f"{kind}/mean"].ratio),
        ("width, ratio", charge[f"{kind}/width"].ratio),
        ("median angle (degrees)", off.generated),
        ("simulated", off.real),
    ):
        row[name] = (float(numbers[0, 0]), float(measure.spread(numbers)[0]))
    return row


def _asked_facts(images: ConditionedSet) -> dict[str, Any]:
    return {
        "images_compared": len(images),
        "beyond_training": int(images.beyond.sum()),
        "guidance": images.guidance,
        "kinds": {
            kind: int((images.particle == kind).sum()) for kind in np.unique(images.particle)
        },
    }


def _hash(images: ConditionedSet) -> str:
    text = repr((images.particle.tolist(), images.event.tolist(), images.beyond.tolist()))
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(images.momentum, "<f4"))
    return digest.hexdigest()


def _check_names(names: list[str], sorts: list[str]) -> None:
    if not names:
        raise ValueError("no generated images; give --generated=NAME=FOLDER")
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"the name {name!r} must consist of letters, digits, '_', '-' and '.'")
        if name == REAL:
            raise ValueError(f"{REAL!r} is the name of the simulated images; choose another")
    unknown = [sort for sort in sorts if sort not in SORTS]
    if unknown:
        raise ValueError(f"unknown classifiers {', '.join(unknown)}; there are {', '.join(SORTS)}")
