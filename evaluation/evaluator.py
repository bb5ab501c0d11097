"""Make a report: read the sets, measure them, compare them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.figures.figure import Comparison
from evaluation.figures.likelihoods import likelihood_figures, read_bits
from evaluation.figures.table import figures
from evaluation.images import distort
from evaluation.images.alike import AUTO, common_threshold
from evaluation.images.segments import Table, segmenter
from evaluation.images.sets import (
    ImageSet,
    Opened,
    Source,
    brightness,
    check_alike,
    load,
    open_set,
    pair,
)
from evaluation.metrics.budget import BUDGETS, Budget
from evaluation.metrics.compute import compute
from evaluation.metrics.metric import Metric
from evaluation.metrics.observables import measured
from evaluation.metrics.table import choose
from evaluation.report.folder import open_work
from evaluation.report.report import Report, versions, warnings_of
from evaluation.ssnet.weights import PACKAGED, Weights, open_weights
from sgm_jax.run.parts import Parts
from sgm_jax.run.workdir import provenance

_FIX = "repeat that command, add --overwrite or choose another --out"


def evaluate(
    real: Source,
    generated: Source | Mapping[str, Source],
    *,
    train: Source | None = None,
    labels: Mapping[str, str | Path | np.ndarray] | None = None,
    likelihoods: Mapping[str, str | Path] | None = None,
    ssnet: str | Path | bool = True,
    metrics: str | Iterable[str | Metric] | None = None,
    budget: str | Budget = "small",
    threshold: int | Literal["auto"] = AUTO,
    scaling: str = "none",
    generated_scaling: str = "none",
    plane: int | None = None,
    ceiling: bool = False,
    seed: int = 0,
    work: str | Path | None = None,
    overwrite: bool = False,
) -> Report:
    """Compare generated images with real ones.

    Images are ``[N, H, W]`` or ``[N, H, W, 1]`` on the scale 0..255, or a path of anything that
    `sgm_jax.data` reads: a folder of PNG files, .npy, .npz or HDF5.

    Args:
        real: held-out real images.
        generated: images of one generator, or of several by their names.
        train: training images, which give the floor and in which memorised images are searched.
            Without them the floor is one half of the real images against the other.
        labels: by name of the set (``real``, ``train``, ``generated`` or the names in it), for sets
            that SSNet then skips: a ``labels.h5`` of ``evaluation.label``, or bool ``[N]``, true
            for tracks.
        likelihoods: by name of the set, a ``likelihood.npz`` of ``--mode=likelihood``: how probable
            a generator finds its images. The report shows their distributions.
        ssnet: weights of SSNet. True takes the package's; False leaves out what needs SSNet.
        metrics: which ones, by name or first part: ``"physics,looking"`` or a list, which may hold
            a `Metric` of your own. All by default.
        budget: numbers of images and re-drawings: ``"small"``, ``"paper"``, ``"full"`` or your own.
        threshold: pixels at most this become 0 in all sets. With ``"auto"`` it is 4 if generated
            or training images were cut there, as ``--mode=sample`` does, and the real ones were
            not, else 0; the report says so. Sets that are loaded already are left as they are.
        scaling: of the real and the training images to 0..255, as ``config.data.scaling`` in
            training: ``"none"``, ``"per_image"``, ``"quantile"`` or ``"fixed:FULL"``.
        generated_scaling: the same of the generated images.
        plane: of images with three planes, 0 to 2.
        ceiling: add a deliberately bad set, training images with 0.9 of their charge.
        seed: of everything random.
        work: folder that keeps what is done, so that the same call goes on after it was stopped.
        overwrite: replace what is kept in ``work`` if it belongs to other settings.

    Returns:
        The results, and what draws the figures.

    Raises:
        FileNotFoundError: a set, labels or weights are not there.
        ValueError: sets that cannot be compared, unknown metrics, or other settings in ``work``.
    """
    chosen = choose(metrics)
    if isinstance(budget, str) and budget not in BUDGETS:
        raise ValueError(f"budget {budget!r} is unknown; choose from {', '.join(BUDGETS)}")
    sizes = BUDGETS[budget] if isinstance(budget, str) else budget
    generated = generated if isinstance(generated, Mapping) else {"generated": generated}
    sources = {"real": real} | ({} if train is None else {"train": train})
    roles = {role: role for role in sources}
    for place, name in enumerate(generated, start=1):
        roles["generated" if place == 1 else f"generated_{place}"] = name
    _check_names([*sources, *generated], labels or {}, "labels")
    _check_names([*sources, *generated], likelihoods or {}, "likelihoods")
    bits = {name: read_bits(path) for name, path in (likelihoods or {}).items()}
    weights = _open_weights(ssnet, chosen, unlabelled=set(roles.values()) - set(labels or {}))
    opened = {}
    for role, name in roles.items():
        source = (sources | generated)[name]
        limit = {"real": sizes.real, "train": sizes.train}.get(role, sizes.generated)
        is_real = role in ("real", "train")
        scale = scaling if is_real else generated_scaling
        options = {"limit": limit, "seed": seed, "scaling": scale, "plane": plane}
        if isinstance(source, ImageSet):
            opened[role] = load(source, name, **options)
        else:
            # What a generator draws is judged by the metrics, not by the survey of training.
            surveyed = is_real or scale != "none"
            opened[role] = open_set(source, name, surveyed=surveyed, **options)
    images, note = _cut_alike(opened, threshold, labels or {})
    if ceiling:
        images["ceiling"] = _ceiling(images.get("train"))
    check_alike(list(images.values()))
    recipe = _recipe(images, weights, sizes, seed)
    with open_work(work, recipe, overwrite=overwrite, fix=_FIX) as parts:
        report = _report(images, chosen, weights, parts, budget=budget, sizes=sizes, seed=seed)
    return replace(
        report,
        warnings=[*note, *report.warnings],
        figures=report.figures | likelihood_figures(bits),
    )


def _report(
    sets: dict[str, ImageSet],
    metrics: list[Metric],
    weights: Weights | None,
    parts: Parts,
    *,
    budget: str | Budget,
    sizes: Budget,
    seed: int,
) -> Report:
    """Measure and compare the sets (by role) and collect everything in a report."""
    sets = {role: measured(images, parts) for role, images in sets.items()}
    if weights is not None:
        needed = any(metric.needs == "features" for metric in metrics)
        segment = segmenter(weights, features=needed)
        sets = {
            role: images
            if images.segments is not None
            else images.labelled(segment(images.images, images.name, parts))
            for role, images in sets.items()
        }
    real, train = sets["real"], sets.get("train")
    generated = [images for role, images in sets.items() if role not in ("real", "train")]
    pairs = [pair(real, images, train, seed=seed) for images in generated]
    results = compute(pairs, metrics, sizes, seed=seed, parts=parts)
    facts = {images.name: images.facts for images in sets.values()}
    origin = provenance()
    origin["versions"] |= versions()
    counts = " and ".join(str(len(images)) for images in pairs[0].floor)
    return Report(
        results=results,
        sets=facts,
        roles={role: images.name for role, images in sets.items()},
        budget=budget if isinstance(budget, str) else "own",
        sizes=sizes,
        seed=seed,
        floor=f"{pairs[0].floor_from} ({counts} images)",
        warnings=warnings_of(facts, real.name),
        provenance=origin,
        figures=figures(Comparison(pairs, results, sizes, seed)),
        tables=_tables(sets.values()),
    )


def _cut_alike(
    opened: dict[str, Opened | ImageSet],
    threshold: int | str,
    labels: Mapping[str, str | Path | np.ndarray],
) -> tuple[dict[str, ImageSet], list[str]]:
    """Return the sets with their labels, cut at one threshold, and what is to be said of it."""
    loaded = [source.name for source in opened.values() if isinstance(source, ImageSet)]
    labelled = [name for name in loaded if name in labels]
    if labelled or (loaded and threshold not in (0, AUTO)):
        raise ValueError(
            f"{', '.join(labelled or loaded)}: apply threshold and labels when you load an ImageSet"
        )
    text = ""
    if threshold == AUTO:
        real, *others = opened.values()
        threshold, text = (0, "") if loaded else common_threshold(real, others)
    sets = {
        role: source
        if isinstance(source, ImageSet)
        else source.cut(threshold, labels.get(source.name))
        for role, source in opened.items()
    }
    return sets, [text] if text else []


def _check_names(names: list[str], given: Mapping[str, object], what: str) -> None:
    """Refuse names that cannot be file names, and labels or the like of unknown sets."""
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"the name {name!r} must consist of letters, digits, '_', '-' and '.'")
    if len(set(names)) < len(names):
        raise ValueError(f"two sets have one name ({', '.join(names)}); use --name and --name_2")
    unknown = given.keys() - set(names)
    if unknown:
        raise ValueError(
            f"{what} for {', '.join(sorted(unknown))}, but the sets are {', '.join(names)}"
        )


def _open_weights(
    ssnet: str | Path | bool, metrics: list[Metric], unlabelled: set[str]
) -> Weights | None:
    """Return SSNet if it is needed. Without packaged weights, its rows say what to do."""
    idle = not unlabelled or not any(metric.needs for metric in metrics)
    if ssnet is False or idle or (ssnet is True and not PACKAGED.is_file()):
        return None
    return open_weights(None if ssnet is True else Path(ssnet))


def _ceiling(train: ImageSet | None) -> ImageSet:
    """Return spoiled training images. Spoiled real images would be compared with themselves."""
    if train is None:
        raise ValueError("--ceiling spoils training images: give --train as well")
    factor = 0.9
    worse = distort.scale_charge(train.images, factor)
    facts = train.facts | brightness(worse)
    facts |= {"source": f"{factor} x {train.facts['source']}", "warnings": []}
    return ImageSet("ceiling", worse, {}, train.is_track, facts)


def _recipe(
    sets: dict[str, ImageSet], weights: Weights | None, budget: Budget, seed: int
) -> dict[str, object]:
    """Return everything that the kept results depend on."""
    facts = [images.facts for images in sets.values()]
    return {
        "sets": {
            role: [image_set.name, image_set.facts["hash_of_used"]]
            for role, image_set in sets.items()
        },
        "labels": [[fact["track_images"], fact["ssnet"]] for fact in facts],
        "ssnet": None if weights is None else weights.sha256,
        "budget": asdict(budget),
        "seed": seed,
    }


def _tables(sets: Iterable[ImageSet]) -> dict[str, Table]:
    """Return the measurements of every image, by the names of their files."""
    tables = {}
    for images in sets:
        tables[f"observables_{images.name}"] = images.table
        if images.segments is not None:
            tables[f"ssnet_{images.name}"] = images.segments.table
    return tables
