"""Checkpoints of the original: in and out again unchanged, and refused where they do not fit."""

import json
import pickle
import re
import sys

import jax
import numpy as np
import pytest
from optax.tree_utils import tree_get

from configs import larcv_png64
from sgm_jax.generators import score
from sgm_jax.run import checkpoints
from sgm_jax.sample import sample
from sgm_jax.torch.checkpoint import (
    check_convertible,
    checkpoint_from_state,
    state_from_checkpoint,
    torch_names,
)
from sgm_jax.torch.convert import export_checkpoint, import_checkpoint
from sgm_jax.torch.file import read_torch_file, write_torch_file
from sgm_jax.train import train
from tests.fixture_files import fixture_files
from tests.tiny_run import EDM, tiny_config, write_images
from tests.torch_files import read_torch_file as read_without_torch

pytestmark = pytest.mark.usefixtures("optax_promotion")
CHECKPOINTS = fixture_files("ckpt_*.pth")
CHECKPOINTS = [path for path in CHECKPOINTS if path.with_name(f"net_{path.stem[5:]}.npz").exists()]


def stored_config(path):
    """Return the configuration that a checkpoint of the original was made with."""
    text = str(np.load(path.with_name(f"net_{path.stem[5:]}.npz"))["config_json"])
    config = larcv_png64.get_config()
    for section, fields in json.loads(text).items():
        if isinstance(fields, dict):
            # Ours leaves out the options that the original never reads.
            known = {name: v for name, v in fields.items() if name in config[section]}
            lists = {name: tuple(v) for name, v in known.items() if isinstance(v, list)}
            config[section].update(known | lists)
    return config


def assert_same(ours, theirs, where="content"):
    """Compare nested containers; what only the original writes into its optimiser may lack."""
    if isinstance(ours, dict):
        assert ours.keys() <= theirs.keys() if "betas" in ours else ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert_same(value, theirs[name], f"{where}.{name}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}.{i}")
    elif isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        # Noise levels are computed anew, and the last bit of numpy's exp is the processor's.
        rtol = 1e-15 if where.endswith("sigmas") else 0
        np.testing.assert_allclose(ours, theirs, rtol=rtol, err_msg=where)
    else:
        assert ours == theirs, where


def random_state(config, seed=0, step=3):
    """Return a state of a run whose every array is random."""
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(score.build(config).initial_state, jax.random.key(0))
    state = jax.tree.map(
        lambda leaf: (
            rng.standard_normal(leaf.shape, np.float32)
            if leaf.dtype == np.float32
            else np.int32(step)
        ),
        like,
    )
    return state


@pytest.mark.parity
@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_of_the_original_comes_back_unchanged(path):
    content, config = read_without_torch(path), stored_config(path)
    state = state_from_checkpoint(content, config)
    assert int(state.step) == content["step"]
    back = checkpoint_from_state(state, config)
    assert list(back["model"]) == list(content["model"])
    assert_same(back, content)
    # It is what training and sampling expect of a checkpoint.
    like = jax.eval_shape(score.build(config).initial_state, jax.random.key(0))
    assert jax.tree.structure(like) == jax.tree.structure(state)
    jax.tree.map(
        lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), like, state
    )


@pytest.mark.parametrize("options", [{}, {"model.conditional": False}], ids=["", "unconditional"])
def test_a_state_survives_the_way_there_and_back(options, tmp_path):
    config = tiny_config(tmp_path, **options)
    state = random_state(config)
    content = checkpoint_from_state(state, config)
    jax.tree.map(np.testing.assert_array_equal, state_from_checkpoint(content, config), state)
    names = [name.removeprefix("module.") for name in content["model"]]
    assert names[0] == "sigmas" and len(content["ema"]["shadow_params"]) == len(names) - 1
    # Two steps of warm-up: the last of three updates had the full rate.
    assert content["optimizer"]["param_groups"][0]["lr"] == config.optim.lr


def test_a_state_before_the_first_update_has_no_moments_there(tmp_path):
    config = tiny_config(tmp_path)
    state = score.build(config).initial_state(jax.random.key(config.seed))
    content = checkpoint_from_state(state, config)
    assert content["optimizer"]["state"] == {} and content["step"] == 0
    jax.tree.map(np.testing.assert_array_equal, state_from_checkpoint(content, config), state)


