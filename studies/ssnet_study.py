"""Measure SSNet on held-out truth, on larger events and on foreign images, and write it down."""

from pathlib import Path

import numpy as np

from evaluation.ssnet.scores import score_function
from evaluation.ssnet.weights import Weights
from sgm_jax.run.workdir import write_json
from sgm_jax.simulation.truth import fold_to_ssnet
from studies import ssnet_figures as figures
from studies.ssnet_causes import explain, worst, wrong_pixels
from studies.ssnet_foreign import Foreign, foreign_images, larger_images, majority_share
from studies.ssnet_numbers import (
    against_targets,
    calibration,
    quality,
    split_quality,
    truth_classes,
)
from studies.ssnet_report import render
from studies.ssnet_tally import ALL_PIXELS, LIT_PIXELS, Found, Labelled, Tally, tally

SHOWN = 24  # images with the wrong label
_DPI = 100


def study(
    data: Labelled,
    weights: Weights,
    out: Path,
    *,
    larger: dict[str, Labelled],
    foreign: Foreign | None,
) -> dict:
    """Measure, and write ``report.md``, ``numbers.json`` and pictures to ``out``.

    Args:
        data: held-out images with truth, of the size the network was trained on.
        weights: the network.
        out: folder.
        larger: sets of larger images, by name.
        foreign: images of another simulation.
    """
    out.mkdir(parents=True, exist_ok=True)
    score = score_function(weights.net, weights.variables)
    table, found = tally(data, score)
    numbers = held_out(data, table, found)
    numbers["weights_sha256"] = weights.sha256
    numbers["normalisation"] = weights.net.normalisation
    numbers["larger"] = {name: larger_images(part, score) for name, part in larger.items()}
    rows = worst(table, rule=ALL_PIXELS, count=SHOWN)
    pictures = {
        "confusion": figures.draw_confusion(table),
        "calibration": figures.draw_calibration(numbers["calibration"]),
        "failures": figures.draw_failures(data, table, found, rows, rule=ALL_PIXELS),
    }
    if foreign is not None:
        rows, wrong = foreign_images(foreign, score)
        first = np.flatnonzero(wrong)[:SHOWN]
        numbers["foreign"] = {"majority": majority_share(foreign), "agreement": rows}
        pictures["foreign_failures"] = figures.draw_foreign_failures(
            foreign.images_mev[first], foreign.is_track[first]
        )
    for name, picture in pictures.items():
        picture.savefig(out / f"{name}.png", dpi=_DPI)
    write_json(out / "numbers.json", numbers)
    (out / "report.md").write_text(render(numbers))
    return numbers


def held_out(data: Labelled, table: Tally, found: Found) -> dict:
    """Return all numbers of the held-out images."""
    overall = quality(table)
    pixels = data.codes[0].size
    return {
        "images": len(table),
        "events": len(np.unique(table.event)),
        "lit_pixels": int(table.lit.sum()),
        "image_shape": list(data.codes.shape[1:]),
        "overall": overall,
        "targets": against_targets(overall),
        "truth_classes": truth_classes(table),
        "borders": wrong_pixels(found.prediction, fold_to_ssnet(data.codes), table.event),
        "splits": split_quality(table),
        "calibration": calibration(table),
        "causes": {
            rule: {
                "failures": int(table.fails(rule).sum()),
                "rows": explain(table, rule=rule, image_pixels=pixels),
            }
            for rule in (ALL_PIXELS, LIT_PIXELS)
        },
    }
