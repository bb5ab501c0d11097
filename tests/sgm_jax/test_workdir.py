import numpy as np
import pytest

from sgm_jax import workdir
from sgm_jax.checkpoints import Checkpoints


@pytest.fixture
def begun(tmp_path):
    """A workdir with a checkpoint, begun with the images ``old``."""
    store = Checkpoints(tmp_path, keep_every=1)
    store.save(1, {"w": np.zeros(3, np.float32)})
    store.close()
    workdir.note_data(tmp_path, "old")
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
    workdir.note_data(tmp_path, "old")
    workdir.check_data(tmp_path, "new")
