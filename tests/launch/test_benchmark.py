import re

import numpy as np
import pytest

from configs import larcv_png64_cpu, ssnet
from launch.benchmark import evaluator, networks
from launch.benchmark import lines as benchmark
from launch.benchmark.measurement import (
    Comparison,
    Line,
    comparisons_table,
    lines_table,
    processor_seconds,
)


def test_processor_seconds_are_the_median_without_the_first_call():
    work = iter([2_000_000, 10, 10, 400_000])

    def call():
        sum(range(next(work)))

    assert processor_seconds(call, 3) < 1e-3


def test_the_table_shows_a_measurement_beside_pytorch():
    lines = [Line("a step", 0.5, 1.25, images=16), Line("another", 2.0)]
    _, first, second = lines_table(lines).splitlines()
    assert first.split() == ["a", "step", "0.500", "1.25", "32.0"]
    assert second.split() == ["another", "2.000", "-", "-"]


def test_the_table_has_a_dash_for_what_is_not_installed():
    whole = Comparison("W1", 1.5, 7.25, "POT", 3.0, 7.25, 0.5)
    text = comparisons_table([whole, whole._replace(other_seconds=None, other_value=None)])
    rows = text.splitlines()
    assert re.search(r"W1 +1\.50 +7\.25 +POT +3 +7\.25 +0\.5$", rows[1])
    assert re.search(r"POT +- +- +0\.5$", rows[2])


def test_an_unknown_line_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"--only=huge_training is unknown.*tiny_training.*w1"):
        benchmark.measure(["import", "huge_training"], 1)


def test_lines_are_measured_and_printed(monkeypatch, capsys):
    monkeypatch.setitem(benchmark.LINES, "import", lambda repeats: Line("start", 1.0 * repeats))
    monkeypatch.setitem(
        benchmark.COMPARISONS, "w1", lambda repeats: Comparison("W1", 1.0, 2.0, "POT")
    )
    benchmark.measure(["import", "w1"], 2)
    out = capsys.readouterr().out
    assert re.search(r"start +2\.000", out) and re.search(r"W1 +1\.00", out)


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotion")
def test_a_training_and_a_sampler_step_take_time(monkeypatch):
    overrides = {"data.image_size": 8, "data.num_channels": 1, "model.nf": 8}
    overrides |= {"model.ch_mult": (1,), "model.num_res_blocks": 1}
    monkeypatch.setitem(networks.CASES, "toy", (overrides, 8))
    assert networks.time_training("toy", 1).seconds > 0.0
    assert networks.time_sampling("toy", 1).seconds > 0.0


@pytest.mark.parametrize(("name", "evaluations"), [("heun", 19), ("euler_maruyama", 10)])
def test_a_sampler_is_measured_beside_as_many_evaluations(name, evaluations):
    config = larcv_png64_cpu.get_config().unlock()
    config.data.image_size, config.eval.batch_size = 16, 8
    config.model.update(nf=8, ch_mult=(1,), attn_resolutions=())
    comparison = networks.compare_sampler(name, 1, config)
    assert f"8 images x {evaluations}" in comparison.what
    assert comparison.seconds > 0.0 and comparison.other_seconds > 0.0
    assert comparison.value == pytest.approx(comparison.seconds / comparison.other_seconds)


@pytest.fixture
def small_ssnet():
    config = ssnet.get_config()
    config.data.image_size = 16
    config.model.update(filters=2, num_strides=3)
    config.training.batch_size = config.eval.batch_size = 8
    return config


@pytest.mark.usefixtures("optax_promotion")
def test_ssnet_is_measured_without_pytorch_where_the_network_is_another(small_ssnet):
    for measure in (networks.time_ssnet_labelling, networks.time_ssnet_training):
        line = measure(1, small_ssnet)
        assert line.seconds > 0.0 and line.pytorch_seconds is None
        assert line.images == 8 and "8 images" in line.what


def test_toy_images_are_thin_tracks_of_grey_levels():
    images = evaluator.toy_images(200, seed=0)
    assert images.shape == (200, 64 * 64) and images.dtype == np.float32
    assert images.min() == 0.0 and images.max() <= 255.0
    assert (images == np.rint(images)).all()
    lit = (images > 0).sum(axis=1)
    assert lit.min() >= 8 and lit.max() <= 128


@pytest.mark.parametrize("name", ["distances", "w1", "fid"])
def test_both_ways_to_compute_agree(name, monkeypatch):
    for constant, value in {"MMD_IMAGES": 40, "W1_IMAGES": 50, "FEATURES": 16}.items():
        monkeypatch.setattr(evaluator, constant, value)
    comparison = evaluator.COMPARISONS[name]()
    assert comparison.value == pytest.approx(comparison.other_value, rel=1e-6)
    assert comparison.seconds > 0.0 and comparison.other_seconds > 0.0
