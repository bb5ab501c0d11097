"""A GAN through the commands: it goes on where it was stopped, and its file draws what it draws."""

import jax
import numpy as np
import pytest

from sgm_jax import generator as contract
from sgm_jax.likelihood import measure
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.restore import load_state
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run, stored_config
from tests.tiny_gan import gan_config
from tests.tiny_vqvae import write_sets

pytestmark = pytest.mark.usefixtures("optax_promotion")
# The generator moves in steps 0 and 2: so a run that stops after 1 goes on in between.
OPTIONS = {"optim.discriminator_steps": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan")
    write_sets(folder)
    config = gan_config(folder, **OPTIONS)
    with jax.numpy_dtype_promotion("standard"):
        train(config, folder / "run")
    return config, folder


def state_of(run, step=4):
    return load_state(contract.build(stored_config(run)), run, step)


def test_stopped_anywhere_it_ends_where_the_uninterrupted_one_ends(finished, tmp_path):
    config, folder = finished
    train(gan_config(folder, **OPTIONS, **{"training.n_iters": 1}), tmp_path / "run")
    train(config, tmp_path / "run")
    state = state_of(folder / "run")
    assert digest(state_of(tmp_path / "run")) == digest(state)
    # Both optimisers have made their steps.
    counts = [int(state.opt_state[name][2].count) for name in ("generator", "discriminator")]
    assert counts == [2, 4]


def test_its_file_draws_what_the_run_draws_and_has_no_likelihood(finished, tmp_path):
    config, folder = finished
    out = sample(config, folder / "run", num_samples=8, out=tmp_path / "run")
    export_weights(from_run(config, folder / "run"), tmp_path / "gan.npz")
    again = sample(
        None, tmp_path, num_samples=8, out=tmp_path / "file", pretrained=str(tmp_path / "gan.npz")
    )
    drawn, copied = (np.load(where / "samples.npz")["raw"] for where in (out, again))
    np.testing.assert_array_equal(drawn, copied)
    with pytest.raises(ValueError, match="'gan' has no likelihood"):
        measure(config, folder / "run")


def test_a_run_can_begin_with_its_weights(finished, tmp_path):
    config, folder = finished
    export_weights(from_run(config, folder / "run"), tmp_path / "gan.npz")
    begun = {"training.initial_weights": str(tmp_path / "gan.npz"), "training.n_iters": 2}
    train(gan_config(folder, **OPTIONS, **begun), tmp_path / "begun")
    assert state_of(tmp_path / "begun", 2).step == 2
