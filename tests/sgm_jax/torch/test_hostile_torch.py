"""PyTorch files that are made to do harm, or damaged: read, or refused by name, and harmless."""

import copy
import io
import shutil
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgm_jax.generators import score
from sgm_jax.torch.checkpoint import checkpoint_from_state
from sgm_jax.torch.convert import import_checkpoint
from sgm_jax.torch.file import read_torch_file, write_torch_file
from tests.hostile import bounded, edited, edits, harmless, read_or_refused
from tests.tiny_run import tiny_config

torch = pytest.importorskip("torch")


def repacked(path, change, compression=zipfile.ZIP_STORED):
    """Write the archive of a small file again, with its members (name -> bytes) changed."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(300.0)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in change(members).items():
            archive.writestr(name, content)


def loop(path):
    content = []
    content.append(content)
    torch.save(content, path)


FILES = {
    "a bomb": lambda p: repacked(
        p, lambda m: m | {"archive/data/0": bytes(2**27)}, zipfile.ZIP_DEFLATED
    ),
    "one number as billions": lambda p: torch.save({"w": torch.zeros(1).expand(2**16, 2**16)}, p),
    "no numbers": lambda p: repacked(p, lambda m: {k: v for k, v in m.items() if "/0" not in k}),
    "few numbers": lambda p: repacked(p, lambda m: m | {"archive/data/0": bytes(8)}),
    "a list in itself": loop,
    "a sparse tensor": lambda p: torch.save({"w": torch.eye(3).to_sparse()}, p),
    "a network, not its weights": lambda p: torch.save(torch.nn.Linear(2, 2), p),
    "no pickle": lambda p: repacked(p, lambda m: {"archive/version": b"3"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_made_to_do_harm_is_refused_by_name(tmp_path, name):
    path = tmp_path / "file.pth"
    FILES[name](path)
    with harmless(tmp_path, megabytes=60), pytest.raises(ValueError, match=r"file\.pth"):
        read_torch_file(path)


def test_members_that_point_out_of_the_archive_are_not_unpacked(tmp_path):
    path = tmp_path / "file.pth"
    repacked(path, lambda m: m | {"archive/../../evil": b"x", "/tmp/evil": b"x"})
    with harmless(tmp_path, megabytes=20), read_or_refused(path):
        read_torch_file(path)
    assert [one.name for one in tmp_path.iterdir()] == ["file.pth"]


@pytest.mark.parametrize("examples", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, examples):
    path = tmp_path / "file.pth"
    write_torch_file(path, {"w": np.arange(300.0), "step": 3, "names": ["a", ("b", 1.5)]})
    sound = path.read_bytes()

    @bounded(examples)
    @given(changes=edits())
    def check(changes):
        path.write_bytes(edited(sound, changes))
        with harmless(tmp_path, megabytes=60), read_or_refused(path):
            read_torch_file(path)

    check()


ANYTHING = st.sampled_from(
    [None, 3, -1, "text", [], {}, [1], {"a": 1}, {0: None}, float("inf"), np.zeros(3)]
)
PLACES = [("model",), ("ema",), ("step",), ("optimizer",), ("ema", "shadow_params")]
PLACES += [("ema", "decay"), ("ema", "num_updates"), ("ema", "shadow_params", 0)]
PLACES += [("optimizer", "param_groups"), ("optimizer", "param_groups", 0, "betas")]
PLACES += [("optimizer", "param_groups", 0, "params"), ("optimizer", "state")]
PLACES += [("optimizer", "state", 0), ("optimizer", "state", 0, "exp_avg")]


@pytest.mark.usefixtures("optax_promotion")
@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_a_checkpoint_of_another_layout_is_read_or_refused_by_name(tmp_path, examples):
    path, config = tmp_path / "file.pth", tiny_config(tmp_path)
    state = score.build(config).initial_state(jax.random.key(config.seed))
    whole = checkpoint_from_state(state.replace(step=np.int32(1)), config)
    write_torch_file(path, whole)
    assert import_checkpoint(config, path, tmp_path / "sound") == 1

    @bounded(examples)
    @given(place=st.sampled_from(PLACES), value=ANYTHING)
    def check(place, value):
        content = copy.deepcopy(whole)
        part = content
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = value
        write_torch_file(path, content)
        with read_or_refused(path):
            import_checkpoint(config, path, tmp_path / "run")
            shutil.rmtree(tmp_path / "run")

    check()
    assert not (tmp_path / "run").exists()
