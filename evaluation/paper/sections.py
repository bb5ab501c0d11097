"""The sections of the page: what the paper shows there, and our figures and tables beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from evaluation.figures.curves import Point, draw_curves
from evaluation.figures.distributions import draw_observable, draw_scores
from evaluation.figures.figure import Figures
from evaluation.figures.images import draw_grid
from evaluation.images.sets import ImageSet
from evaluation.metrics.observables import OBSERVABLES
from evaluation.metrics.ssnet import COUNTS
from evaluation.paper.collect import Material
from evaluation.paper.figures import draw_diffusion, draw_losses, draw_pixel_labels
from sgm_jax.trained import Trained

_STEP = "training step"
# Where a chi2 is found: by the name of its observable, of which class.
_CHI2 = {"track_length_px": "tracks", "track_width_px": "tracks", "charge": "showers"}
_SHORT = {"track_length_px": "length", "track_width_px": "width", "charge": "charge"}
_TWO_SAMPLE = {
    f"physics/{kind}/{name}/chi2_two_sample": f"two-sample chi2, {_SHORT[name]}"
    for name, kind in _CHI2.items()
}
_TRANSPORT = {
    "mmd/paper": "MMD²",
    "sinkhorn/p1/eps1": "Sinkhorn divergence, eps 1",
    "w1/paper": "W1",
}


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        place: which figures and tables of the paper; empty if it has none of this.
        title: of the section.
        paper: what the paper shows there, with its published numbers.
        figures: what draws ours, by the names of their files.
        rows: of our table; a pair is a value and its error.
        link: a page beside this one, and its text.
    """

    place: str
    title: str
    paper: str
    figures: Figures = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    link: tuple[str, str] | None = None


def sections(material: Material, trained: Trained) -> list[Section]:
    """Return all sections, in the order of the paper; what it lacks comes last."""
    return [
        *_of_images(material, trained),
        *_of_quality(material),
        *_of_observables(material),
        *_beyond(material),
    ]


def _of_images(material: Material, trained: Trained) -> list[Section]:
    real, plan = material.real, material.plan
    # A track and a shower, where there are both.
    rows = [np.flatnonzero(real.is_track == kind)[:1] for kind in (True, False)]
    pair = real.images[np.concatenate(rows)]
    grids = {f"fig03_grid_{s.name}": partial(draw_grid, s, seed=plan.seed) for s in _sets(material)}
    return [
        Section(
            "Fig. 1",
            "From an image to noise and back",
            "an image on its way to noise, and noise on its way to an image, through the VP-SDE in "
            "1000 steps.",
            {"fig01_diffusion": partial(draw_diffusion, trained, pair, seed=plan.seed)},
        ),
        Section(
            "Fig. 2",
            "Losses",
            "the losses of training and validation images against the training, where one epoch is "
            "400 steps of 128 images.",
            {"fig02_losses": partial(draw_losses, plan.run)},
        ),
        Section(
            "Fig. 3, 16 and 17",
            "Images of each checkpoint",
            "70 random images of a set, tracks before showers, each on its own grey scale.",
            grids,
        ),
        Section(
            "Fig. 4",
            "Turing test",
            "eleven people and 100 images, half of them generated: guessing gives 50 ± 5 %, and "
            "one person reached 64 %.",
            link=("turing.html", "take the test"),
        ),
    ]


def _of_quality(material: Material) -> list[Section]:
    real, train = material.real, material.train
    some = [real, train, *_some(material)]
    votes = {
        f"fig07_{name}": partial(
            draw_observable, COUNTS[name], {s.name: _column(s, name) for s in some}
        )
        for name in ("track_pixels", "shower_pixels")
    }
    scores = {f"fig07_score_{k}": partial(draw_scores, k, some) for k in ("track", "shower")}
    return [
        Section(
            "Fig. 5",
            "SSNet's labels of pixels",
            "images whose pixels are coloured by SSNet's class.",
            {
                "fig05_labels": partial(
                    draw_pixel_labels, [real, material.reported], material.weights
                )
            },
        ),
        Section(
            "Fig. 6",
            "Distances of the sets of images",
            "MMD, on an axis from 8e-5 to 0.1, with its minimum at epoch 50; Sinkhorn divergence "
            "and W1, on axes from 1075 to 1400 and nearly all floor, with theirs at epoch 20.",
            {"fig06_distances": partial(_curves, material, _TRANSPORT)},
            _table(material, _TRANSPORT),
        ),
        Section(
            "Fig. 7 and Table 2",
            "SSNet's labels of images",
            "certainties and numbers of pixels of each class; tracks: 69.2 % of the training "
            "images, 69.0 % of the validation images, and 46.3, 68.4 and 67.9 % at epochs 10, 50 "
            "and 150.",
            votes | scores,
            [_share(s) for s in (train, *_sets(material))],
        ),
        Section(
            "Fig. 8 and Table 4",
            "SSNet-FID",
            "an FID against 10,000 validation images of 121.4, 18.3, 10.2, 9.2, 9.1, 8.9, 8.9, "
            "8.7 and 8.8 at epochs 10, 20, 30, 40, 50, 60, 100, 150 and 300; the floor was not "
            "published.",
            {"fig08_fid": partial(_curves, material, {"fid/paper": "SSNet-FID"})},
            _table(material, {"fid/paper": "SSNet-FID"}),
        ),
    ]


