"""All observables of the evaluator, for each kind in each bin of momentum, with two samples."""

from dataclasses import replace

import numpy as np

from evaluation.conditional.alike import FEWEST, Compared, bin_of
from evaluation.conditional.sets import ConditionedSet
from evaluation.metrics.metric import Result
from evaluation.metrics.observables import OBSERVABLES
from evaluation.metrics.resampling import Tested, line_tests

PERMUTATIONS = 1_000
_HALVES = 20
_TEXTS = {
    "ks": "two-sample Kolmogorov-Smirnov distance, p by permutation",
    "w1": "1-D Wasserstein distance in the unit of the observable, p by permutation",
}


def observable_rows(
    pair: Compared,
    floor: Compared,
    edges: dict[str, np.ndarray],
    *,
    permutations: int = PERMUTATIONS,
    seed: int,
) -> list[Result]:
    """Return the distances of every observable, by ``observables/KIND/BIN/NAME/STATISTIC``.

    The last row is the mean of all Kolmogorov-Smirnov distances. Real images are left out at random
    so that the classes of direction have the shares of the generated ones.
    """
    rows = []
    for kind, ends in edges.items():
        for k in range(len(ends) - 1):
            sets = [*_of_bin(pair, kind, k, edges, seed), *_of_bin(floor, kind, k, edges, seed)]
            for name, observable in OBSERVABLES.items():
                columns = [images.images.table[name] for images in sets]
                values = [column[np.isfinite(column)] for column in columns]
                where = f"{kind}s from {ends[k]:.0f} to {ends[k + 1]:.0f} MeV/c"
                path = f"observables/{kind}/{k + 1}/{name}"
                meaning = f"{observable.meaning}, of {where}"
                rows += _rows(path, meaning, values, permutations=permutations, seed=seed)
    rows = [replace(row, set=pair.generated.name) for row in rows]
    return rows + _mean(rows, pair.generated.name)


def _rows(
    path: str, meaning: str, values: list[np.ndarray], *, permutations: int, seed: int
) -> list[Result]:
    real, generated, *floors = values
    count = min(map(len, (real, generated)))
    if count < FEWEST:
        note = f"defined in {len(real)} and {len(generated)} images, {FEWEST} are needed"
        return [
            Result(f"{path}/{name}", np.nan, note=note, n=count, status="too few images")
            for name in _TEXTS
        ]
    tested = line_tests(real, generated, seed=seed, permutations=permutations, halves=_HALVES)
    chance: tuple[Tested | None, ...] = (None, None)
    if min(map(len, floors)) >= FEWEST:
        chance = line_tests(*floors, seed=seed, permutations=1, halves=2)
    return [
        Result(
            f"{path}/{name}",
            test.value,
            test.stderr,
            None if by_chance is None else by_chance.value,
            test.p,
            n=count,
            definition=f"{meaning}; {text}",
        )
        for (name, text), test, by_chance in zip(_TEXTS.items(), tested, chance, strict=True)
    ]


def _mean(rows: list[Result], name: str) -> list[Result]:
    """Return the mean distance as a row; the observables of a bin vary together, bins do not."""
    known = [row for row in rows if row.metric.endswith("/ks") and row.status == "ok"]
    if not known:
        return []
    errors: dict[str, list[float]] = {}
    for row in known:
        errors.setdefault(row.metric.rsplit("/", 2)[0], []).append(row.stderr)
    floors = [row.floor for row in known if row.floor is not None]
    sums = np.array([sum(of) for of in errors.values()])
    return [
        Result(
            "observables/all/ks",
            float(np.mean([row.value for row in known])),
            float(np.sqrt((sums**2).sum()) / len(known)),
            float(np.mean(floors)) if floors else None,
            n=min(row.n for row in known),
            set=name,
        )
    ]


def _of_bin(
    pair: Compared, kind: str, place: int, edges: dict[str, np.ndarray], seed: int
) -> tuple[ConditionedSet, ConditionedSet]:
    """Return both sets of a bin, of the real one as many as its weights allow."""
    real, generated = (
        (images.particle == kind) & (bin_of(images, edges) == place)
        for images in (pair.real, pair.generated)
    )
    weight = pair.real_weights[0, real]
    chance = np.random.default_rng([seed, 8]).uniform(size=len(weight))
    # Equal weights are kept to the last image.
    rows = np.flatnonzero(real)[chance < weight / max(weight.max(initial=0.0), 1e-300)]
    return pair.real.take(rows), pair.generated.take(generated)
