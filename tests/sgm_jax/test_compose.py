"""Whole events: what their particles leave, where tracks go on, and what an event depends on."""

import csv
import json

import numpy as np
import pytest

import sgm_jax.compose
from sgm_jax.compose import SHOWERS, compose
from sgm_jax.data import to_uint8
from sgm_jax.generator import GENERATORS
from sgm_jax.simulation.particles import MASS_MEV
from sgm_jax.step import Variables
from sgm_jax.trained import Trained
from tests import line_family
from tests.line_family import LEVELS_PER_MEV, MEV_PER_PIXEL, kinetic
from tests.tiny_run import tiny_config

KINDS = ("electron", "photon", "muon", "pion", "proton")
# Of all, and of each kind. The least momentum of a muon leaves 21 MeV, in five pixels.
RANGE = (1.0, 2000.0, 1.0, 2000.0, 1.0, 2000.0, 70.0, 2000.0, 1.0, 2000.0, 300.0, 2000.0)
OPTIONS = {
    "generator": "lines",
    "model.condition": ("particle", "momentum"),
    "data.condition": "labels",
    "data.particles": KINDS,
    "data.momentum_range": RANGE,
    "data.centered": False,
    "simulation.scaling": "absolute",
    "simulation.counts_per_mev": LEVELS_PER_MEV,
    "simulation.crop": "start",
    "simulation.pixel_mm": 10.0,
}
NOTHING = {"weights": np.zeros(1, np.float32)}
MIDDLE = 32
HEADER = "event,particle,px,py,pz"


@pytest.fixture(autouse=True)
def lines(monkeypatch):
    monkeypatch.setitem(GENERATORS, "lines", "tests.line_family")

    def chosen(config, run, **_):
        return Trained(config, line_family.build(config), {}, lambda: Variables(NOTHING), 7)

    monkeypatch.setattr(sgm_jax.compose, "chosen", chosen)


@pytest.fixture
def composed(tmp_path):
    """Compose a list; return its images in levels, their truth and what became of particles."""

    def run(rows, header=HEADER, name="out", changes=None, **options):
        (tmp_path / "events.csv").write_text("\n".join([header, *rows]) + "\n")
        config = tiny_config(tmp_path, **OPTIONS | (changes or {}))
        options = {"canvas": "64x64", "events": str(tmp_path / "events.csv")} | options
        out = compose(config, tmp_path / "run", out=tmp_path / name, **options)
        with (out / "particles.csv").open() as stream:
            table = list(csv.DictReader(stream))
        return np.load(out / "samples.npz"), np.load(out / "truth.npz"), table

    return run


def painted(truth, chosen, shape=(64, 64)):
    """Return the charge in MeV of the chosen rows of a truth as an image."""
    image = np.zeros(shape)
    np.add.at(image, (truth["row"][chosen], truth["column"][chosen]), truth["charge_mev"][chosen])
    return image


def line(energy, length=64, kind=2):
    """Return what a line of this energy leaves in the pixels that it crosses, in MeV."""
    loss = MEV_PER_PIXEL[kind]
    return loss * np.clip(energy / loss - np.arange(length), 0, 1)


def test_particles_meet_at_the_vertex_and_their_charges_are_added(composed):
    stack, truth, table = composed(
        ["0,muon,0,0,120", "0,muon,0,120,0", "0,proton,0,0,320"], header=HEADER
    )
    muon, proton = kinetic([120], MASS_MEV[2]), kinetic([320], MASS_MEV[4])
    known = np.zeros((64, 64))
    known[MIDDLE, MIDDLE:] += line(muon, 32) + line(proton, 32, kind=4)
    known[MIDDLE:, MIDDLE] += line(muon, 32)
    np.testing.assert_allclose(stack["raw"][0, ..., 0], LEVELS_PER_MEV * known, atol=1e-2)
    for number, energy in enumerate((muon, muon, proton)):
        own = painted(truth, truth["particle"] == number)
        np.testing.assert_allclose(own.sum(), energy, rtol=1e-4)
        np.testing.assert_allclose(float(table[number]["charge_mev"]), energy, atol=0.01)
    assert [row["end"] for row in table] == ["inside"] * 3


def test_the_truth_adds_up_to_the_image_and_the_cut_comes_after_the_sum(composed):
    # The last pixel of either line has 3.3 levels: dark alone, and lit together.
    energy = 5 * MEV_PER_PIXEL[3] + 0.33
    p = np.sqrt(energy * (energy + 2 * MASS_MEV[3]))
    rows = [f"{event},pion,0,0,{p}" for event in (3, 3, 8)]
    stack, truth, _ = composed(rows)
    np.testing.assert_array_equal(stack["event"], [3, 8])
    for place, event in enumerate((3, 8)):
        whole = painted(truth, truth["event"] == event)
        raw = stack["raw"][place, ..., 0]
        np.testing.assert_allclose(raw, LEVELS_PER_MEV * whole, atol=1e-3)
    np.testing.assert_array_equal(stack["samples"], to_uint8(stack["raw"]))
    np.testing.assert_array_equal(stack["samples"][:, MIDDLE, MIDDLE + 5, 0], [6, 0])


@pytest.mark.parametrize("momentum", [250.0, 262.0, 301.0, 400.0])
def test_a_track_that_leaves_its_image_is_as_long_as_its_energy(composed, momentum):
    # Wherever it leaves: the last image begins early enough for the least momentum.
    stack, truth, table = composed(
        [f"0,muon,0,0,{momentum},32,4"], header=HEADER + ",row,column", canvas="64x128"
    )
    energy = kinetic([momentum], MASS_MEV[2])
    np.testing.assert_allclose(
        stack["raw"][0, 32, 4:, 0], LEVELS_PER_MEV * line(energy, 124), atol=0.2
    )
    np.testing.assert_allclose(truth["charge_mev"].sum(), energy, rtol=1e-3)
    assert int(table[0]["images"]) > 1 and table[0]["end"] == "inside"


