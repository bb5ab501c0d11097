import pytest

from configs import larcv_png64_cpu
from launch.benchmark import samplers


@pytest.mark.parametrize(("name", "evaluations"), [("heun", 19), ("euler_maruyama", 10)])
def test_a_sampler_is_measured_beside_as_many_evaluations(name, evaluations):
    config = larcv_png64_cpu.get_config().unlock()
    config.data.image_size, config.eval.batch_size = 16, 8
    config.model.update(nf=8, ch_mult=(1,), attn_resolutions=())
    found = samplers.compare(name, 1, config)
    assert f"8 images x {evaluations}" in found.what
    assert found.seconds > 0.0 and found.other_seconds > 0.0
    assert found.value == pytest.approx(found.seconds / found.other_seconds)
