import json
import shutil
import signal

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import ssnet as ssnet_config
from evaluation.ssnet import training
from evaluation.ssnet.data import augment, open_labelled, open_training
from evaluation.ssnet.training import PixelMetrics, segmentation_loss
from evaluation.ssnet.weights import load
from sgm_jax.data import Batches
from sgm_jax.run import checkpoints
from sgm_jax.run.interruption import Interrupted
from sgm_jax.run.lock import locked
from sgm_jax.run.progress import Progress
from tests.evaluation.small_ssnet import write_labelled


@pytest.fixture(autouse=True)
def promotion(optax_promotion):
    return optax_promotion


def tiny_config(folder, **overrides):
    config = ssnet_config.get_config()
    config.data.train_path = str(folder / "train.npy")
    config.data.test_path = str(folder / "test.npy")
    config.data.labels_path = str(folder / "labels.h5")
    config.data.image_size = 16
    config.model.filters = 2
    config.model.num_strides = 3
    config.training.batch_size = 8
    config.training.num_epochs = 2
    config.training.log_freq = 1
    config.training.snapshot_freq = 1
    config.eval.batch_size = 8
    config.eval.num_images = 8
    config.update_from_flattened_dict(overrides)
    return config


def opened(folder, split="train"):
    return open_labelled(
        str(folder / f"{split}.npy"), str(folder / "labels.h5"), split=split, image_size=16
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run: its folder, configuration and final state."""
    folder = tmp_path_factory.mktemp("ssnet")
    write_labelled(folder)
    config = tiny_config(folder)
    with jax.numpy_dtype_promotion("standard"):
        return folder, config, training.train(config, folder / "run")


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_stopped_run_ends_bit_for_bit_where_an_uninterrupted_one_does(
    finished, tmp_path, monkeypatch
):
    _, config, whole = finished
    write = Progress.write

    def write_and_stop(self, step, numbers):
        write(self, step, numbers)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="step 2 is saved"):
        patched.setattr(Progress, "write", write_and_stop)
        training.train(config, tmp_path)
    resumed = training.train(config, tmp_path)
    assert resumed.step == whole.step == 6
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_each_epoch_reports_its_numbers_and_the_last_looks_at_all_images(finished):
    folder, _, _ = finished
    epochs = [line for line in metrics_of(folder / "run") if "test" in line]
    assert [line["step"] for line in epochs] == [3, 6]
    assert [line["test"]["images"] for line in epochs] == [8, 24]
    names = {"accuracy", "track_efficiency", "shower_purity", "track_iou", "calibration"}
    assert names <= epochs[-1]["test"].keys()


def test_the_last_updates_hold_the_running_statistics_and_change_the_weights(finished):
    folder, config, last = finished  # six updates, of which one settles
    before = checkpoints.load(folder / "run", 5, jax.eval_shape(lambda: last))
    assert config.training.settling_fraction * 6 == pytest.approx(0.9)
    jax.tree.map(np.testing.assert_array_equal, before.extra, last.extra)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(last.extra["conv1"]))
    pairs = zip(jax.tree.leaves(before.params), jax.tree.leaves(last.params), strict=True)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


def test_exported_weights_label_as_the_trained_network_does(finished, tmp_path):
    folder, config, state = finished
    training.export(config, folder / "run", tmp_path / "w.npz", dtype="float32")
    weights = load(tmp_path / "w.npz")
    expected = {"params": state.params, "batch_stats": state.extra}
    jax.tree.map(np.testing.assert_array_equal, weights.variables, jax.device_get(expected))


def test_a_run_begins_with_the_weights_that_are_named(finished, tmp_path):
    folder, config, whole = finished
    training.export(config, folder / "run", tmp_path / "first.npz", dtype="float32")
    again = tiny_config(folder)
    again.training.initial_weights = str(tmp_path / "first.npz")
    again.training.num_epochs, again.optim.lr = 1, 0.0
    state = training.train(again, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, state.params, whole.params)
    assert state.step == 3
    # The file may have been moved since, and the labels.
    (tmp_path / "first.npz").rename(tmp_path / "moved.npz")
    again.training.initial_weights = str(tmp_path / "moved.npz")
    again.data.labels_path = str(shutil.copy(again.data.labels_path, tmp_path / "labels.h5"))
    assert training.train(again, tmp_path / "run").step == 3


def test_weights_of_another_network_are_refused_before_training(finished, tmp_path):
    folder, config, _ = finished
    training.export(config, folder / "run", tmp_path / "first.npz", dtype="float32")
    wider = tiny_config(folder)
    wider.model.filters = 4
    wider.training.initial_weights = str(tmp_path / "first.npz")
    with pytest.raises(ValueError, match="another network than --config.model"):
        training.train(wider, tmp_path / "run")


def test_further_sets_are_trained_on_with_their_own_labels(finished, tmp_path):
    folder, _, _ = finished
    one, other = opened(folder), opened(folder, "test")
    pngs = tmp_path / "more" / "train" / "larcv_png_16"
    pngs.mkdir(parents=True)
    for k, image in enumerate(other.images[:][..., 0]):
        Image.fromarray(image).save(pngs / f"larcv_16_{k}.png")
    with (
        h5py.File(folder / "labels.h5") as old,
        h5py.File(tmp_path / "more" / "labels.h5", "w") as new,
    ):
        new["train/pixel_label"] = old["test/pixel_label"][:]
    data = tiny_config(folder).data
    data.further_sets = (str(tmp_path / "more"),)
    joined = open_training(data)
    np.testing.assert_array_equal(
        joined.images[:], np.concatenate([one.images[:], other.images[:]])
    )
    np.testing.assert_array_equal(joined.labels, np.concatenate([one.labels, other.labels]))


def test_changed_labels_do_not_go_on_in_the_workdir(finished):
    folder, config, _ = finished
    with h5py.File(folder / "labels.h5", "a") as file:
        codes = file["train/pixel_label"][:]
        file["train/pixel_label"][:] = np.where(codes == 2, 1, codes)
    with pytest.raises(ValueError, match="trained on other images"):
        training.train(config, folder / "run")
    with h5py.File(folder / "labels.h5", "a") as file:
        file["train/pixel_label"][:] = codes


def test_a_workdir_in_use_is_refused(finished):
    folder, config, _ = finished
    with locked(folder / "run", fix=""), pytest.raises(ValueError, match="in use by another run"):
        training.train(config, folder / "run")


def test_another_configuration_does_not_go_on_in_the_workdir(finished):
    folder, config, _ = finished
    other = config.copy_and_resolve_references()
    other.optim.lr = 1.0
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.002 there, 1\.0 here"):
        training.train(other, folder / "run")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("training.batch_size", 12, "12 is not divisible by 8 devices; try 8 or 16"),
        ("training.num_epochs", 0, "config.training.num_epochs is 0; at least 1"),
        ("data.image_size", 20, "20; it must be a multiple of 8"),
        ("data.brightness", 1.0, "lies in"),
        ("model.num_strides", 2, "at least 3"),
        ("training.settling_fraction", 1.0, "settling_fraction is 1.0; it lies in"),
        ("data.labels_path", "nowhere.h5", "no label file nowhere.h5"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    finished, tmp_path, field, value, message
):
    config = tiny_config(finished[0], **{field: value})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_michel_and_delta_pixels_count_as_showers(finished):
    folder = finished[0]
    with h5py.File(folder / "labels.h5") as file:
        codes = file["test/pixel_label"][:]
    assert (codes == 3).any()
    np.testing.assert_array_equal(opened(folder, "test").labels == 1, codes == 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes[:5], r"\(5, 16, 16\) and .* holds \(24, 16, 16\)"),
        (lambda codes: np.where(codes > 0, 5, 0), "pixel label 5; known are 0..4"),
        (lambda codes: np.roll(codes, 1, axis=0), "image 0 .* are these the labels"),
    ],
)
def test_labels_that_do_not_belong_to_the_images_are_refused(tmp_path, change, message):
    write_labelled(tmp_path)
    with h5py.File(tmp_path / "labels.h5", "a") as file:
        codes = change(file["train/pixel_label"][:])
        del file["train/pixel_label"]
        file["train/pixel_label"] = codes.astype(np.uint8)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path)


def test_every_image_comes_once_an_epoch_whatever_the_number_of_processes(finished):
    data = opened(finished[0])
    options = {"labels": data.labels, "batch_size": 8, "seed": 3}
    options |= {"random_flip": False, "scale": None}
    batches = Batches(data.images, **options)
    seen = np.concatenate([batches.at(step)["image"] for step in range(3)])
    order = [np.sort(images.reshape(24, -1), axis=0) for images in (seen, data.images[:])]
    np.testing.assert_array_equal(*order)
    shares = [
        Batches(data.images, **options, process_index=k, process_count=2).at(4) for k in range(2)
    ]
    for name, whole in batches.at(4).items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in shares]), whole)


def test_augmentation_turns_image_and_labels_alike_and_reaches_all_symmetries(key):
    image = jnp.arange(1.0, 10.0).reshape(3, 3, 1)
    label = jnp.arange(1, 10).reshape(3, 3)
    turned = jax.vmap(lambda k: augment(k, image, label, brightness=0.25))
    images, labels = turned(jax.random.split(key, 200))
    factor = np.asarray(images)[..., 0] / np.asarray(labels)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-5)
    assert 0.75 <= factor.min() < 0.8 and 1.2 < factor.max() <= 1.25
    assert len({labels_of.tobytes() for labels_of in np.asarray(labels)}) == 8


def test_the_loss_ignores_empty_pixels_unless_they_are_asked_for(key):
    images = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(9.0)
    labels = jnp.array([[[2, 0], [0, 0]]])
    logits = jnp.zeros((1, 2, 2, 3)).at[0, 1, 1, 1].set(5.0)
    plain = segmentation_loss(logits, images, labels, empty_pixels=False)
    np.testing.assert_allclose(plain, [0.75 * np.log(3.0)], rtol=1e-6)
    every = segmentation_loss(logits, images, labels, empty_pixels=True)
    wrong = np.log(2.0 + np.exp(5.0))
    np.testing.assert_allclose(every, plain + 0.25 * (2 * np.log(3.0) + wrong), rtol=1e-6)
    dark = segmentation_loss(logits, 0 * images, labels, empty_pixels=False)
    np.testing.assert_array_equal(dark, [0.0])


def test_pixel_metrics_of_a_known_case():
    labels = np.array([[[1, 1], [2, 0]]])
    scores = np.zeros((1, 2, 2, 3), np.float32)
    scores[0, 0, 0], scores[0, 0, 1] = (0.0, 0.9, 0.1), (0.0, 0.2, 0.8)
    scores[0, 1, 0], scores[0, 1, 1] = (0.1, 0.1, 0.8), (0.999, 0.0, 0.0)
    sums = PixelMetrics()
    sums.add(scores, labels)
    found = sums.summary()
    assert found["confusion"] == [[0, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["shower_efficiency"] == 0.5 and found["shower_purity"] == 1.0
    assert found["track_efficiency"] == 1.0 and found["track_purity"] == 0.5
    assert found["track_iou"] == 0.5
    # Truth is a shower image (2 to 1); the votes are 1 to 2.
    assert found["image_agreement_all_pixels"] == found["image_agreement_lit_pixels"] == 0.0
    assert sum(found["calibration"]["pixels"]) == 3
    assert found["calibration_error"] == pytest.approx((0.1 + abs(1.6 - 1.0)) / 3, abs=1e-6)
