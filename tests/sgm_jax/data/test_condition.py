"""What images show: read from labels and from files, in the frame of the image, or refused."""

import h5py
import numpy as np
import pytest

from sgm_jax.data import Batches, from_array, open_condition, read_condition
from sgm_jax.data.condition import (
    DOWN,
    KINDS,
    RIGHT,
    SIGHT,
    mirrored,
    momentum_range,
    turned,
)
from sgm_jax.simulation.config import KIND_NAMES, default_simulation_config
from sgm_jax.simulation.crops import cut
from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.particles import ParticleKind
from sgm_jax.simulation.truth import PixelClass

RNG = np.random.default_rng(0)
PARTICLES = ("muon", "proton")
NAMES = ["proton", "muon", "muon"]
MOMENTUM = np.array([[1.0, 2.5, -300.0], [0.0, 0.0, 40.0], [-7.0, 8.0, 9.0]])


def write(path, particle=NAMES, momentum=MOMENTUM, group=""):
    """Write conditions in the format that the suffix of a path says."""
    momentum = np.asarray(momentum)
    if path.suffix == ".csv":
        rows = zip(particle, momentum.tolist(), strict=True)
        lines = [",".join(map(str, [name, *numbers])) for name, numbers in rows]
        path.write_text("\n".join(["particle,px,py,pz", *lines]) + "\n")
    elif path.suffix == ".npz":
        np.savez(path, particle=np.array(particle), momentum=momentum)
    else:
        particle = np.array(particle)
        with h5py.File(path, "w") as file:
            texts = particle.astype(object) if particle.dtype.kind == "U" else particle
            file[f"{group}particle"], file[f"{group}momentum"] = texts, momentum
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.h5", "a.hdf5"])
@pytest.mark.parametrize("particle", [NAMES, [1, 0, 0]])
def test_files_of_all_formats_give_the_same_condition(tmp_path, name, particle):
    condition = read_condition(write(tmp_path / name, particle), particles=PARTICLES)
    assert condition["particle"].dtype == np.int32 and condition["momentum"].dtype == np.float32
    assert condition["particle"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(condition["momentum"], MOMENTUM.astype(np.float32))


def test_a_group_of_a_file_can_be_meant_and_names_be_bytes(tmp_path):
    path = write(tmp_path / "a.h5", np.array(NAMES, "S"), group="mine/train/")
    for group in ("mine/train", "/mine/train/"):
        condition = read_condition(f"{path}::{group}", particles=PARTICLES)
        assert condition["particle"].tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="mine/train/particle"):
        read_condition(path, particles=PARTICLES)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.h5"])
