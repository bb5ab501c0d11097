"""Detector options of the simulation, end to end."""

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from sgm_jax.simulation.chunk import ChunkSimulator
from sgm_jax.simulation.config import default_simulation_config
from sgm_jax.simulation.generate import simulate
from sgm_jax.simulation.truth import PixelClass

pytest.importorskip("calzone")
# What data sets that exist were made with.
SETTINGS = "dae48ed61c55822f"


def settings(**changes):
    config = default_simulation_config()
    config.num_train, config.num_test, config.num_workers, config.events_per_chunk = 30, 9, 1, 12
    config.update(changes)
    return config


@pytest.fixture
def make(geant4_data, monkeypatch):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))

    def run(number=0, **changes):
        chunk = ChunkSimulator(settings(**changes), geant4_data).make(3, 0, number)
        return decode(chunk.pngs), chunk.labels

    return run


def decode(pngs):
    return np.stack([np.array(Image.open(io.BytesIO(png))) for png in pngs])


@pytest.mark.parametrize("scaling", ["per_image", "absolute"])
def test_the_image_in_mev_times_its_scale_is_the_eight_bit_image(make, scaling):
    images, labels = make(write_mev=True, scaling=scaling)
    mev = labels["image_mev"].astype(float)
    assert labels["image_mev"].dtype == np.float32
    counts = np.minimum(mev * labels["counts_per_mev"][:, None, None], 255.0)
    # Half a count of rounding, and what single precision adds to it.
    np.testing.assert_allclose(counts, images, atol=0.5001)
    assert np.array_equal(images, make(scaling=scaling)[0])
    lit = np.where(images > 0, mev, 0.0).sum(axis=(1, 2))
    np.testing.assert_allclose(lit, labels["crop_energy_mev"], rtol=1e-4)


@pytest.mark.parametrize("name", ["birks", "modified_box"])
def test_recombination_dims_protons_more_than_muons_and_keeps_minimum_ionisation(make, name):
    _, labels = make(write_mev=True, recombination=name)
    charge = labels["image_mev"].astype(float).sum(axis=(1, 2)) / labels["crop_energy_mev"]
    muon, proton = (charge[labels["particle"] == kind] for kind in (2, 4))
    assert np.median(muon) == pytest.approx(1.0, abs=0.06)
    assert np.median(proton) < np.median(muon) - 0.05


def test_a_short_lifetime_dims_what_lies_far_from_the_anode(make):
    _, labels = make(write_mev=True, electron_lifetime_ms=1.0, crop="random_lit_pixel")
    charge = labels["image_mev"].astype(float).sum(axis=(1, 2)) / labels["crop_energy_mev"]
    along_rows = labels["projection"] > 0  # the rows of these are the drift axis
    corner = labels["view_origin_px"] + labels["crop_origin_px"]
    drift_ms = (corner[along_rows, 0] + 32) * 3.0 / 1.6 * 1e-3
    # A crop is 0.12 ms deep, so its charge lies within exp(+-0.06) of that of its middle.
    np.testing.assert_allclose(charge[along_rows], np.exp(-drift_ms), rtol=0.08)


def test_noise_changes_the_image_but_not_the_truth_about_the_event(make):
    quiet, truth = make(threshold_mev=0.2)
    noisy, labels = make(threshold_mev=0.2, noise_mev=0.04)
    again, _ = make(threshold_mev=0.2, noise_mev=0.04)
    assert np.array_equal(noisy, again) and not np.array_equal(noisy[0], quiet[0])
    assert set(labels["event_energy_mev"]) & set(truth["event_energy_mev"])
    assert not labels["pixel_label"][noisy == 0].any()


def test_random_crops_of_other_sizes_lie_in_their_view(make):
    images, labels = make(crop="random_lit_pixel", image_size=128, view_size=300)
    assert images.shape[1:] == labels["pixel_label"].shape[1:] == (128, 128)
    origin = labels["crop_origin_px"]
    assert origin.min() >= 0 and origin.max() <= 300 - 128 and np.ptp(origin) > 50


