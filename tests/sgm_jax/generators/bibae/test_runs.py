"""An autoencoder with critics through the commands: stopped, gone on with, drawn from its file."""

import jax
import numpy as np
import pytest

from sgm_jax import generator as contract
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.restore import load_state
from sgm_jax.sample import sample
from sgm_jax.train import train
from sgm_jax.trained import export_weights, from_run, stored_config
from tests.tiny_bibae import bibae_config
from tests.tiny_vqvae import write_sets

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bibae")
    write_sets(folder)
    config = bibae_config(folder)
    with jax.numpy_dtype_promotion("standard"):
        train(config, folder / "run")
    return config, folder


def state_of(run):
    return load_state(contract.build(stored_config(run)), run, 4)


def test_stopped_anywhere_it_ends_where_the_uninterrupted_one_ends(finished, tmp_path):
    config, folder = finished
    train(bibae_config(folder, **{"training.n_iters": 1}), tmp_path / "run")
    train(config, tmp_path / "run")
    assert digest(state_of(tmp_path / "run")) == digest(state_of(folder / "run"))


def test_its_file_draws_what_the_run_draws(finished, tmp_path):
    """The latents that it draws from lie with the weights."""
    config, folder = finished
    out = sample(config, folder / "run", num_samples=8, out=tmp_path / "run")
    export_weights(from_run(config, folder / "run"), tmp_path / "bibae.npz")
    again = sample(
        None, tmp_path, num_samples=8, out=tmp_path / "file", pretrained=str(tmp_path / "bibae.npz")
    )
    drawn, copied = (np.load(where / "samples.npz")["raw"] for where in (out, again))
    np.testing.assert_array_equal(drawn, copied)
