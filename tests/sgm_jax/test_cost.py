"""How long a training would take, before it is begun."""

import logging

import jax
import pytest

from configs import larcv_png64, larcv_png64_cpu
from launch.programs import known_std
from sgm_jax import cost
from sgm_jax.generators import score
from sgm_jax.run.progress import duration
from tests.tiny_run import tiny_config


def _weights(config):
    generator = score.build(known_std(config))
    state = jax.eval_shape(generator.initial_state, jax.eval_shape(lambda: jax.random.key(0)))
    return generator, state.averaged


def test_the_papers_network_on_a_cpu_takes_years_and_a_config_that_fits_is_named(monkeypatch):
    said = []
    monkeypatch.setattr(cost, "cores", lambda: 2)
    monkeypatch.setattr(cost.LOGGER, "warning", lambda text, *values: said.append(text % values))
    config = larcv_png64.get_config()
    generator, variables = _weights(config)
    # 32.3 TFLOP a step, as docs/launch/plan.md has it from the compiler.
    flops = 3 * 128 * cost.forward_flops(generator, variables)
    assert flops == pytest.approx(32.3e12, rel=0.06)
    cost.warn_if_long(config, generator, variables, 60_000)
    assert duration(60_000 * flops / 6e10) in said[0]
    assert "--config=configs/larcv_png64_cpu.py" in said[0]
    cost.warn_if_long(config, generator, variables, 2)
    assert len(said) == 1


@pytest.mark.parametrize("config", [larcv_png64_cpu.get_config(), None], ids=["cpu", "tiny"])
def test_of_what_fits_a_cpu_nothing_is_said(config, tmp_path, caplog):
    config = config or tiny_config(tmp_path)
    with caplog.at_level(logging.INFO):
        cost.warn_if_long(config, *_weights(config), 80_000)
    assert not caplog.records


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 seconds"),
        (60, "1 minute"),
        (3500, "58 minutes"),
        (3600 * 20, "20 hours"),
        (3e7 * 1.2, "1.1 years"),
        (86400 * 200, "200 days"),
        (3e11, "9,506 years"),
    ],
)
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