def test_every_tensor_that_does_not_fit_is_listed_with_its_shape(tmp_path):
    content = checkpoint_from_state(random_state(tiny_config(tmp_path)), tiny_config(tmp_path))
    wider = tiny_config(tmp_path, **{"model.nf": 16})
    with pytest.raises(ValueError, match="do not fit the network") as refusal:
        state_from_checkpoint(content, wider)
    assert str(refusal.value).count("shape: all_modules") > 20
    assert "all_modules.0.weight is (8, 32) in our layout, the network has (16, 64)" in str(
        refusal.value
    )
    content["ema"]["shadow_params"].pop()
    with pytest.raises(ValueError, match=r"average holds \d+ tensors, and the network learns \d+"):
        state_from_checkpoint(content, tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.ema_rate": 0.99}, r"--config.model.ema_rate=0.9999 \(here 0.99\)"),
        ({"optim.beta1": 0.5}, "--config.optim.beta1=0.9"),
        ({"model.num_scales": 20}, "--config.model.num_scales=10"),
        ({"model.sigma_max": 30.0}, "--config.model.sigma_max=50"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_with_them(options, message, tmp_path):
    content = checkpoint_from_state(random_state(tiny_config(tmp_path)), tiny_config(tmp_path))
    with pytest.raises(ValueError, match=message):
        state_from_checkpoint(content, tiny_config(tmp_path, **options))


@pytest.mark.parametrize("content", [[1, 2], {}, {"state": {}}, {"ema": {}, "step": 1}])
def test_other_files_are_not_taken_for_checkpoints(content, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint of score_sde"):
        state_from_checkpoint(content, tiny_config(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        EDM,
        {"model.space_to_depth": 2},
        {"generator": "toy"},
        {"data.transform": "asinh"},
        {"optim.optimizer": "Muon"},
    ],
)
def test_networks_that_the_original_does_not_have_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match="which score_sde does not have"):
        check_convertible(tiny_config(tmp_path, **options))


def test_of_several_averages_the_main_one_leaves_and_none_can_come(tmp_path):
    several = tiny_config(tmp_path, **{"model.ema_rates": (0.5,)})
    state = random_state(several)
    content = checkpoint_from_state(state, several)
    with pytest.raises(ValueError, match=r"one average, and --config.model.ema_rates is \(0.5,\)"):
        state_from_checkpoint(content, several)
    back = state_from_checkpoint(content, tiny_config(tmp_path)).ema_params
    jax.tree.map(np.testing.assert_array_equal, back, state.ema_params)


def test_parts_that_count_other_updates_are_told(tmp_path, caplog):
    config = tiny_config(tmp_path)
    content = checkpoint_from_state(random_state(config), config)
    content["ema"]["num_updates"] = 7
    with caplog.at_level("WARNING", logger="sgm_jax"):
        state = state_from_checkpoint(content, config)
    assert "'ema': 7" in caplog.text and int(state.step) == 3


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", ""])
def test_what_wrappers_put_before_names_is_taken_off(wrapper, tmp_path):
    config = tiny_config(tmp_path)
    state = random_state(config)
    content = checkpoint_from_state(state, config)
    content["model"] = {
        name.replace("module.", wrapper): tensor for name, tensor in content["model"].items()
    }
    jax.tree.map(np.testing.assert_array_equal, state_from_checkpoint(content, config), state)
    # A block that was compiled by itself has the name in the middle.
    content["model"] = {
        re.sub(r"all_modules\.(\d+)\.", r"all_modules.\1._orig_mod.", name): tensor
        for name, tensor in content["model"].items()
    }
    jax.tree.map(np.testing.assert_array_equal, state_from_checkpoint(content, config), state)


@pytest.mark.parametrize("part", ["model", "ema", "optimizer"])
def test_numbers_that_are_not_finite_are_refused_with_their_tensor(part, tmp_path):
    config = tiny_config(tmp_path)
    content = checkpoint_from_state(random_state(config), config)
    name = torch_names(score.build(config).net)[2]
    tensor = {
        "model": lambda: content["model"][f"module.{name}"],
        "ema": lambda: content["ema"]["shadow_params"][2],
        "optimizer": lambda: content["optimizer"]["state"][2]["exp_avg_sq"],
    }[part]()
    tensor.flat[0], tensor.flat[-1] = np.nan, np.inf
    with pytest.raises(ValueError, match=rf"not finite: {name} .2 of {tensor.size}.; take an ear"):
        state_from_checkpoint(content, config)


def test_weights_of_half_precision_are_read(tmp_path):
    config = tiny_config(tmp_path)
    state = random_state(config)
    content = checkpoint_from_state(state, config)
    content["model"] = {name: t.astype(np.float16) for name, t in content["model"].items()}
    del content["model"]["module.sigmas"]
    content["ema"]["shadow_params"] = [
        tensor.astype(np.float16) for tensor in content["ema"]["shadow_params"]
    ]
    read = state_from_checkpoint(content, config)
    for ours, theirs in ((read.params, state.params), (read.ema_params, state.ema_params)):
        half = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), theirs)
        jax.tree.map(np.testing.assert_array_equal, ours, half)
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(ours))


