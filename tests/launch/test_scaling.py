import pytest

from configs import demo
from launch import scaling


def test_the_table_compares_processor_time_an_image_with_the_first_layout():
    alone = scaling.Scaling(1, 1, images=4, wall_seconds=0.2, processor_seconds=0.4)
    pod = scaling.Scaling(2, 4, images=32, wall_seconds=1.7, processor_seconds=4.0)
    rows = scaling.table([alone, pod]).splitlines()
    assert rows[2] == "| 1 x 1 | 4 | 0.20 | 0.100 | 1.00 |"
    assert rows[3] == "| 2 x 4 | 32 | 1.70 | 0.125 | 0.80 |"


@pytest.mark.parametrize("text", ["8", "2x", "0x4", "axb", "1x2x3"])
def test_a_layout_that_is_not_processes_times_devices_is_refused(text):
    with pytest.raises(ValueError, match="of the form 2x4"):
        scaling.layout(text)


@pytest.mark.slow
def test_a_step_on_all_devices_of_a_process_is_measured(optax_promotion):
    config = demo.get_config().unlock()
    config.data.image_size, config.model.nf, config.model.ch_mult = 16, 8, (1,)
    found = scaling.measure(config, images_per_device=1, steps=2)
    assert found["processor_seconds"] > 0.0
    assert found["wall_seconds"] > 0.0


@pytest.mark.slow
def test_processes_are_measured_together():
    arguments = ["--worker", "--config=configs/demo.py", "--images_per_device=1", "--steps=1"]
    found = scaling.measure_layout("2x1", arguments, 1)
    assert (found.processes, found.devices, found.images) == (2, 1, 2)
    assert found.wall_seconds < 60.0


@pytest.mark.slow
def test_a_layout_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"(?s)layout 1x1 failed.*image_size"):
        scaling.measure_layout(
            "1x1", ["--worker", "--config=configs/demo.py", "--config.data.image_size=-1"], 1
        )
