import pytest
from absl.testing import flagsaver

from launch.benchmark import __main__ as benchmark
from launch.benchmark.measurement import Line, processor_seconds


@pytest.fixture
def toy(monkeypatch):
    overrides = {"data.image_size": 8, "data.num_channels": 1, "model.nf": 8}
    overrides |= {"model.ch_mult": (1,), "model.num_res_blocks": 1}
    monkeypatch.setitem(benchmark.CASES, "toy", (overrides, 8))


def test_processor_seconds_are_the_median_without_the_first_run():
    work = iter([2_000_000, 10, 10, 400_000])

    def call():
        sum(range(next(work)))

    assert processor_seconds(call, 3) < 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotion", "toy")
def test_a_training_and_a_sampler_step_take_time():
    assert benchmark.time_training("toy", 1).seconds > 0.0
    assert benchmark.time_sampling("toy", 1).seconds > 0.0


def test_the_table_shows_the_measurement_beside_pytorch():
    lines = [Line("a step", 0.5, 1.25, images=16), Line("another", 2.0)]
    _, first, second = benchmark.table(lines).splitlines()
    assert first.split() == ["a", "step", "0.500", "1.25", "32.0"]
    assert second.split() == ["another", "2.000", "-", "-"]


def test_an_unknown_line_is_refused_with_the_known_ones():
    with (
        flagsaver.as_parsed(only="huge_training"),
        pytest.raises(ValueError, match=r"huge_training.*tiny_training"),
    ):
        benchmark.main([])