@pytest.mark.parametrize(
    "kept", [("model", "ema", "step"), ("model", "ema"), ("model", "step"), ("model",), ()]
)
def test_files_stripped_to_the_weights_are_read(kept, tmp_path, caplog):
    config = tiny_config(tmp_path)
    state = random_state(config)
    content = checkpoint_from_state(state, config)
    stripped = {name: content[name] for name in kept} if kept else content["model"]
    with caplog.at_level("WARNING", logger="sgm_jax"):
        read = state_from_checkpoint(stripped, config)
    drawn_with = state.ema_params if "ema" in kept else state.params
    jax.tree.map(np.testing.assert_array_equal, read.params, state.params)
    jax.tree.map(np.testing.assert_array_equal, read.ema_params, drawn_with)
    assert int(read.step) == (3 if {"step", "ema"} & {*kept} else 0)
    assert jax.tree.structure(read) == jax.tree.structure(state)
    assert not any(leaf.any() for leaf in jax.tree.leaves(tree_get(read.opt_state, "mu")))
    assert "no optimiser" in caplog.text and ("no average" in caplog.text) == ("ema" not in kept)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_a_stripped_file_of_pytorch_is_drawn_from(kind, tmp_path):
    torch = pytest.importorskip("torch")
    config = tiny_config(tmp_path, **{"data.std": 0.1})
    content = checkpoint_from_state(random_state(config), config)
    tensors = {
        name.replace("module.", "_orig_mod."): torch.from_numpy(tensor).to(getattr(torch, kind))
        for name, tensor in content["model"].items()
        if "sigmas" not in name
    }
    torch.save(tensors, tmp_path / "in.pth")
    assert import_checkpoint(config, tmp_path / "in.pth", tmp_path / "run") == 0
    out = sample(config, tmp_path / "run", num_samples=1, out=tmp_path / "out")
    assert np.isfinite(np.load(out / "samples.npz")["raw"]).all()
    written = tensors["_orig_mod.all_modules.0.weight"].float().numpy()
    read = read_torch_file(tmp_path / "in.pth")["_orig_mod.all_modules.0.weight"]
    np.testing.assert_array_equal(read.astype(np.float32), written)


def test_without_pytorch_its_files_are_refused_with_the_fix(tmp_path, monkeypatch):
    (tmp_path / "file.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'sgm_jax\[torch\]'"):
        read_torch_file(tmp_path / "file.pth")


class _Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


@pytest.mark.parametrize("content", ["hostile", "pickle", "text", "cut"])
def test_a_file_that_is_no_checkpoint_runs_nothing(content, tmp_path):
    torch = pytest.importorskip("torch")
    mark, path = tmp_path / "ran", tmp_path / "file.pth"
    if content == "hostile":
        torch.save({"model": _Hostile(mark)}, path)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(_Hostile(mark)))
    elif content == "text":
        path.write_text("hello")
    else:
        torch.save({"model": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"file\.pth"):
        read_torch_file(path)
    assert not mark.exists()


@pytest.mark.parity
@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_pytorch_reads_and_writes_what_we_do(path, tmp_path):
    pytest.importorskip("torch")
    content = read_torch_file(path)
    assert_same(content, read_without_torch(path))
    write_torch_file(tmp_path / "back.pth", content)
    assert_same(read_torch_file(tmp_path / "back.pth"), content)


def test_an_imported_checkpoint_trains_on_and_goes_back(tmp_path):
    pytest.importorskip("torch")
    write_images(tmp_path)
    config = tiny_config(tmp_path)
    state = random_state(config)
    # A second moment is a mean of squares.
    state = state.replace(
        opt_state=jax.tree.map(np.abs, state.opt_state),
        params=jax.tree.map(lambda x: 0.1 * x, state.params),
    )
    write_torch_file(tmp_path / "in.pth", checkpoint_from_state(state, config))
    assert import_checkpoint(config, tmp_path / "in.pth", tmp_path / "run") == 3
    with pytest.raises(ValueError, match=r"has checkpoints of steps \[3\]"):
        import_checkpoint(config, tmp_path / "in.pth", tmp_path / "run")
    export_checkpoint(config, tmp_path / "run", tmp_path / "out.pth")
    assert_same(read_torch_file(tmp_path / "out.pth"), read_torch_file(tmp_path / "in.pth"))
    assert int(train(config, tmp_path / "run").step) == 4
    assert checkpoints.steps(tmp_path / "run") == [3, 4]