def test_only_what_is_asked_needs_to_be_there(tmp_path, name):
    path = tmp_path / name
    if name == "a.csv":
        path.write_text("\ufeffnote, pz, px ,py\nfirst,3,1,2\n\nsecond,6,4,5\n")
    elif name == "a.npz":
        np.savez(path, momentum=[[1, 2, 3], [4, 5, 6]])
    else:
        with h5py.File(path, "w") as file:
            file["momentum"] = [[1, 2, 3], [4, 5, 6]]
    condition = read_condition(str(path), fields=("momentum",))
    assert condition.keys() == {"momentum"}
    assert condition["momentum"].tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="particle"):
        read_condition(str(path), particles=PARTICLES)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.h5"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"particle": ["muon", "kaon", "muon"]}, "row 1 .*'kaon'; known are muon, proton, or 0 to"),
        ({"particle": [0, 1, 2]}, "row 2 has the unknown particle '?2"),
        ({"particle": [0, -1, 1]}, "row 1 has the unknown particle '?-1"),
        ({"momentum": [[1, 2, 3], [1, np.nan, 3], [1, 2, np.nan]]}, r"row 1 .*nan.* is no number"),
        ({"momentum": [[1, 2, 3], [4, 5, 6], [1, np.inf, 3]]}, "row 2 has .*inf"),
        ({"momentum": [[1, 2, 3], [0, 0, 0], [1, 1, 3]]}, "row 1 .*zero"),
        ({"momentum": [[1, 2, 3], [4, 5, 6], [1e39, 1, 3]]}, "row 2 has .*1e.39"),
        ({"particle": np.zeros(0, int), "momentum": np.zeros((0, 3))}, "no rows"),
    ],
)
def test_rows_that_are_no_condition_are_named(tmp_path, name, changes, message):
    with pytest.raises(ValueError, match=message):
        read_condition(write(tmp_path / name, **changes), particles=PARTICLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header must have 'particle'"),
        ("particle,px,py\nmuon,1,2\n", "'pz' once"),
        ("particle,px,px,py,pz\nmuon,1,2,3,4\n", "'px' once"),
        ("particle,px,py,pz\nmuon,1,2,3\nmuon,1,2\n", "row 1 has 3 values and the header 4"),
        ("particle,px,py,pz\nmuon,1,2,3\nmuon,1,,3\n", "row 1 has a momentum of ''"),
        ("particle,px,py,pz\nmuon,1,2,three\n", "row 0 has a momentum of 'three'"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_condition(str(tmp_path / "a.csv"), particles=PARTICLES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"particle": [0, 1], "momentum": np.ones((3, 3))}, "2 of particle and 3 of momentum"),
        ({"particle": [0, 1], "momentum": np.ones((2, 4))}, r"\(2, 4\)"),
        ({"particle": [0, 1], "momentum": np.array([["a", "b", "c"]] * 2)}, "momenta are <U1"),
        ({"particle": [0.5, 1], "momentum": np.ones((2, 3))}, "particles are float64"),
        ({"particle": np.array(["muon", None]), "momentum": np.ones((2, 3))}, "objects"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_condition(str(tmp_path / "a.npz"), particles=PARTICLES)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.h5", "a.txt"])
def test_what_is_no_file_of_conditions_is_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"a\..* \(working directory"):
        read_condition(str(tmp_path / name))
    (tmp_path / name).write_bytes(b"\xff\x00damaged")
    with pytest.raises(ValueError, match=name):
        read_condition(str(tmp_path / name))


def test_each_of_the_two_sets_has_a_file_of_its_own(tmp_path):
    write(tmp_path / "train.csv"), write(tmp_path / "test.csv", NAMES[:1], MOMENTUM[:1])
    options = {"images": "images.npy", "particles": PARTICLES}
    source = str(tmp_path / "{split}.csv")
    assert len(open_condition(source, split="train", count=3, **options)["particle"]) == 3
    assert len(open_condition(source, split="test", count=1, **options)["particle"]) == 1
    with pytest.raises(ValueError, match=r"test.csv has .* 1 images, and images.npy holds 3"):
        open_condition(source, split="test", count=3, **options)
    with pytest.raises(ValueError, match=r"write \{split\} where"):
        open_condition(str(tmp_path / "train.csv"), split="train", count=3, **options)


# ---------------------------------------------------------------------------- labels


def simulated(folder, **changes):
    """Write labels of four images as the simulation does, and return the path of the images."""
    tables = {
        "particle": np.array([4, 2, 2, 4], np.uint8),
        "momentum_mev": np.arange(1, 13, dtype=np.float32).reshape(4, 3),
        "projection": np.array([0, 1, 2, 0], np.uint8),
        "num_particles": np.ones(4, np.uint16),
    }
    with h5py.File(folder / "labels.h5", "w") as file:
        for name, values in (tables | changes).items():
            if values is not None:
                file[f"train/{name}"] = values
    return str(folder / "train/larcv_png_64")


def labelled(images, **options):
    return open_condition("labels", images, split="train", count=4, **options)


def test_kinds_are_those_of_the_simulation():
    assert KINDS == KIND_NAMES == tuple(kind.name.lower() for kind in ParticleKind)


def test_labels_beside_images_are_read_in_the_frame_of_each_image(tmp_path):
    condition = labelled(simulated(tmp_path), particles=PARTICLES)
    assert condition["particle"].tolist() == [1, 0, 0, 1]
    momentum = [[1, 2, 3], [5, 4, 6], [9, 7, 8], [10, 11, 12]]
    assert condition["momentum"].tolist() == momentum
    assert labelled(simulated(tmp_path), fields=("momentum",)).keys() == {"momentum"}


def test_labels_of_a_simulation_are_a_file_of_conditions(tmp_path):
    images = simulated(tmp_path)
    condition = read_condition(f"{tmp_path}/labels.h5::train", particles=PARTICLES)
    for name, values in labelled(images, particles=PARTICLES).items():
        np.testing.assert_array_equal(condition[name], values)
    with pytest.raises(ValueError, match=r"write .*labels.h5::train$"):
        read_condition(f"{tmp_path}/labels.h5", particles=PARTICLES)
    with pytest.raises(ValueError, match="shows 3 particles"):
        simulated(tmp_path, num_particles=np.array([1, 1, 3, 1]))
        read_condition(f"{tmp_path}/labels.h5::train", particles=PARTICLES)


def test_some_rows_of_a_file_can_be_meant(tmp_path):
    simulated(tmp_path)
    path = f"{tmp_path}/labels.h5::train"
    whole = read_condition(path, particles=PARTICLES)
    for rows in ("1:3", "1:", ":2", "0:4"):
        some = read_condition(f"{path}[{rows}]", particles=PARTICLES)
        first, stop = (int(text) if text else None for text in rows.split(":"))
        for name, values in whole.items():
            np.testing.assert_array_equal(some[name], values[first:stop])
    mine = write(tmp_path / "a.npz")
    assert len(read_condition(f"{mine}::[0:2]", particles=PARTICLES)["particle"]) == 2
    for rows in ("0:5", "3:3", "4:", "2:1"):
        with pytest.raises(ValueError, match="there are rows 0 to 3"):
            read_condition(f"{path}[{rows}]", particles=PARTICLES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_particles": np.array([1, 1, 3, 1])}, "image 2 shows 3 particles"),
        ({"projection": None}, "no train/projection"),
        (
            {"particle": np.array([4, 2, 1, 4])},
            "row 2 has the unknown particle 'photon'; known are",
        ),
        ({"particle": np.array([4, 2, 9, 4])}, "not what the simulation writes"),
        ({"projection": np.array([0, 1, 3, 0])}, "not what the simulation writes"),
        ({"projection": np.array([0, 1])}, "not what the simulation writes"),
    ],
)
def test_labels_that_say_something_else_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        labelled(simulated(tmp_path, **changes), particles=PARTICLES)


