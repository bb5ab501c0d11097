import contextlib
import os
import tempfile
from pathlib import Path

import ml_collections
import numpy as np
import pytest

from sgm_jax.run import workdir
from sgm_jax.run.checkpoints import Checkpoints
from sgm_jax.run.log import LOGGER


@pytest.fixture
def begun(tmp_path):
    """A workdir with a checkpoint, begun with the images ``old``."""
    store = Checkpoints(tmp_path, keep_every=1)
    store.save(1, {"w": np.zeros(3, np.float32)})
    store.close()
    workdir.note_data(tmp_path, "old", None)
    return tmp_path


def test_a_run_goes_on_with_the_images_it_began_with(begun):
    workdir.check_data(begun, "old")


def test_a_run_does_not_go_on_with_other_images(begun):
    with pytest.raises(ValueError, match="trained on other images .*old there, new here"):
        workdir.check_data(begun, "new")


def test_whoever_means_it_removes_the_note(begun):
    (begun / workdir.DATA_FILE).unlink()
    workdir.check_data(begun, "new")


def test_where_nothing_was_trained_any_images_will_do(tmp_path):
    workdir.note_data(tmp_path, "old", None)
    workdir.check_data(tmp_path, "new")


@contextlib.contextmanager
def as_somebody():
    """Give up the rights of the administrator, to whom nothing is forbidden, if we have them."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize(
    ("locked", "rights"),
    [("run", 0o555), ("run/checkpoints", 0o555), ("above", 0o555), ("above", 0o000)],
)
def test_a_workdir_that_cannot_be_written_is_refused_before_anything_is_done(locked, rights):
    # Not tmp_path, which is closed to others.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "above/run" if locked == "above" else folder / "run"
        (folder / locked).mkdir(parents=True)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        (folder / locked).chmod(rights)
        with as_somebody(), pytest.raises(PermissionError, match=r"cannot be written: .*--workdir"):
            workdir.check_workdir(run, ml_collections.ConfigDict())
        (folder / locked).chmod(0o777)


def test_a_workdir_is_held_from_its_first_file_to_its_last(tmp_path):
    config = ml_collections.ConfigDict({"seed": 1})
    with workdir.claimed(tmp_path, config, "images"):
        workdir.check_data(tmp_path, "images")
        assert workdir.read_config(tmp_path) == {"seed": 1}
        with (
            pytest.raises(ValueError, match="in use by another run"),
            workdir.claimed(tmp_path, config, "others"),
        ):
            pass
        LOGGER.warning("something happened")
    assert "something happened" in (tmp_path / "log.txt").read_text()
    workdir.check_data(tmp_path, "images")
    with workdir.claimed(tmp_path, config, "images"):
        pass


@pytest.mark.parametrize(
    ("stored", "completed"),
    [
        ({"generator": "score", "optim": {}}, {"decay_start": 1000}),
        ({"generator": "score", "optim": {"decay_start": 7}}, {"decay_start": 7}),
        ({"optim": {"warmup_fraction": 0.1}}, {"warmup_fraction": 0.1}),
    ],
)
def test_runs_of_generators_get_the_fields_that_came_later(stored, completed):
    assert workdir.completed(stored)["optim"] == completed


def test_an_early_sarm_run_was_not_told_of_saturated_pixels_and_has_no_temperature():
    stored = {"generator": "sarm", "model": {"sums": True}, "sampling": {"at_once": 8}}
    completed = workdir.completed(stored)
    assert completed["model"]["saturated"] is False
    assert completed["sampling"]["gate_temperature"] == 1
    assert completed["sampling"]["one_saturated"] is False
    other = workdir.completed(stored | {"generator": "vqvae"})
    assert "saturated" not in other["model"] and "gate_temperature" not in other["sampling"]


def test_runs_from_before_planes_saturation_and_conditions_have_none():
    stored = workdir.completed({"generator": "score", "data": {}, "model": {}})
    none = {
        "planes": False,
        "saturation": 0.0,
        "condition": "",
        "particles": (),
        "momentum_range": (),
    }
    assert stored["data"] == none and stored["model"]["condition"] == ()
