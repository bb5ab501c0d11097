"""Vector-quantised generators through the commands: one trains both stages, and either goes on."""

import json
import shutil

import jax
import numpy as np
import pytest

from sgm_jax import first_stage
from sgm_jax import generator as contract
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.likelihood import measure
from sgm_jax.reconstruct import reconstruct
from sgm_jax.run import workdir
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.restore import load_state
from sgm_jax.run.workdir import read_config
from sgm_jax.sample import sample
from sgm_jax.train import open_sets, train
from sgm_jax.trained import Trained, export_weights, from_run, from_weights, stored_config
from tests.tiny_sarm import sarm_config
from tests.tiny_vqvae import random_prior, vqvae_config, write_sets

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of both stages, in one go."""
    folder = tmp_path_factory.mktemp("vqvae")
    write_sets(folder)
    config = vqvae_config(folder)
    with jax.numpy_dtype_promotion("standard"):
        train(config, folder / "run")
    return config, folder


def state_of(run, step=4):
    return load_state(contract.build(stored_config(run)), run, step)


def test_one_command_trains_both_and_the_first_stays_what_it_was(finished):
    config, folder = finished
    first = from_run(stored_config(folder / "run/first_stage"), folder / "run/first_stage").load()
    state = state_of(folder / "run")
    assert digest(state.extra) == digest(first)
    stored = read_config(folder / "run")
    assert stored["model.first_stage_hash"] == digest(first)
    told = (folder / "run/first_stage/metrics.jsonl").read_text().splitlines()
    assert {"perplexity", "used_codes", "wrong_hits", "reconstruction"} <= json.loads(
        told[0]
    ).keys()
    # Started again there is nothing to do.
    train(config, folder / "run")
    assert digest(state_of(folder / "run")) == digest(state)


def test_reconstructions_are_those_of_the_first_stage(finished, tmp_path, monkeypatch):
    """Whether it is asked, or the prior that keeps it, and however many images at once."""
    config, folder = finished
    prior, variables = random_prior()
    networks = {"first": (prior.first, variables.extra), "prior": (prior, variables)}
    written = {}
    for (name, (generator, own)), size in zip(networks.items(), (4, 8), strict=True):
        asked = vqvae_config(folder, **{"eval.num_images": 7, "eval.batch_size": size})
        trained = Trained(asked, generator, {}, lambda own=own: own, step=0)
        monkeypatch.setattr("sgm_jax.reconstruct.from_run", lambda *_, t=trained, **__: t)
        out = reconstruct(asked, folder / "run", out=tmp_path / name)
        written[name] = np.load(out / "samples.npz")["samples"]
    scale = PixelScale.from_config(config.data)
    real = scale.to_model(open_sets(config)[1][np.arange(7)])
    back = prior.first.reconstructed(variables.extra, real)
    assert written["first"].any()
    assert np.array_equal(written["first"], to_uint8(scale.from_model(np.asarray(back))))
    assert np.array_equal(written["first"], written["prior"])


def test_only_autoencoders_reconstruct(tmp_path):
    write_sets(tmp_path)
    config = sarm_config(tmp_path, **{"data.image_size": 8, "training.n_iters": 2})
    train(config, tmp_path / "run")
    with pytest.raises(ValueError, match="'sarm' does not make images of images.*vqvae64"):
        reconstruct(config, tmp_path / "run")


def test_stopped_anywhere_it_ends_where_the_uninterrupted_one_ends(finished, tmp_path):
    config, folder = finished
    run = tmp_path / "run"

    def until(first, last):
        steps = {"first.n_iters": first, "training.n_iters": last}
        return vqvae_config(folder, **steps)

    # As if it was stopped in the first stage, and then in the second.
    train(contract.first_stage(until(2, 4)), run / "first_stage")
    train(until(4, 2), run)
    assert digest(state_of(run / "first_stage")) == digest(state_of(folder / "run/first_stage"))
    # The first stage lies in the second one's checkpoints, too.
    shutil.rmtree(run / "first_stage")
    train(config, run)
    assert digest(state_of(run)) == digest(state_of(folder / "run"))


def test_another_first_stage_is_refused(finished, tmp_path):
    _, folder = finished
    place = folder / "run/first_stage"
    export_weights(from_run(stored_config(place), place), tmp_path / "same.npz")
    arrays = dict(np.load(tmp_path / "same.npz"))
    name = next(name for name in arrays if name.endswith("kernel"))
    np.savez(tmp_path / "other.npz", **arrays | {name: arrays[name] + 1})
    train(vqvae_config(folder, **{"model.first_stage": str(tmp_path / "same.npz")}), folder / "run")
    before = digest(state_of(folder / "run"))
    with pytest.raises(ValueError, match=r"another first stage than .*other\.npz.*--workdir"):
        other = {"model.first_stage": str(tmp_path / "other.npz"), "training.n_iters": 6}
        train(vqvae_config(folder, **other), folder / "run")
    assert digest(state_of(folder / "run")) == before


UNFIT = {
    "image size": ({"data.image_size": 16}, "data.image_size: 8 there, 16 here"),
    "transform": ({"data.transform": "sqrt"}, "data.transform: 'log' there, 'sqrt' here"),
    "channels": ({"model.channels": (4, 4)}, r"model.channels: \[4, 8\] there, \[4, 4\] here"),
    "codes": ({"model.codes": 7}, "model.codes: 6 there, 7 here"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_first_stage_that_does_not_fit_is_refused(finished, case):
    overrides, message = UNFIT[case]
    stage = contract.first_stage(vqvae_config(**overrides))
    with pytest.raises(ValueError, match=message):
        first_stage.read(stage, finished[1] / "run/first_stage")


def test_a_run_of_another_family_is_refused(tmp_path):
    workdir.prepare(tmp_path, sarm_config())
    with pytest.raises(ValueError, match="generator: 'sarm' there, 'vqvae' here"):
        first_stage.read(contract.first_stage(vqvae_config()), tmp_path)


def test_a_first_stage_that_is_missing_or_unfinished_is_refused(finished, tmp_path):
    folder = finished[1]
    place = tmp_path / "half"
    shutil.copytree(folder / "run/first_stage", place)
    stored = json.loads((place / "config.json").read_text())
    stored["training"]["n_iters"] = 400
    (place / "config.json").write_text(json.dumps(stored))
    for where, error, message in (
        (place, ValueError, f"unfinished, 4 of 400 updates.*--workdir={place}"),
        (tmp_path / "nowhere", FileNotFoundError, "nowhere.*finished first stage"),
        (tmp_path / "nowhere.npz", FileNotFoundError, "nowhere.npz.*finished first stage"),
        # A prior is none.
        (folder / "run", ValueError, "model.stage: 'prior' there, 'first' here"),
    ):
        named = vqvae_config(folder, **{"model.first_stage": str(where)})
        with pytest.raises(error, match=message):
            train(named, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_prior_is_drawn_from_and_measured_with_its_file_alone(finished, tmp_path):
    config, folder = finished
    out = sample(config, folder / "run", num_samples=8, out=tmp_path / "run")
    export_weights(from_run(config, folder / "run"), tmp_path / "prior.npz")
    again = sample(
        None, tmp_path, num_samples=8, out=tmp_path / "file", pretrained=str(tmp_path / "prior.npz")
    )
    drawn, copied = (np.load(where / "samples.npz")["raw"] for where in (out, again))
    np.testing.assert_array_equal(drawn, copied)
    assert from_weights(str(tmp_path / "prior.npz")).config.model.first_stage_hash
    summary = measure(config, folder / "run")
    assert summary["kind"] == "bound" and summary["bits_per_dim"] > 0
    with pytest.raises(ValueError, match="draws no images"):
        place = folder / "run/first_stage"
        sample(stored_config(place), place, num_samples=8, out=tmp_path / "none")

    # A prior that begins with these weights has their first stage, and needs no other.
    begun = vqvae_config(
        folder,
        **{"training.initial_weights": str(tmp_path / "prior.npz"), "training.n_iters": 2},
    )
    train(begun, tmp_path / "begun")
    assert not (tmp_path / "begun/first_stage").exists()
    assert digest(state_of(tmp_path / "begun", 2).extra) == digest(state_of(folder / "run").extra)
