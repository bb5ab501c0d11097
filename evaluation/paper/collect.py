"""What the figures are drawn from: images of every checkpoint, their labels and their metrics.

Drawing, labels and metrics each keep what is done, so that the same call goes on after a stop. Real
images are measured and labelled once for all comparisons.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from evaluation import evaluate
from evaluation.images.segments import segmenter
from evaluation.images.sets import ImageSet, check_alike, load
from evaluation.metrics.budget import BUDGETS
from evaluation.metrics.compute import FAILURES
from evaluation.metrics.metric import Result, on_pixels
from evaluation.metrics.observables import measured
from evaluation.metrics.sinkhorn import sinkhorn
from evaluation.metrics.table import METRICS
from evaluation.paper.plan import Plan
from evaluation.report.report import Report
from evaluation.ssnet.weights import Weights
from sgm_jax.likelihood import measure
from sgm_jax.run.files import read_object
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts
from sgm_jax.sample import sample
from sgm_jax.samplers.solvers import SOLVERS

# Of every checkpoint: what the paper shows, and a classifier.
_OF_ALL = (
    "physics/track_length_px",
    "physics/track_width_px",
    "physics/charge",
    "ssnet/track_fraction",
    "mmd/paper",
    "w1",
    "fid/direct",
    "classifier/trees",
)
_FIX = "remove its folder and repeat the command"


@dataclass(eq=False)
class Material:
    """Everything that the page shows.

    Attributes:
        plan: its settings.
        config: of the run.
        weights: of SSNet.
        real: held-out real images.
        train: training images.
        drawn: the images of each checkpoint, by its step.
        study: the images of the reported checkpoint, by the network evaluations for each.
        every: the paper's metrics of all of these.
        whole: all other metrics of the reported checkpoint.
        bits: summaries of likelihoods, by the name of the real set.
        warnings: what failed.
    """

    plan: Plan
    config: ml_collections.ConfigDict
    weights: Weights
    real: ImageSet
    train: ImageSet
    drawn: dict[int, ImageSet] = field(default_factory=dict)
    study: dict[int, ImageSet] = field(default_factory=dict)
    every: Report | None = None
    whole: Report | None = None
    bits: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def reported(self) -> ImageSet:
        """Return the images of the checkpoint that all metrics are computed of."""
        return self.drawn[self.plan.report]

    @property
    def results(self) -> list[Result]:
        """Return all results; of rows that both reports have, those of the first."""
        rows = {(row.metric, row.set): row for row in self.whole.results}
        return list((rows | {(row.metric, row.set): row for row in self.every.results}).values())

    def report(self) -> Report:
        """Return all results of the reported checkpoint as one report, without figures."""
        results = [row for row in self.results if row.set == self.reported.name]
        return dataclasses.replace(self.whole, results=results, figures={}, tables={})

    def trying(self, what: str, work: Callable[[], Any]) -> Any:
        """Return what ``work`` returns; if it fails, keep a warning and return None."""
        try:
            return work()
        except FAILURES as error:
            self.warnings.append(f"{what} failed: {type(error).__name__}: {error}")
            LOGGER.warning("%s", self.warnings[-1])
            return None


def open_sets(
    plan: Plan, config: ml_collections.ConfigDict, real: str, train: str
) -> tuple[ImageSet, ImageSet]:
    """Return the real images and the training images.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if they are no images, or not of the size that the run draws.
    """
    budget = BUDGETS[plan.budget]
    options = {"seed": plan.seed, "threshold": plan.threshold, "plane": plan.plane}
    options["scaling"] = config.data.scaling  # as the run was trained
    sets = (
        load(real, "real", limit=budget.real, **options),
        load(train, "train", limit=budget.train, **options),
    )
    check_alike(list(sets))
    size, drawn = sets[0].images.shape[1:], config.data.image_size
    if size != (drawn, drawn):
        raise ValueError(
            f"--real={real}: images of {size[0]} x {size[1]} pixels, but {plan.run} draws "
            f"{drawn} x {drawn}: give images of that size"
        )
    return sets


def collect(material: Material, sources: dict[str, str], parts: Parts) -> None:
    """Draw, label and measure everything.

    Args:
        material: with the real sets; it is filled.
        sources: of the real sets, by name, whose likelihood is measured.
        parts: keep the labels and the metrics.
    """
    plan = material.plan
    for step in plan.checkpoints:
        material.drawn[step] = _draw(material, step, f"step_{step}", plan.sizes.checkpoint)
    for count in plan.evaluations:
        images = material.trying(
            f"Drawing with {count} evaluations", lambda count=count: _draw_with(material, count)
        )
        if images is not None:
            recipe = read_object(plan.out / "samples" / images.name / "recipe.json", fix=_FIX)
            material.study[recipe["network_evaluations"]] = images
    label = segmenter(material.weights, features=True)

    def ready(images: ImageSet) -> ImageSet:
        images = measured(images, parts)
        return images.labelled(label(images.images, images.name, parts))

    material.real, material.train = ready(material.real), ready(material.train)
    material.drawn = {step: ready(images) for step, images in material.drawn.items()}
    material.study = {count: ready(images) for count, images in material.study.items()}
    _compare(material, parts)
    for name, source in sources.items():
        summary = material.trying(
            f"The likelihood of {name} images",
            lambda name=name, source=source: _likelihood(material, name, source),
        )
        if summary is not None:
            material.bits[name] = summary


def _draw(
    material: Material,
    step: int,
    name: str,
    count: int,
    config: ml_collections.ConfigDict | None = None,
) -> ImageSet:
    """Return images of a checkpoint, drawn into a folder of their own."""
    plan = material.plan
    folder = plan.out / "samples" / name
    sample(config or material.config, plan.run, num_samples=count, checkpoint=step, out=folder)
    reading = {"seed": plan.seed, "threshold": plan.threshold, "plane": plan.plane}
    images = load(folder / "samples.npz", name, limit=None, **reading)
    return images.take(np.arange(count))  # an earlier call may have drawn more


def _draw_with(material: Material, evaluations: int) -> ImageSet:
    """Return images of the reported checkpoint, drawn with that many evaluations or one less.

    Raises:
        ValueError: if the sampler does not choose its number of steps.
    """
    config = material.config.copy_and_resolve_references()
    method = config.sampling.get("method")
    if method not in SOLVERS:
        raise ValueError(f"--config.sampling.method {method!r} has no number of steps to choose")
    # Heun's method takes two in each step but the last.
    config.sampling.num_steps = (evaluations + 1) // 2 if method == "heun" else evaluations
    name = f"evaluations_{evaluations}"
    return _draw(material, material.plan.report, name, material.plan.sizes.study, config)


def _compare(material: Material, parts: Parts) -> None:
    """Compute the paper's metrics of all sets, and all others of the reported one."""
    plan = material.plan
    # Of its four eps, the one that the paper names; the others take minutes a set.
    floor_options = {"stderr": False}
    paper_sinkhorn = dataclasses.replace(
        METRICS["sinkhorn"], compute=on_pixels(sinkhorn, eps=(1,), floor_options=floor_options)
    )
    generated = [*material.drawn.values(), *material.study.values()]

    def report(name: str, sets: list[ImageSet], metrics: list) -> Report:
        return evaluate(
            material.real,
            {images.name: images for images in sets},
            train=material.train,
            ssnet=False,  # the labels are there
            metrics=metrics,
            budget=plan.budget,
            seed=plan.seed,
            work=parts.path(name),
        )

    of_all = [METRICS[name] for name in _OF_ALL]
    material.every = report("checkpoints", generated, [*of_all, paper_sinkhorn])
    others = [m for name, m in METRICS.items() if name not in _OF_ALL and not m.joint]
    material.whole = report("reported", [material.reported], others)
    material.warnings += material.every.warnings
    for row in material.results:
        if row.status == "failed":
            material.warnings.append(f"{row.metric} of {row.set} failed: {row.note}")


def _likelihood(material: Material, name: str, source: str) -> dict[str, Any]:
    """Return the summary of the bits per dimension of the first images of a real set."""
    plan = material.plan
    config = material.config.copy_and_resolve_references()
    config.data.train_path = config.data.test_path = source
    config.eval.num_images = plan.sizes.likelihood
    # Images differ far more than the probes of one of them, and each probe takes as long again.
    config.eval.num_probes = 1
    folder = Path(plan.out) / "likelihood" / name
    return measure(config, plan.run, checkpoint=plan.report, out=folder)