def test_labels_that_are_missing_or_of_other_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*labels.h5.*--config.data.condition="):
        labelled(str(tmp_path / "train/larcv_png_64"), particles=PARTICLES)
    images = simulated(tmp_path)
    with pytest.raises(ValueError, match="conditions of 4 images, and .* holds 5"):
        open_condition("labels", images, split="train", count=5, particles=PARTICLES)
    with pytest.raises(ValueError, match="no test/particle"):
        labelled(images.replace("train", "test"), particles=PARTICLES)


# ---------------------------------------------------------------------------- the frame


def track(direction):
    """Return the charge of a straight track from the middle of the argon."""
    place = 384 + np.rint(np.arange(30)[:, None] * np.asarray(direction)).astype(np.int64)
    kind = np.full(30, PixelClass.TRACK)
    return Charge(
        event=np.zeros(30, np.int64),
        is_track=np.ones(30, bool),
        energy_mev=np.ones(30),
        charge_mev=np.ones(30),
        class_mev=1.0 * (kind[:, None] == np.arange(len(PixelClass))),
        first_px=place,
        share=np.ones((30, 3, 1)),
    )


def seen(image):
    """Return how far down and to the right of the middle the charge of an image lies."""
    rows, columns = np.nonzero(image)
    return rows.mean() - 32, columns.mean() - 32


@pytest.fixture(scope="module")
def tracks():
    """Images of straight tracks along all axes of view, and what they show."""
    config = default_simulation_config()
    config.crop, config.min_lit_fraction = "start", 0.001
    images, momenta, projections = [], [], []
    for direction in RNG.normal(size=(40, 3)):
        direction /= np.linalg.norm(direction)
        for projection in range(3):
            crop = cut(track(direction), projection, np.full(3, 384), config, rng=RNG)
            images.append(crop.image)
            momenta.append(300 * direction)
            projections.append(projection)
    return np.array(images), np.array(momenta), np.array(projections)


def test_the_components_of_a_momentum_point_where_the_track_goes_in_the_image(tracks):
    images, momenta, projections = tracks
    for image, (_, down, right) in zip(images, turned(momenta, projections), strict=True):
        # The mean of a track of 30 pixels, one to a step, is 14.5 steps from its start.
        expected = 14.5 * np.array([down, right]) / 300
        np.testing.assert_allclose(seen(image), expected, atol=1.5)
    sight = np.take_along_axis(momenta, projections[:, None], axis=1)
    np.testing.assert_array_equal(turned(momenta, projections)[:, [SIGHT]], sight)


def test_a_flip_takes_the_momentum_along(tracks):
    images, momenta, projections = tracks
    condition = {
        "momentum": turned(momenta, projections).astype(np.float32),
        "particle": np.arange(len(images), dtype=np.int32),
    }
    options = {"batch_size": 64, "seed": 1, "scale": None, "condition": condition}
    stored = from_array(images, num_channels=1, image_size=64)
    batch = Batches(stored, random_flip=True, **options).at(1)
    plain = Batches(stored, random_flip=False, **options).at(1)
    flipped = (batch["image"] != plain["image"]).any(axis=(1, 2, 3))
    assert 10 < flipped.sum() < 54
    ours, theirs = batch["condition"]["momentum"], plain["condition"]["momentum"]
    np.testing.assert_array_equal(ours[:, [SIGHT, DOWN]], theirs[:, [SIGHT, DOWN]])
    np.testing.assert_array_equal(ours[:, RIGHT], np.where(flipped, -1, 1) * theirs[:, RIGHT])
    for image, (_, down, right) in zip(batch["image"][..., 0], ours, strict=True):
        np.testing.assert_allclose(seen(image), 14.5 * np.array([down, right]) / 300, atol=2)
    np.testing.assert_array_equal(batch["condition"]["particle"], plain["condition"]["particle"])
    # What was read stays what it was.
    np.testing.assert_array_equal(condition["momentum"], turned(momenta, projections).astype("f4"))


def test_a_condition_without_momenta_is_its_own_mirror_image():
    condition = {"particle": np.arange(3)}
    assert mirrored(condition, np.ones(3, bool)) is condition


# ---------------------------------------------------------------------------- what is kept of it


def test_the_range_of_momenta_is_that_of_all_and_of_each_kind():
    momentum = np.array([[3, 4, 0], [0, 0, 2], [0, -10, 0]], np.float32)
    condition = {"particle": np.array([0, 2, 2]), "momentum": momentum}
    assert momentum_range(condition, 3) == (2, 10, 5, 5, 0, 0, 2, 10)
    assert momentum_range({"momentum": momentum}, 0) == (2, 10)
    assert momentum_range({"particle": condition["particle"]}, 3) == ()
