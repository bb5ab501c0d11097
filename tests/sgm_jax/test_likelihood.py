"""Likelihood of a data set: resumable, with its errors, not of images without levels."""

import json

import jax
import numpy as np
import pytest

from sgm_jax import likelihood
from sgm_jax.likelihood import measure
from sgm_jax.sample import sample
from sgm_jax.train import train
from tests.tiny_run import tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder), folder / "run")
    return folder


def test_interrupted_likelihoods_go_on_where_they_stopped(trained, monkeypatch):
    config = tiny_config(trained, **{"eval.num_images": 12})
    compiled, calls = likelihood._compiled, []

    def interrupted(*arguments):
        call = compiled(*arguments)

        def count(params, images, rows):
            if calls == [0]:
                calls.append("stop")
                raise KeyboardInterrupt
            calls.append(int(rows[0]))
            return call(params, images, rows)

        return count

    monkeypatch.setattr(likelihood, "_compiled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(config, trained / "run")
    summary = measure(config, trained / "run")
    assert calls == [0, "stop", 8] and summary["num_images"] == 12
    folder = trained / "run" / "likelihood" / "step_000004"
    each = np.load(folder / "likelihood.npz")
    assert sorted(path.name for path in folder.iterdir()) == ["likelihood.npz", "summary.json"]
    bits = each["bits_per_dim"]
    assert bits.shape == (12,) and np.isfinite(bits).all()
    np.testing.assert_allclose(summary["bits_per_dim"], bits.mean(), rtol=1e-6)
    np.testing.assert_allclose(summary["stderr"], bits.std(ddof=1) / 12**0.5, rtol=1e-5)
    assert 0 < summary["probe_stderr"] < summary["stderr"]
    # Measured once more, nothing is computed; of other images, nothing is mixed.
    assert measure(config, trained / "run") == json.loads((folder / "summary.json").read_text())
    assert calls == [0, "stop", 8]
    with pytest.raises(ValueError, match="num_images: 12 there, 8 here"):
        measure(tiny_config(trained), trained / "run")


def test_images_without_levels_are_refused(trained, tmp_path):
    test = np.load(trained / "test.npy").astype(np.float32)
    np.save(tmp_path / "test.npy", test + 0.5 * (test > 0) * (test < 255))
    config = tiny_config(trained, **{"data.test_path": str(tmp_path / "test.npy")})
    with pytest.raises(ValueError, match=r"test\.npy: .* whole levels 0..255, .* float32"):
        measure(config, trained / "run")


def test_the_flow_is_a_sampler_of_the_command(trained, tmp_path):
    config = tiny_config(trained, **{"sampling.method": "ode", "eval.num_samples": 3})
    raw = np.load(sample(config, trained / "run", out=tmp_path / "few") / "samples.npz")["raw"]
    config = tiny_config(trained, **{"sampling.method": "ode", "eval.batch_size": 16})
    more = sample(config, trained / "run", num_samples=9, out=tmp_path / "more")
    # The steps are chosen to 1e-5 of model space, which is 128 of these units.
    np.testing.assert_allclose(np.load(more / "samples.npz")["raw"][:3], raw, atol=0.05)
