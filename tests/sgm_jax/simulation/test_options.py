"""Detector options of the simulation, end to end."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from sgm_jax.simulation.chunk import ChunkSimulator
from sgm_jax.simulation.config import default_simulation_config
from sgm_jax.simulation.generate import simulate
from sgm_jax.simulation.truth import PixelClass

pytest.importorskip("calzone")


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
