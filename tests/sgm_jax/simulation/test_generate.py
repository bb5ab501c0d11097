import io
import multiprocessing
import os
import signal
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from sgm_jax.simulation.chunk import encode_png
from sgm_jax.simulation.config import default_simulation_config
from sgm_jax.simulation.generate import simulate
from sgm_jax.simulation.particles import MASS_MEV, ParticleKind
from sgm_jax.simulation.truth import PixelClass, fold_to_ssnet

pytest.importorskip("calzone")
pytestmark = pytest.mark.usefixtures("data_folder")
SEED = 5
NUM_TRAIN, NUM_TEST = 130, 25


def small_config(**changes):
    config = default_simulation_config()
    config.num_train, config.num_test, config.num_workers = NUM_TRAIN, NUM_TEST, 1
    config.events_per_chunk = 15
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, data_folder):
    out = tmp_path_factory.mktemp("simulated") / "data"
    return out, simulate(small_config(), out, seed=SEED, progress=False)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def images(out, split):
    folder = out / split / "larcv_png_64"
    paths = [folder / f"larcv_64_{i}.png" for i in range(len(list(folder.iterdir())))]
    return np.stack([np.array(Image.open(path)) for path in paths])


def labels(out, split):
    with h5py.File(out / "labels.h5") as file:
        return {name: table[:] for name, table in file[split].items()}


def test_the_asked_number_of_eight_bit_grey_images_is_there(dataset):
    out, summary = dataset
    assert summary.images == {"train": NUM_TRAIN, "test": NUM_TEST}
    for split, count in summary.images.items():
        found = images(out, split)
        assert found.shape == (count, 64, 64) and found.dtype == np.uint8
    with Image.open(out / "train/larcv_png_64/larcv_64_0.png") as image:
        assert image.mode == "L"


def test_equal_seeds_give_equal_bytes_for_one_and_two_processes(dataset, tmp_path):
    out, _ = dataset
    simulate(small_config(num_workers=2), tmp_path / "two", seed=SEED, progress=False)
    assert files(tmp_path / "two") == files(out)


def test_another_seed_gives_other_images(dataset, tmp_path):
    config = small_config(num_train=5, num_test=0)
    simulate(config, tmp_path / "other", seed=SEED + 1, progress=False)
    assert not np.array_equal(images(tmp_path / "other", "train"), images(dataset[0], "train")[:5])


def test_train_and_test_share_no_event(dataset):
    out, _ = dataset
    train, test = labels(out, "train"), labels(out, "test")
    assert not set(train["event_id"]) & set(test["event_id"])
    assert not set(map(tuple, train["momentum_mev"])) & set(map(tuple, test["momentum_mev"]))


