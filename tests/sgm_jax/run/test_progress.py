"""What a training says of its own speed."""

import numpy as np

from sgm_jax.run import progress


def test_after_ten_timed_steps_it_is_said_once_how_long_the_rest_takes(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(progress.LOGGER, "info", lambda text, *values: said.append(text % values))
    for last in (20, 10_000):
        watched = progress.Progress(
            tmp_path, last=last, log_every=100, batch_size=1, epoch_images=10
        )
        # The first step compiles and is not timed.
        for step, seconds in zip(range(1, 18), [500.0] + 16 * [2.0], strict=True):
            watched.step(step, {"loss": np.ones(1)}, seconds=seconds)
        watched.close()
    assert said == ["2 seconds a step: the 9,989 steps that are left take about 5.5 hours"]
