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
# On eight devices, eight images at once; and with few steps.
QUICK = {"sampling.ode_batch": 1, "sampling.ode_rtol": 1e-2, "sampling.ode_atol": 1e-2}
QUICK |= {"eval.num_probes": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder), folder / "run")
    return folder


def test_interrupted_likelihoods_go_on_where_they_stopped(trained, monkeypatch):
    config = tiny_config(trained, **QUICK | {"eval.num_images": 12})
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
    config = tiny_config(trained, **QUICK)
    fewer = measure(config, trained / "run")
    assert calls == [0, "stop", 8] and fewer["num_images"] == 8
    np.testing.assert_allclose(fewer["bits_per_dim"], bits[:8].mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="num_probes: 2 there, 4 here"):
        measure(tiny_config(trained, **QUICK | {"eval.num_probes": 4}), trained / "run")


def test_likelihoods_depend_on_no_batch_and_more_of_them_are_added(trained, tmp_path):
    few = tiny_config(trained, **QUICK | {"eval.num_images": 3, "eval.batch_size": 16})
    measure(few, trained / "run", out=tmp_path / "few")
    first = np.load(tmp_path / "few" / "likelihood.npz")["bits_per_dim"]
    many = tiny_config(trained, **QUICK | {"eval.num_images": 11})
    measure(many, trained / "run", out=tmp_path / "many")
    bits = np.load(tmp_path / "many" / "likelihood.npz")["bits_per_dim"]
    np.testing.assert_array_equal(first, bits[:3])
    grown = measure(many, trained / "run", out=tmp_path / "few")
    np.testing.assert_array_equal(
        np.load(tmp_path / "few" / "likelihood.npz")["bits_per_dim"], bits
    )
    assert grown["num_images"] == 11


def test_images_without_levels_are_refused(trained, tmp_path):
    test = np.load(trained / "test.npy").astype(np.float32)
    np.save(tmp_path / "test.npy", test + 0.5 * (test > 0) * (test < 255))
    config = tiny_config(trained, **{"data.test_path": str(tmp_path / "test.npy")})
    with pytest.raises(ValueError, match=r"test\.npy: .* whole levels 0..255, .* float32"):
        measure(config, trained / "run")


def test_images_of_the_flow_depend_on_no_batch(trained, tmp_path):
    ode = QUICK | {"sampling.method": "ode", "sampling.ode_rtol": 1e-5, "sampling.ode_atol": 1e-5}
    config = tiny_config(trained, **ode, **{"eval.num_samples": 3})
    raw = np.load(sample(config, trained / "run", out=tmp_path / "few") / "samples.npz")["raw"]
    config = tiny_config(trained, **ode, **{"eval.batch_size": 64})
    more = sample(config, trained / "run", num_samples=20, out=tmp_path / "more")
    np.testing.assert_array_equal(np.load(more / "samples.npz")["raw"][:3], raw)
