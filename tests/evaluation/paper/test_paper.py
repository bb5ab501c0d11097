"""The page of a run: complete, stopped and continued, of what is there only."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from evaluation.figures.curves import Point, draw_curves
from evaluation.metrics import compute
from evaluation.metrics.metric import Result, on_pixels
from evaluation.paper import collect
from evaluation.paper.__main__ import make_page, parse
from evaluation.paper.figures import draw_diffusion
from evaluation.paper.plan import spread
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import from_run, stored_config
from tests.evaluation.drawn_images import drawn_images
from tests.tiny_run import EDM, tiny_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
OPTIONS = EDM | {
    "data.transform": "sqrt",
    "training.n_iters": 6,
    "training.snapshot_freq_for_preemption": 2,
    "sampling.num_steps": 4,
}
# Metrics and likelihoods are tested elsewhere: these are quick.
OF_ALL = ("physics/charge", "ssnet/track_fraction", "w1", "fid/direct")
BITS = {
    "bits_per_dim": 1.5,
    "stderr": 0.1,
    "num_images": 2,
    "network_evaluations": 9,
    "kind": "bound",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, and a run with the checkpoints 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("paper")
    for seed, name in enumerate(("train", "test")):
        np.save(folder / f"{name}.npy", drawn_images(40, seed=seed, size=16))
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder, **OPTIONS), folder / "run")
    return folder


def options(folder, out, *flags):
    places = {"workdir": "run", "real": "test.npy", "train": "train.npy"}
    required = [f"--{flag}={folder / place}" for flag, place in places.items()]
    return parse([*required, f"--out={out}", "--num_samples=40", "--evaluations=3", *flags])


def quick(real, generated, *, seed, **options):
    """Stand in for the Sinkhorn divergence, which takes a second to compile for each eps."""
    return [Result("sinkhorn/p1/eps1", 1.0 + float(generated.mean()), n=len(generated))]


def save_small(drawn, path):
    """Stand in for a PNG and a PDF of full size."""
    drawn[0].savefig(path.with_name(f"{path.name}.png"), dpi=20)


def test_a_stopped_page_goes_on_and_shows_every_checkpoint(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "_OF_ALL", OF_ALL)
    kept = {name: collect.METRICS[name] for name in (*OF_ALL, "memorisation/duplicates")}
    kept["sinkhorn"] = dataclasses.replace(collect.METRICS["sinkhorn"], compute=on_pixels(quick))
    monkeypatch.setattr(collect, "METRICS", kept)
    monkeypatch.setattr(collect, "sinkhorn", quick)
    monkeypatch.setattr("evaluation.paper.page.save", save_small)
    compute_results, computed = compute._results, []

    def stopped(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_page(options(folder, tmp_path))

    def results(metric, group, *arguments):
        computed.append((metric.name, group[0].generated.name))
        return compute_results(metric, group, *arguments)

    monkeypatch.setattr(collect, "measure", lambda *arguments, **settings: BITS)
    monkeypatch.setattr("sgm_jax.sample._draw_missing", stopped)
    monkeypatch.setattr(compute, "_results", results)
    make_page(options(folder, tmp_path))

    content = json.loads((tmp_path / "paper.json").read_text())
    failed = [text for text in content["warnings"] if "failed" in text]
    assert len(failed) == 1 and "classifier" in failed[0]  # of which nothing was computed
    values = {(row["metric"], row["set"]): row for row in content["rows"]}
    # Nothing was drawn again, and only what had too few images was tried again.
    assert all(values[row]["status"] == "too few images" for row in computed)
    for step in (2, 4, 6):
        for metric in ("w1/paper", "fid/paper", "sinkhorn/p1/eps1"):
            row = values[metric, f"step_{step}"]
            assert row["value"] > 0 and row["floor"] is not None and row["n"] == 40
    assert values["memorisation/duplicates/train", "step_6"]["n"] == 40
    assert ("memorisation/duplicates/train", "step_4") not in values
    # Heun's method with two steps.
    assert (
        json.loads((tmp_path / "samples/evaluations_3/recipe.json").read_text())[
            "network_evaluations"
        ]
        == 3
    )
    assert set(content["likelihood"]) == {"held-out", "training"}
    page = (tmp_path / "index.html").read_text()
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"fig01_diffusion", "fig02_losses", "fig03_grid_step_2", "fig06_distances"} <= drawn
    assert page.count("data:image/png") == len(drawn)
    assert (tmp_path / "turing.html").is_file() and (tmp_path / "report/report.json").is_file()
    assert not (tmp_path / "partial").exists()

    written = (tmp_path / "index.html").stat().st_mtime_ns
    make_page(options(folder, tmp_path))
    assert (tmp_path / "index.html").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="num_samples|sizes.checkpoint"):
        make_page(options(folder, tmp_path, "--num_samples=30"))


def test_the_forward_row_ends_at_real_images_and_the_reverse_row_at_drawn_ones(folder, tmp_path):
    config = stored_config(folder / "run")
    trained = from_run(config, folder / "run", checkpoint=4)
    real = np.load(folder / "test.npy")[:2]
    figure, numbers = draw_diffusion(trained, real, seed=0)
    out = sample(config, folder / "run", checkpoint=4, num_samples=2, out=tmp_path / "drawn")
    drawn = np.clip(np.load(out / "samples.npz")["raw"][..., 0], 0, 255)
    columns = len(numbers["steps"])
    last = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[columns - 1 :: columns]]
    for shown, image in zip(last, [*real, *drawn], strict=True):
        np.testing.assert_allclose(shown**2 * max(image.max(), 1), image, atol=0.02)
    assert numbers["noise"][-1] == 0 and np.all(np.diff(numbers["noise"]) < 0)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--checkpoints=2,5", r"no checkpoint 5 to show; choose from 2, 4, 6"),
        ("--checkpoints=2,x", "whole numbers"),
        ("--report=3", "choose from 2, 4, 6"),
        ("--num_samples=9999", "from 2 to 2000"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_made(folder, tmp_path, flag, message):
    with pytest.raises(ValueError, match=message):
        make_page(options(folder, tmp_path / "out", flag))
    assert not (tmp_path / "out").exists()


def test_images_of_another_size_than_the_run_draws_are_refused(folder, tmp_path):
    for name in ("test", "train"):
        np.save(tmp_path / f"{name}.npy", drawn_images(5, seed=0, size=24))
    wrong = options(folder, tmp_path / "out")
    wrong.real, wrong.train = (str(tmp_path / f"{name}.npy") for name in ("test", "train"))
    with pytest.raises(ValueError, match="24 x 24 pixels, but .* draws 16 x 16"):
        make_page(wrong)


def test_checkpoints_are_spread_evenly_in_the_logarithm_with_both_ends():
    steps = list(range(1000, 65000, 1000))
    chosen = spread(steps)
    assert len(chosen) == 8 and chosen[0] == 1000 and chosen[-1] == 64000
    ratios = np.diff(np.log(chosen))
    assert np.all(ratios > 0) and abs(ratios[-1] - np.log(64) / 7) < 0.1
    assert spread([5]) == [5] and spread(steps[:8]) == steps[:8]


def test_a_curve_of_one_checkpoint_is_a_point_and_none_is_refused():
    figure, numbers = draw_curves({"a": [Point(1000, 2.0, 0.1, 1.0)], "b": []}, "step")
    assert numbers == {"a": [{"x": 1000, "value": 2.0, "stderr": 0.1, "floor": 1.0}]}
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="nothing was measured of a"):
        draw_curves({"a": []}, "step")