def test_crops_at_the_start_hold_it_in_their_middle_pixel_in_every_projection(make):
    images, labels = make(crop="start", min_lit_fraction=0.002)
    assert np.all(np.floor(labels["start_px"]) == 32)
    assert set(labels["projection"]) == {0, 1, 2}
    corner = labels["view_origin_px"] + labels["crop_origin_px"]
    assert corner.min() >= 0 and corner.max() <= 768 - 64
    charged = labels["particle"] != 1
    # The pixel of the vertex may be left over a corner.
    assert images[charged, 31:34, 31:34].any(axis=(1, 2)).all()


def test_one_scale_for_all_images_counts_what_it_clips(make, tmp_path, geant4_data, monkeypatch):
    options = {"scaling": "absolute", "counts_per_mev": 80.0, "write_mev": True}
    images, labels = make(**options)
    full = np.floor(labels["image_mev"].astype(float) * 80.0 + 0.5) > 255
    assert np.array_equal(labels["clipped_pixels"], full.sum(axis=(1, 2))) and full.any()
    assert np.all(images[full] == 255)
    assert "clipped_pixels" not in make()[1]
    monkeypatch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))
    for _ in ("made", "found"):
        summary = simulate(settings(**options), tmp_path / "out", seed=4, progress=False)
        with h5py.File(tmp_path / "out/labels.h5") as file:
            clipped = {split: file[split]["clipped_pixels"][:] for split in ("train", "test")}
        assert summary.clipped_pixels == {split: n.sum() for split, n in clipped.items()}
        assert summary.clipped_images == {split: (n > 0).sum() for split, n in clipped.items()}
        assert summary.mev_per_level == 0.0125
    recipe = json.loads((tmp_path / "out/recipe.json").read_text())
    assert recipe["mev_per_level"] == 0.0125


def test_the_default_set_has_a_scale_for_each_image_and_nothing_new(
    tmp_path, geant4_data, monkeypatch
):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))
    summary = simulate(settings(num_train=3, num_test=0), tmp_path / "out", seed=4, progress=False)
    assert summary.mev_per_level is None
    assert not any(summary.clipped_images.values())
    recipe = json.loads((tmp_path / "out/recipe.json").read_text())
    names = {"seed", "simulation", "geant4", "geant4_data", "physics_list", "versions"}
    assert recipe.keys() == names
    del recipe["simulation"]["num_train"], recipe["simulation"]["num_test"]
    stated = json.dumps(recipe["simulation"], sort_keys=True).encode()
    assert hashlib.sha256(stated).hexdigest()[:16] == SETTINGS


def test_an_image_of_512_pixels_works(make):
    images, labels = make(image_size=512, view_size=768, min_lit_fraction=1e-4)
    assert images.shape[1:] == (512, 512) and len(images) > 3
    assert np.array_equal(images > 0, labels["pixel_label"] > 0)


def test_events_of_several_particles_list_them_all(tmp_path, geant4_data, monkeypatch):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))
    config = settings(particles_per_event=(1, 3))
    simulate(config, tmp_path / "out", seed=4, progress=False)
    with h5py.File(tmp_path / "out/labels.h5") as file:
        for split in ("train", "test"):
            image = {name: table[:] for name, table in file[split].items()}
            primary = {name: table[:] for name, table in file["primaries"][split].items()}
            assert set(primary["event_id"]) == set(image["event_id"])
            for event in np.unique(image["event_id"]):
                row = np.flatnonzero(image["event_id"] == event)[0]
                mine = np.flatnonzero(primary["event_id"] == event)
                best = mine[primary["kinetic_mev"][mine].argmax()]
                assert image["num_particles"][row] == mine.size
                for field in ("particle", "pdg", "momentum_mev", "kinetic_mev"):
                    assert np.array_equal(image[field][row], primary[field][best])
        assert set(image["num_particles"]) | set(file["train/num_particles"]) == {1, 2, 3}


def test_single_particles_have_no_table_of_primaries(tmp_path, geant4_data, monkeypatch):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))
    simulate(settings(num_train=3, num_test=0), tmp_path / "out", seed=4, progress=False)
    with h5py.File(tmp_path / "out/labels.h5") as file:
        assert list(file) == ["test", "train"] and "image_mev" not in file["train"]


def test_labels_name_every_class(make):
    _, labels = make(events_per_chunk=100)
    assert set(np.unique(labels["pixel_label"])) == set(PixelClass)
