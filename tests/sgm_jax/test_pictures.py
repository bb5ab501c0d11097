"""Pictures at the end of a training: one grey scale for both sets, and every loss once."""

import json

import numpy as np
from PIL import Image

from sgm_jax import pictures


def test_equal_charges_have_equal_greys_in_both_sets(tmp_path):
    path = tmp_path / "sets.png"
    real, drawn = np.full((4, 8, 8), 50.0), np.full((4, 8, 8, 1), 200, np.uint8)
    pictures.side_by_side(path, real, drawn, step=3)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    middle = pixels[pixels.shape[0] // 2 + 40]
    left, right = middle[: len(middle) * 2 // 5], middle[len(middle) // 2 : len(middle) * 4 // 5]
    # A quarter of the largest charge is half as dark, for the root is shown.
    assert abs(np.median(left) - 127) <= 3
    assert np.median(right) <= 3


def test_a_picture_knows_its_step(tmp_path):
    path = tmp_path / "loss.png"
    assert not pictures.shows(path, 5)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    pictures.loss_plot(path, tmp_path / "metrics.jsonl", step=5)
    assert pictures.shows(path, 5)
    assert not pictures.shows(path, 6)


def test_a_step_made_twice_counts_once_and_a_torn_line_not_at_all(tmp_path):
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "eval_loss": 5.0}]
    lines += [{"step": 2, "loss": 2.0}, {"step": 3, "loss": 1.0}]
    text = "\n".join(map(json.dumps, lines)) + '\n{"step": 4, "lo'
    (tmp_path / "metrics.jsonl").write_text(text)
    losses = pictures.series(tmp_path / "metrics.jsonl", "loss")
    np.testing.assert_array_equal(losses, [[1, 3], [2, 2], [3, 1]])
    np.testing.assert_array_equal(
        pictures.series(tmp_path / "metrics.jsonl", "eval_loss"), [[2, 5]]
    )
