import json

import numpy as np
import pytest

from evaluation.__main__ import parse
from evaluation.of_run import complete
from sgm_jax.run.experiment import read_experiment


@pytest.fixture
def run(tmp_path):
    """A workdir of which only the configuration and the folders of drawn images matter."""
    config = read_experiment("configs/demo.py").to_dict()
    config["data"] |= {"train_path": "a.h5::adc", "test_path": "b.h5::adc", "scaling": "fixed:4095"}
    run = tmp_path / "mine"
    for name in ("step_000900", "step_001000", "step_002000_inpaint", "step_000800_ema_0.999"):
        (run / "samples" / name).mkdir(parents=True)
        np.savez(run / "samples" / name / "samples.npz", samples=np.zeros((1, 2, 2, 1)))
    (run / "samples" / "step_003000").mkdir()  # begun, but not finished
    (run / "config.json").write_text(json.dumps(config))
    return run


def test_a_workdir_says_what_is_compared(run):
    options = complete(parse([f"--workdir={run}"]))
    assert (options.real, options.train) == ("b.h5::adc", "a.h5::adc")
    assert options.scaling == "fixed:4095"
    assert options.generated == str(run / "samples" / "step_001000")
    assert options.out == run / "report" / "step_001000"


def test_likelihoods_are_shown_where_both_sets_have_some(run):
    assert complete(parse([f"--workdir={run}"])).likelihood_real is None
    for name in ("step_001000", "step_001000_samples"):
        (run / "likelihood" / name).mkdir(parents=True)
        np.savez(run / "likelihood" / name / "likelihood.npz", bits_per_dim=np.ones(3))
        options = complete(parse([f"--workdir={run}"]))
        both = name.endswith("samples")
        assert (options.likelihood_real is not None) == both
    folder = run / "likelihood"
    assert options.likelihood_real == folder / "step_001000" / "likelihood.npz"
    assert options.likelihood_generated == folder / "step_001000_samples" / "likelihood.npz"


def test_what_is_typed_goes_first(run, tmp_path):
    typed = {"real": "c.npy", "generated": "d.npy", "out": str(tmp_path), "scaling": "none"}
    options = parse([f"--workdir={run}", *(f"--{name}={value}" for name, value in typed.items())])
    options = complete(options)
    assert {name: str(getattr(options, name)) for name in typed} == typed
    assert options.train == "a.h5::adc"


def test_without_a_workdir_nothing_is_guessed(tmp_path):
    options = complete(parse(["--real=a", "--generated=b", "--out=c"]))
    assert (options.train, options.scaling) == (None, "none")
    with pytest.raises(ValueError, match="--generated and --out not given"):
        complete(parse(["--real=a"]))


def test_folders_without_a_run_or_without_drawn_images_are_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="no training run"):
        complete(parse([f"--workdir={tmp_path}"]))
    for place in (run / "samples").glob("*/samples.npz"):
        place.unlink()
    with pytest.raises(FileNotFoundError, match="--mode=sample"):
        complete(parse([f"--workdir={run}"]))
