import os
import pickle

import jax
import numpy as np
import pytest

from evaluation.ssnet import weights
from evaluation.ssnet.network import SSNet
from evaluation.ssnet.weights import from_torch, load, open_weights, save
from sgm_jax.torch.file import read_state
from tests.evaluation.small_ssnet import published_tensors, trained_variables

SMALL = {"filters": 2, "num_strides": 3}


@pytest.fixture(scope="module")
def network():
    net = SSNet("running_statistics", **SMALL)
    return net, trained_variables(SSNet("batch_statistics", **SMALL))


@pytest.fixture
def published(network):
    return published_tensors(network[1]["params"])


def test_published_tensors_come_back_unchanged(network, published):
    net, variables = from_torch(published)
    assert net == SSNet("batch_statistics", **SMALL)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], network[1]["params"])


def test_every_tensor_that_does_not_fit_is_named(published):
    del published["conv2.0.bias"]
    published["extra.weight"] = np.zeros(3, np.float32)
    published["conv2.1.weight"] = np.zeros(7, np.float32)
    published["conv2.1.bias"] = np.full(2, np.nan, np.float32)
    with pytest.raises(ValueError) as refused:
        from_torch(published)
    for part in (
        "missing: conv2.0.bias",
        "unexpected: extra.weight (3,)",
        "shape: conv2.1.weight is (7,) in our layout, not (2,)",
        "not finite: conv2.1.bias",
    ):
        assert part in str(refused.value)


def test_tensors_of_another_network_are_refused():
    with pytest.raises(ValueError, match="conv1.0.weight is missing; there are: a"):
        from_torch({"a": np.zeros(3)})


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_saved_weights_come_back_to_their_precision(network, tmp_path, dtype):
    net, variables = network
    digest = save(tmp_path / "w.npz", net, variables, dtype=dtype)
    weights = load(tmp_path / "w.npz")
    assert weights.net == net and weights.sha256 == digest
    rtol = 1e-3 if dtype == "float16" else 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100),
        weights.variables,
        dict(variables),
    )


def test_values_beyond_half_precision_are_refused(network, tmp_path):
    net, variables = network
    large = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1e6, variables["params"])}
    with pytest.raises(ValueError, match="not finite in float16"):
        save(tmp_path / "w.npz", net, large, dtype="float16")


def test_a_changed_or_truncated_file_is_refused(network, tmp_path):
    path = tmp_path / "w.npz"
    save(path, *network, dtype="float32")
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"SHA-256 .* is not the recorded"):
        load(path)
    (tmp_path / "w.npz.sha256").unlink()
    with pytest.raises(ValueError, match="damaged or no .npz"):
        load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="was not written as SSNet weights"):
        load(path)


def test_pickled_objects_in_a_weight_file_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", network=np.array([{"filters": 2}], dtype=object))
    with pytest.raises(ValueError, match="was not written as SSNet weights"):
        load(tmp_path / "w.npz")


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no weight file .*w\.npz"):
        open_weights(tmp_path / "w.npz")
    monkeypatch.setattr(weights, "PACKAGED", tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="--ssnet"):
        open_weights(None)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_malicious_or_truncated_pytorch_file_is_refused_and_not_run(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.tar"
    path.write_bytes(pickle.dumps({"state": Malicious()}))
    with pytest.raises(ValueError, match="refused"):
        read_state(path)
    assert not (tmp_path / "ran").exists()
    torch.save({"state": {"a": torch.zeros(100)}}, path)
    assert read_state(path)["a"].shape == (100,)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="or a damaged one"):
        read_state(path)