def _of_observables(material: Material) -> list[Section]:
    chi2 = {
        f"physics/{kind}/{name}/chi2_paper": f"paper's chi2, {_SHORT[name]}"
        for name, kind in _CHI2.items()
    }
    some = [material.real, material.train, *_some(material)]
    drawn = {
        f"fig{number}_{name}": partial(
            draw_observable,
            OBSERVABLES[name],
            {s.name: s.table[name][s.is_track == (kind == "tracks")] for s in some},
        )
        for number, (name, kind) in zip(("09", "10", "12"), _CHI2.items(), strict=True)
    }
    return [
        Section(
            "Fig. 9, 10, 12 and Table 1",
            "Track length and width, shower charge",
            "total chi2 at epochs 10, 50 and 150 against 10,000 validation images: length 269624, "
            "113 and 128; width 77244, 399 and 166; charge 1405, 63 and 70. About 47, 30 and 47 "
            "bins: equal sets would give about 1.2 a bin.",
            drawn | {"table1_chi2": partial(_curves, material, _TWO_SAMPLE)},
            _table(material, chi2 | _TWO_SAMPLE),
        ),
        Section(
            "Fig. 13 to 15",
            "Nearest neighbours",
            "the five training and the five generated images nearest to a generated one, by L2 and "
            "by EMD.",
            _drawn_by(material, "neighbours"),
        ),
    ]


def _beyond(material: Material) -> list[Section]:
    """Return what the paper lacks."""
    auc = {"classifier/trees": "AUC of boosted trees"}
    quality = {"fid/paper": "SSNet-FID"} | _TWO_SAMPLE | auc
    study = material.study
    effort = {
        "evaluations": partial(_curves, material, quality, study, "network evaluations an image")
    }
    bits = [
        {
            "images": f"{name} images",
            "bits per dimension": (summary["bits_per_dim"], summary["stderr"]),
            "number": summary["num_images"],
            "evaluations": summary["network_evaluations"],
            "kind": summary["kind"],
        }
        for name, summary in material.bits.items()
    ]
    copied = [
        {
            "metric": row.metric,
            "value": (row.value, row.stderr),
            "floor": row.floor,
            "p": row.p,
        }
        for row in material.results
        if row.metric.startswith("memorisation/") and row.status == "ok"
    ]
    return [
        Section(
            "",
            "Can a classifier tell them apart?",
            "no classifier. An AUC of 0.5 is chance.",
            {"classifier": partial(_curves, material, auc)}
            | _drawn_by(material, "classifier")
            | _drawn_by(material, "classifier_sizes"),
            _table(material, auc),
        ),
        Section(
            "",
            "Likelihood",
            "no likelihood. If training images were likelier than held-out ones, the network would "
            "know them by heart.",
            rows=bits,
        ),
        Section(
            "",
            "Are training images repeated?",
            "the neighbours above. A ratio of 1 is that of real images.",
            _drawn_by(material, "train_distances"),
            copied,
        ),
        Section(
            "",
            "Quality against network evaluations",
            "only its 1000 evaluations an image.",
            effort if study else {},
            _table(material, quality, study, "evaluations"),
        ),
    ]


def _sets(material: Material) -> list[ImageSet]:
    """Return the real images and those of all checkpoints."""
    return [material.real, *material.drawn.values()]


def _some(material: Material) -> list[ImageSet]:
    """Return the images of the first, the middle and the last checkpoint."""
    drawn = list(material.drawn.values())
    return [drawn[place] for place in sorted({0, len(drawn) // 2, len(drawn) - 1})]


def _column(images: ImageSet, name: str) -> np.ndarray:
    return images.segments.table[name].astype(np.float64)


def _share(images: ImageSet) -> dict[str, Any]:
    """Return a row of Table 2, with its binomial error."""
    tracks, count = images.is_track.mean(), len(images)
    error = 100 * math.sqrt(tracks * (1 - tracks) / count)
    shares = {"tracks, %": 100 * float(tracks), "showers, %": 100 * float(1 - tracks)}
    return {"set": images.name, "images": count} | {k: (v, error) for k, v in shares.items()}


def _points(material: Material, metric: str, drawn: Mapping[int, ImageSet]) -> list[Point]:
    """Return a metric of some sets, where it has a value."""
    rows = {row.set: row for row in material.results if row.metric == metric}
    measured = [(x, rows[s.name]) for x, s in drawn.items() if s.name in rows]
    return [Point(x, row.value, row.stderr, row.floor) for x, row in measured if row.status == "ok"]


def _curves(
    material: Material,
    metrics: Mapping[str, str],
    drawn: Mapping[int, ImageSet] | None = None,
    label: str = _STEP,
) -> Any:
    """Draw metrics, which have labels, against the step or against ``drawn``'s number."""
    drawn = material.drawn if drawn is None else drawn
    panels = {text: _points(material, metric, drawn) for metric, text in metrics.items()}
    return draw_curves(panels, label)


def _table(
    material: Material,
    metrics: Mapping[str, str],
    drawn: Mapping[int, ImageSet] | None = None,
    label: str = _STEP,
) -> list[dict[str, Any]]:
    """Return a row for each set: the metrics with their errors, and their floors."""
    drawn = material.drawn if drawn is None else drawn
    rows: dict[int, dict[str, Any]] = {x: {label: x, "images": len(drawn[x])} for x in drawn}
    for metric, text in metrics.items():
        points = {point.x: point for point in _points(material, metric, drawn)}
        for x, row in rows.items():
            point = points.get(x)
            row[text] = None if point is None else (point.value, point.stderr)
            row[f"{text}: floor"] = None if point is None else point.floor
    return list(rows.values())


def _drawn_by(material: Material, kind: str) -> Figures:
    """Return a figure that the reports draw of the reported checkpoint."""
    name = f"{kind}_{material.reported.name}"
    figures = material.whole.figures | material.every.figures
    return {name: figures[name]} if name in figures else {}
