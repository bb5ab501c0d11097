"""Files of SSNet's weights that are made to do harm, or damaged: refused by name, and harmless."""

import json

import numpy as np
import pytest
from hypothesis import given

from evaluation.ssnet.network import SSNet
from evaluation.ssnet.weights import from_torch, load, save
from tests.evaluation.small_ssnet import published_tensors, trained_variables
from tests.hostile import bounded, edited, edits, harmless, read_or_refused

NET = SSNet("running_statistics", filters=2, num_strides=3)
VARIABLES = trained_variables(NET)
SIZE = {"filters": 2, "num_strides": 3, "num_classes": 3}


def written(folder):
    save(folder / "w.npz", NET, VARIABLES, dtype="float32")
    (folder / "w.npz.sha256").unlink()
    with np.load(folder / "w.npz") as archive:
        return folder / "w.npz", dict(archive)


META = {
    "nesting": "[" * 3000,
    "no object": "3",
    "no JSON": "filters=2",
    "another argument": json.dumps(SIZE | {"axis_name": "x"}),
    "a size missing": json.dumps({"filters": 2}),
    "a billion filters": json.dumps(SIZE | {"filters": 10**9}),
    "a thousand strides": json.dumps(SIZE | {"num_strides": 1000}),
    "half a stride": json.dumps(SIZE | {"num_strides": 3.5}),
    "true filters": json.dumps(SIZE | {"filters": True}),
}


@pytest.mark.parametrize("name", META)
def test_a_file_that_describes_no_network_is_refused_by_name(tmp_path, name):
    path, arrays = written(tmp_path)
    np.savez(path, **arrays | {"network": np.array(META[name])})
    with (
        harmless(tmp_path, megabytes=20),
        pytest.raises(ValueError, match=r"w\.npz: damaged, no network"),
    ):
        load(path)


def test_giant_arrays_are_refused_before_they_are_read(tmp_path):
    path, arrays = written(tmp_path)
    names = ["params/conv1/conv/kernel", "another"]
    np.savez_compressed(path, **arrays | {name: np.zeros(10_000_000, np.float32) for name in names})
    with harmless(tmp_path, megabytes=20), pytest.raises(ValueError, match="unexpected: another"):
        load(path)


def test_a_description_of_megabytes_is_not_read(tmp_path):
    path, arrays = written(tmp_path)
    np.savez_compressed(path, **arrays | {"network": np.array(" " * 2_000_000)})
    with harmless(tmp_path, megabytes=5), pytest.raises(ValueError, match="no array 'network'"):
        load(path)


@pytest.mark.parametrize("examples", [20, pytest.param(80, marks=pytest.mark.slow)])
def test_a_damaged_weight_file_is_read_or_refused_by_name(tmp_path, examples):
    path, _ = written(tmp_path)
    sound = path.read_bytes()

    @bounded(examples)
    @given(changes=edits(3))
    def check(changes):
        path.write_bytes(edited(sound, changes))
        with harmless(tmp_path, megabytes=40), read_or_refused(path):
            load(path)

    check()


def deep(tensors):
    return tensors | {"double_resnet.1000000.resnet1.shortcut.0.weight": np.zeros(1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deep, "num_strides is 1000001; it lies in 1..8"),
        (lambda t: t | {"conv1.0.weight": np.float32(1)}, "tensor conv1.0.weight is missing"),
        (lambda t: t | {"conv3.0.weight": np.zeros((5000, 1, 1, 1))}, "num_classes is 5000"),
    ],
)
def test_published_tensors_of_no_possible_network_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_torch(change(published_tensors(VARIABLES["params"])))
