"""Sets are opened together: one scale, one cut. What differs is refused, or said in the report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.conditional.alike import coverage
from evaluation.conditional.sets import (
    ConditionedSet,
    Shown,
    beyond_training,
    checked,
    what_is_needed,
)
from evaluation.images.alike import AUTO, common_threshold
from evaluation.images.sets import ImageSet, check_alike, open_set
from evaluation.of_run import SAMPLES
from sgm_jax.data.condition import KINDS

REAL = "real"


def common_units(
    sets: Mapping[str, Shown], typed: Mapping[str, float | None]
) -> tuple[dict[str, float | None], list[str]]:
    """Return the energy of a grey level and the size of a pixel, equal in all sets, and doubts."""
    units, warnings = {}, []
    for unit, what in (
        ("mev_per_level", "the scale of charge (MeV a grey level)"),
        ("pixel_mm", "the size of a pixel (mm)"),
    ):
        known = {name: getattr(shown, unit) for name, shown in sets.items()}
        unknown = [name for name, value in known.items() if value is None]
        values = {name: value for name, value in known.items() if value is not None}
        if typed[unit] is not None:
            values["--" + unit] = typed[unit]
        if values and not np.allclose(list(values.values()), next(iter(values.values()))):
            each = ", ".join(f"{name} {value:g}" for name, value in values.items())
            raise ValueError(
                f"{what} differs: {each}. Nothing is rescaled: simulate, train and draw on one"
            )
        units[unit] = next(iter(values.values()), None)
        if typed[unit] is None and unknown:
            assumed = "equal in all sets" if values else "equal in all sets and not known at all"
            warnings.append(
                f"No recipe says {what} of {', '.join(unknown)}; it is taken to be {assumed}. "
                f"--{unit}= says it."
            )
    return units, warnings


def open_alike(
    shown_sets: Mapping[str, Shown],
    units: Mapping[str, float | None],
    *,
    threshold: int | str,
    limit: int | None,
    seed: int,
    needs_momentum: bool = True,
) -> tuple[list[ConditionedSet], list[str]]:
    """Return the sets, the real one first, cut at one threshold, and what is to be said of it.

    Without ``needs_momentum`` it is enough to know the particle of each image.
    """
    opened = {
        name: open_set(_path(shown.images), name, limit=limit, seed=seed, surveyed=name == REAL)
        for name, shown in shown_sets.items()
    }
    shown_sets = {
        name: checked(shown, name, len(opened[name].source), needs_momentum=needs_momentum)
        for name, shown in shown_sets.items()
    }
    warnings: list[str] = []
    if threshold == AUTO:
        first, *others = opened.values()
        threshold, text = common_threshold(first, others)
        warnings += [text] if text else []
    ranges = _common_ranges(shown_sets)
    sets = []
    for name, shown in shown_sets.items():
        source = opened[name]
        images: ImageSet = source.cut(threshold)
        beyond = beyond_training(shown, ranges if name == REAL else shown.trained)
        rows = source.rows
        asked = shown.particle[rows] != ""
        if not asked.all():
            warnings.append(
                f"{name}: {int((~asked).sum())} of {len(rows)} images are not known to show "
                f"{what_is_needed(needs_momentum)}; they are left out."
            )
        event = np.asarray(shown.event)
        conditioned = ConditionedSet(
            images,
            shown.particle[rows],
            shown.momentum[rows],
            event[rows],
            beyond[rows],
            level=units["mev_per_level"] or 1.0,
            pixel=(units["pixel_mm"] or 10.0) / 10.0,
            guidance=shown.guidance,
        )
        sets.append(conditioned.take(asked))
    check_alike([source.images for source in sets])
    return sets, warnings


def _path(images: str | Path | np.ndarray) -> str | Path | np.ndarray:
    if isinstance(images, np.ndarray):
        return images
    path = Path(images).expanduser()
    return path / SAMPLES if (path / SAMPLES).is_file() else images


def _common_ranges(sets: Mapping[str, Shown]) -> dict[str, tuple[float, float]]:
    """Return for each kind the momenta that all generators were trained with."""
    ranges: dict[str, tuple[float, float]] = {}
    for shown in sets.values():
        for kind, (low, high) in shown.trained.items():
            least, largest = ranges.get(kind, (low, high))
            ranges[kind] = max(least, low), min(largest, high)
    return ranges


def common_kinds(sets: list[ConditionedSet]) -> list[str]:
    """Return the kinds that were asked of some set and that the real one has."""
    asked = set().union(*(np.unique(images.particle) for images in sets[1:]))
    there = set(np.unique(sets[0].particle)) & asked
    if not there:
        raise ValueError(
            f"{REAL} shows {_listed(sets[0].particle)}, and asked for were {', '.join(asked)}: no "
            "kind of particle is in both"
        )
    return [*(k for k in KINDS if k in there), *sorted(there - set(KINDS))]


def kinds_doubts(sets: list[ConditionedSet], kinds: list[str]) -> list[str]:
    """Say which kinds of particle are in one set and not in another."""
    texts = []
    for images in sets:
        missing = [kind for kind in kinds if not (images.particle == kind).any()]
        if missing:
            texts.append(f"{images.name} has no {' and no '.join(missing)}.")
        alone = sorted(set(np.unique(images.particle)) - set(kinds))
        if alone:
            texts.append(f"{images.name}: {', '.join(alone)} is in no other set and left out.")
    return texts


def coverage_doubts(
    real: ConditionedSet, generated: ConditionedSet, edges: dict[str, np.ndarray]
) -> list[str]:
    """Say what of two sets is not compared because the other has nothing like it."""
    if _same(real, generated):
        return []
    weighted = (
        "Simulated images are weighted so that as much of the momentum lies in the plane of the "
        "image"
    )
    if set(_rows(generated)) <= set(_rows(real)):
        texts = [f"{generated.name} shows a part of what the simulated images show. {weighted}."]
    else:
        texts = [
            f"{generated.name} was asked for other particles and momenta than the simulated images "
            f"show. Kinds and bins of momentum are compared one by one. {weighted}; within a bin "
            "momenta may differ. --mode=sample --conditions=LABELS.h5::test asks for the same."
        ]
    alone = coverage(real, generated, edges)
    for share, (images, other) in zip(alone, ((real, generated), (generated, real)), strict=True):
        if share:
            texts.append(
                f"{100 * share:.3g} % of the images of {images.name} are not compared: "
                f"{other.name} has none of their kind, momentum and share of it in the plane."
            )
    return texts


def _same(real: ConditionedSet, generated: ConditionedSet) -> bool:
    """Tell whether two sets show the same, in any order."""
    return sorted(_rows(real)) == sorted(_rows(generated))


def _rows(images: ConditionedSet) -> list[tuple]:
    momentum = images.momentum.astype(np.float32)
    return list(zip(images.particle.tolist(), *momentum.T.tolist(), strict=True))


def _listed(names: np.ndarray) -> str:
    return ", ".join(np.unique(names)) or "nothing"