def test_an_event_gives_at_most_one_image_for_each_projection(dataset):
    train = labels(dataset[0], "train")
    pairs = list(zip(train["event_id"], train["projection"], strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(train["projection"]) == {0, 1, 2}


def test_labels_cover_exactly_the_lit_pixels_and_enough_of_them_are_lit(dataset):
    for split in ("train", "test"):
        found, truth = images(dataset[0], split), labels(dataset[0], split)
        assert np.array_equal(truth["pixel_label"] > 0, found > 0)
        assert (found > 0).sum(axis=(1, 2)).min() >= 41
        assert set(np.unique(truth["pixel_label"])) <= set(PixelClass)


def test_muon_crops_are_tracks_and_electron_crops_are_showers(dataset):
    truth = labels(dataset[0], "train")
    track = (fold_to_ssnet(truth["pixel_label"]) == PixelClass.TRACK).sum(axis=(1, 2))
    share = track / (truth["pixel_label"] > 0).sum(axis=(1, 2))
    assert share[truth["particle"] == ParticleKind.ELECTRON].mean() < 0.02
    assert share[truth["particle"] == ParticleKind.MUON].mean() > 0.8
    assert share[truth["particle"] == ParticleKind.PROTON].mean() > 0.8


def test_michels_and_deltas_come_from_heavy_particles_only(dataset):
    truth = labels(dataset[0], "train")
    michel = (truth["pixel_label"] == PixelClass.MICHEL).any(axis=(1, 2))
    delta = (truth["pixel_label"] == PixelClass.DELTA).any(axis=(1, 2))
    assert set(truth["particle"][michel]) <= {ParticleKind.MUON, ParticleKind.PION}
    assert ParticleKind.MUON in truth["particle"][delta]
    assert ParticleKind.ELECTRON not in truth["particle"][delta]


def test_kinetic_energies_obey_the_mass_shell_and_events_have_one_particle(dataset):
    truth = labels(dataset[0], "train")
    mass = MASS_MEV[truth["particle"]]
    energy = truth["kinetic_mev"].astype(float) + mass
    momentum = np.linalg.norm(truth["momentum_mev"].astype(float), axis=1)
    np.testing.assert_allclose(energy**2, momentum**2 + mass**2, rtol=1e-5)
    assert np.all(truth["num_particles"] == 1)


def test_tracks_start_at_a_lit_pixel_and_lead_along_the_momentum(dataset):
    truth, found = labels(dataset[0], "train"), images(dataset[0], "train")
    start = np.floor(truth["start_px"]).astype(int)
    inside = np.all((start >= 1) & (start < 63), axis=1)
    heavy = (truth["particle"] == ParticleKind.MUON) | (truth["particle"] == ParticleKind.PROTON)
    rows = np.flatnonzero(inside & heavy)
    assert rows.size > 10
    lit_at_start, along = 0, 0
    for i in rows:
        row, column = start[i]
        lit_at_start += found[i, row - 1 : row + 2, column - 1 : column + 2].any()
        direction = np.delete(truth["momentum_mev"][i], truth["projection"][i])
        lit = np.argwhere(found[i]) + 0.5 - truth["start_px"][i]
        along += lit.mean(axis=0) @ direction > 0.0
    assert lit_at_start == rows.size and along >= 0.8 * rows.size


def test_the_projections_of_an_event_agree_on_its_vertex(dataset):
    truth = labels(dataset[0], "train")
    corner = truth["view_origin_px"] + truth["crop_origin_px"]
    place = truth["start_px"] + corner
    for event in np.unique(truth["event_id"]):
        seen = {
            truth["projection"][i]: place[i] for i in np.flatnonzero(truth["event_id"] == event)
        }
        if len(seen) == 3:
            np.testing.assert_allclose(seen[0], [seen[2][1], seen[1][1]], atol=1e-3)
            assert seen[1][0] == pytest.approx(seen[2][0], abs=1e-3)


def test_the_scale_turns_counts_back_into_the_energy_of_the_crop(dataset):
    out, _ = dataset
    truth = labels(out, "train")
    counts = images(out, "train").sum(axis=(1, 2), dtype=float)
    energy_mev = counts / truth["counts_per_mev"]
    np.testing.assert_allclose(energy_mev, truth["crop_energy_mev"], rtol=0.05)
    assert np.all(truth["crop_energy_mev"] <= truth["event_energy_mev"] * 1.001)


def test_the_centre_of_charge_lies_in_the_middle_of_most_crops(dataset):
    found = images(dataset[0], "train").astype(float)
    place = np.arange(64.0)
    row = found.sum(axis=2) @ place / found.sum(axis=(1, 2))
    assert np.mean(np.abs(row - 32.0) < 12.0) > 0.9


def test_a_complete_data_set_of_the_same_recipe_is_kept(dataset):
    out, summary = dataset
    before = files(out)
    again = simulate(small_config(num_workers=2), out, seed=SEED, progress=False)
    assert again.reused and again.images == summary.images and again.events == summary.events
    assert files(out) == before


def test_a_data_set_of_another_recipe_is_refused_with_the_difference(dataset):
    with pytest.raises(ValueError, match=r"seed: 5 there, 6 here.*another output folder"):
        simulate(small_config(), dataset[0], seed=SEED + 1, progress=False)
    with pytest.raises(ValueError, match=r"threshold_mev: 0.03 there, 0.1 here"):
        simulate(small_config(threshold_mev=0.1), dataset[0], seed=SEED, progress=False)


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        simulate(small_config(), tmp_path, seed=SEED, progress=False)
    assert files(tmp_path).popitem()[1] == b"precious"


def test_a_killed_process_is_reported_quickly_and_leaves_no_folder(tmp_path):
    def kill_first_child():
        while not (children := multiprocessing.active_children()):
            time.sleep(0.05)
        time.sleep(1.0)
        os.kill(children[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_first_child)
    killer.start()
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="process died"):
        simulate(small_config(num_train=10**6), tmp_path / "out", seed=SEED, progress=False)
    killer.join()
    assert time.monotonic() - started < 60.0
    assert not (tmp_path / "out").exists()


def test_settings_that_let_no_image_pass_are_reported(tmp_path):
    config = small_config(threshold_mev=1e6, events_per_chunk=1)
    with pytest.raises(ValueError, match="no image in 20 chunks"):
        simulate(config, tmp_path / "out", seed=SEED, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_calzone_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "calzone", None)
    with pytest.raises(ModuleNotFoundError, match=r"sgm_jax\[sim\]"):
        simulate(small_config(), tmp_path / "out", seed=SEED, progress=False)


def test_png_bytes_decode_to_the_same_pixels():
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.array_equal(np.array(Image.open(io.BytesIO(encode_png(image)))), image)


def test_an_error_in_a_process_reaches_the_caller(tmp_path, monkeypatch):
    (tmp_path / "official").mkdir()
    monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path / "official"))
    with pytest.raises(FileNotFoundError, match="dataset"):
        simulate(small_config(), tmp_path / "out", seed=SEED, progress=False)
    assert not list(tmp_path.glob("out*"))