def test_a_slanted_track_keeps_its_direction_and_its_share_out_of_the_plane(composed):
    _, truth, table = composed(["0,muon,200,160,270,10,10"], HEADER + ",row,column")
    row, column = truth["row"] - 10, truth["column"] - 10
    # Its direction is measured on eight pixels only, in images of 16, and no pixel is there twice.
    away = np.abs(row * 270 - column * 160) / np.hypot(270, 160)
    assert away.max() < 0.1 * np.hypot(row, column).max() and int(table[0]["images"]) > 2
    assert truth["charge_mev"].max() < 1.01 * MEV_PER_PIXEL[2]


def test_a_track_ends_with_the_canvas(composed):
    _, truth, table = composed(["0,muon,0,0,900", "1,muon,0,0,-900"])
    for event, places in ((0, np.arange(32, 64)), (1, np.arange(33))):
        np.testing.assert_array_equal(np.sort(truth["column"][truth["event"] == event]), places)
    assert [row["end"] for row in table] == ["canvas"] * 2


def test_an_event_depends_on_the_seed_and_its_own_particles_alone(composed):
    noisy = {"sampling.eta": 3.0}
    event = ["5,muon,0,0,320", "5,pion,0,-200,0"]
    others = [f"{n},proton,0,{300 + n},20" for n in (1, 9, 11)]
    alone, truth, _ = composed(event, name="alone", changes=noisy)
    beside, _, _ = composed(
        [*others, *event], name="beside", changes=noisy | {"eval.batch_size": 16}
    )
    np.testing.assert_array_equal(alone["raw"][0], beside["raw"][1])
    other, _, _ = composed(event, name="seed", changes=noisy | {"seed": 3})
    assert np.abs(other["raw"] - alone["raw"]).max() > 1
    # Equal particles of one event, and those of two, have their own noise.
    _, truth, _ = composed(
        ["5,muon,0,0,120", "5,muon,0,0,120", "6,muon,0,0,120"], name="twins", changes=noisy
    )
    starts = truth["charge_mev"][(truth["row"] == MIDDLE) & (truth["column"] == MIDDLE)]
    assert len(set(starts.tolist())) == 3


def test_a_stopped_composition_goes_on(composed, monkeypatch, tmp_path):
    monkeypatch.setattr(sgm_jax.composed, "BLOCK", 2)
    rows = [f"{event},muon,0,{70 + 0.2 * event},0" for event in range(24)]
    whole, _, _ = composed(rows, name="whole")
    draw_each, calls = sgm_jax.compose.Drawer.draw_each, []

    def stopping(self, variables, numbers, condition, **options):
        calls.append(numbers[0, 0])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw_each(self, variables, numbers, condition, **options)

    monkeypatch.setattr(sgm_jax.compose.Drawer, "draw_each", stopping)
    with pytest.raises(KeyboardInterrupt):
        composed(rows, name="parts")
    resumed, _, _ = composed(rows, name="parts")
    # In batches of eight.
    assert calls == [0, 8, 16, 16]
    np.testing.assert_array_equal(resumed["raw"], whole["raw"])
    composed(rows, name="parts")
    recipe = json.loads((tmp_path / "parts" / "recipe.json").read_text())
    assert recipe["num_samples"] == 24 and recipe["ends"]["inside"] == 24
    with pytest.raises(ValueError, match="another recipe"):
        composed(rows[:5], name="parts")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["0,kaon,0,0,300"], {}, "row 0 has the unknown particle 'kaon'; known are electron"),
        (["0,muon,0,0,300", "0,muon,0,nan,3"], {}, "row 1 has the momentum"),
        (["0,muon,0,0,0"], {}, "zero"),
        ([], {}, "no rows"),
        (["-1,muon,0,0,300"], {}, "event '-1'"),
        (["0,muon,0,0,300,64,2"], {}, "64, 2, outside of the canvas"),
        (["0,muon,0,0,300,1,2", "0,muon,0,0,300,1,3"], {}, "one vertex"),
        (["0,muon,0,0,3000"], {}, "add --extrapolate"),
        (["0,muon,0,0,300"], {"canvas": "64"}, "HEIGHTxWIDTH"),
        (["0,muon,0,0,300"], {"changes": {"simulation.scaling": "per_image"}}, "on one scale"),
        (["0,muon,0,0,300"], {"changes": {"simulation.crop": "charge_centroid"}}, "in the middle"),
        (["0,photon,0,0,300"], {}, "its 8 cm each way"),
    ],
)
def test_what_cannot_be_composed_is_refused(composed, rows, options, message):
    long = any(row.count(",") > 4 for row in rows)
    with pytest.raises(ValueError, match=message):
        composed(rows, HEADER + ",row,column" * long, **options)


def test_showers_that_leave_their_images_are_drawn_on_request_only(composed):
    wide = {"simulation.pixel_mm": 40.0}
    below, above = ([f"0,electron,0,{SHOWERS['electron'] + step},0"] for step in (-1, 1))
    composed(below, name="below", changes=wide)
    with pytest.raises(ValueError, match="add --incomplete"):
        composed(above, changes=wide)
    _, _, table = composed(above, changes=wide, incomplete=True)
    assert [row["end"] for row in table] == ["unfinished"]
