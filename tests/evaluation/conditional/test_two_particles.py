"""Classifiers of two particles learn from the same, from flawed and from exchanged images."""

import json

import numpy as np
import pytest

from evaluation.conditional.sets import read_generated
from evaluation.conditional.two_particles import FEWEST, compare, main, table
from tests.evaluation.asked_images import LEVELS, shown

KINDS, TREES = ("electron", "muon"), ("trees",)


@pytest.fixture(scope="module")
def content():
    """Images of the same simulation, with more charge, and with the two kinds exchanged."""
    swapped = shown(seed=4)
    other = {"electron": "muon", "muon": "electron"}
    swapped.particle[:] = [other[name] for name in swapped.particle]
    sets = {
        "again": shown(seed=2),
        "strong": shown(seed=3, charge=1.2 * LEVELS),
        "swapped": swapped,
    }
    return compare(shown(seed=0), shown(seed=1), sets, KINDS, classifiers=TREES, limit=300)


def test_a_set_of_the_same_simulation_teaches_as_much(content):
    real, again = content["sets"]["real"], content["sets"]["again"]
    error = (real["auc/trees"]["stderr"] ** 2 + again["auc/trees"]["stderr"] ** 2) ** 0.5
    assert real["auc/trees"]["value"] > 0.9
    assert abs(again["auc/trees"]["value"] - real["auc/trees"]["value"]) < 4 * error + 0.01


def test_exchanged_kinds_teach_the_opposite(content):
    assert content["sets"]["swapped"]["auc/trees"]["value"] < 0.1


def test_distances_are_those_of_the_charges(content):
    """A fifth more charge, of 100 to 500 MeV/c and so many levels for each, moves all by that."""
    expected = 0.2 * LEVELS * 300
    for kind in KINDS:
        row = content["sets"]["strong"][f"w1/charge/{kind}"]
        floor = content["sets"]["real"][f"w1/charge/{kind}"]
        assert abs(row["value"] - expected) < 4 * row["stderr"]
        assert floor["value"] < 0.5 * row["value"]


def test_all_learn_from_as_many(content):
    assert content["count"] == 300
    assert content["tested"] == 1_200
    sets = {"few": shown(260, seed=2)}
    few = compare(shown(seed=0), shown(seed=1), sets, KINDS, classifiers=TREES)
    assert few["count"] == 130
    assert table(few).count("\n| ") == 3


def test_images_of_a_particle_and_no_momentum_are_compared_too(tmp_path):
    drawn = shown(260, seed=2)
    numbers = [KINDS.index(name) for name in drawn.particle]
    file, recipe = tmp_path / "samples.npz", {"particles": KINDS, "mev_per_level": 0.1}
    np.savez(file, samples=drawn.images, particle=np.array(numbers, np.int32))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    of_file = compare(shown(seed=0), shown(seed=1), {"a": file}, KINDS, classifiers=TREES)
    of_array = compare(shown(seed=0), shown(seed=1), {"a": drawn}, KINDS, classifiers=TREES)
    assert of_file == of_array
    with pytest.raises(ValueError, match="which particle and momentum"):
        read_generated(file)


def test_bad_input_is_refused(tmp_path):
    real, train = shown(300, seed=0), shown(300, seed=1)
    with pytest.raises(ValueError, match="--particles=muon,muon must be two kinds"):
        compare(real, train, {"a": train}, ("muon", "muon"))
    with pytest.raises(ValueError, match=f"real has 0 images of proton, and {FEWEST}"):
        compare(
            shown(300, seed=0, kinds=("muon", "proton")), train, {"a": train}, ("muon", "proton")
        )
    with pytest.raises(ValueError, match="real: so the simulated images are called"):
        compare(real, train, {"real": train}, KINDS)
    with pytest.raises(ValueError, match=f"--limit=0 must be at least {FEWEST}"):
        compare(real, train, {"a": train}, KINDS, limit=0)
    with pytest.raises(ValueError, match="forest; it can have trees, cnn"):
        compare(real, train, {"a": train}, KINDS, classifiers=("forest",))
    (tmp_path / "two_particles.json").write_text(json.dumps({}))
    with pytest.raises(SystemExit):
        main(
            [
                "--particles=electron,muon",
                "--real=a",
                "--train=b",
                "--generated=c",
                f"--out={tmp_path}",
            ]
        )
