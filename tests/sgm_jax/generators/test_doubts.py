"""What can be drawn with, but badly, is said; what the configurations advise is not."""

import pytest

from configs import demo, larcv_png64, larcv_png64_cpu
from sgm_jax import generator, trained
from sgm_jax.run.experiment import overridden

CONFIGS = {module.__name__: module.get_config() for module in (larcv_png64, larcv_png64_cpu, demo)}


def doubts(config, **fields):
    return generator.doubts(overridden(config, [f"--config.{k}={v}" for k, v in fields.items()]))


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_configurations_and_the_paper_do_is_not_doubted(name):
    assert not doubts(CONFIGS[name])
    assert not doubts(CONFIGS[name], **{"sampling.method": "pc"})
    assert not doubts(CONFIGS[name], **{"sampling.method": "ode"})


@pytest.mark.parametrize(("scales", "bad"), [(50, True), (250, True), (500, False), (1000, False)])
@pytest.mark.parametrize("name", CONFIGS)
def test_predictors_with_too_few_scales_leave_grain(name, scales, bad):
    said = doubts(CONFIGS[name], **{"sampling.method": "pc", "model.num_scales": scales})
    assert bool(said) == bad
    # The fix, as it is typed, is one.
    for sentence in said:
        flags = [word.strip(".,") for word in sentence.split() if word.startswith("--config.")]
        fixed = [flag for flag in flags if flag.endswith(("dpm_solver", "num_steps=20"))]
        assert len(fixed) == 2 and not generator.doubts(overridden(CONFIGS[name], fixed))


def test_the_shipped_weights_are_drawn_from_with_a_grid_that_suits_the_solver():
    config = trained.from_weights("lar64").config
    assert not generator.doubts(config)
    assert doubts(config, **{"sampling.grid": "time"})
    assert not doubts(config, **{"sampling.grid": "time", "sampling.method": "ddim"})
    assert doubts(config, **{"sampling.method": "heun", "sampling.num_steps": 3})
