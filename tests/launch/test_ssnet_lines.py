import pytest

from configs import ssnet
from launch.benchmark import __main__ as benchmark
from launch.benchmark import ssnet as ssnet_lines


@pytest.fixture
def small():
    config = ssnet.get_config()
    config.data.image_size = 16
    config.model.update(filters=2, num_strides=3)
    config.training.batch_size = config.eval.batch_size = 8
    return config


@pytest.mark.usefixtures("optax_promotion")
def test_labelling_and_a_training_step_take_time_and_say_for_how_many_images(small):
    for measure in (ssnet_lines.time_inference, ssnet_lines.time_training):
        line = measure(1, small)
        assert line.seconds > 0.0
        assert line.images == 8 and "8 images" in line.what


def test_pytorch_is_shown_for_the_configuration_it_was_measured_with(small):
    assert ssnet_lines.time_inference(1, small).pytorch_seconds is None


def test_the_benchmark_has_both_lines():
    assert {"ssnet_inference", "ssnet_training"} <= set(benchmark.LINES)
