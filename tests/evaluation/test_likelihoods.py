"""Likelihoods of images in a report."""

import numpy as np
import pytest

from evaluation import evaluate
from evaluation.figures.likelihoods import draw_likelihoods, read_bits


def test_a_report_shows_how_probable_both_sets_are(tmp_path):
    rng = np.random.default_rng(0)
    images = np.uint8(rng.integers(0, 256, (2, 40, 8, 8)))
    bits = {"real": rng.normal(0.2, 0.02, 300), "generated": rng.normal(0.25, 0.02, 200)}
    for name, values in bits.items():
        np.savez(tmp_path / f"{name}.npz", bits_per_dim=values, stderr=values, nfe=values)
    paths = {name: tmp_path / f"{name}.npz" for name in bits}
    options = {"metrics": "looking", "ssnet": False}
    report = evaluate(*images, likelihoods=paths, **options)
    report.figure("likelihoods")
    _, numbers = draw_likelihoods({name: read_bits(path) for name, path in paths.items()})
    assert numbers["counts_real"].sum() == 300 and numbers["counts_generated"].sum() == 200
    middle = (numbers["edges"][1:] + numbers["edges"][:-1]) / 2
    for name, values in bits.items():
        counts = numbers[f"counts_{name}"]
        np.testing.assert_allclose((counts * middle).sum() / counts.sum(), values.mean(), atol=3e-3)
    assert "likelihoods" not in evaluate(*images, **options).figures


def test_likelihoods_of_nobody_are_refused(tmp_path):
    images = np.uint8(np.random.default_rng(0).integers(0, 256, (2, 10, 8, 8)))
    np.savez(tmp_path / "a.npz", other=np.ones(3))
    with pytest.raises(ValueError, match="likelihoods for mine"):
        evaluate(*images, likelihoods={"mine": tmp_path / "a.npz"}, ssnet=False)
    with pytest.raises(ValueError, match="a.npz"):
        read_bits(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="b.npz"):
        read_bits(tmp_path / "b.npz")
