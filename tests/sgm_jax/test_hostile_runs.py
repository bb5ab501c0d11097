"""What somebody else left in a workdir: read, or refused by name, and nothing outside touched."""

import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgm_jax import sample
from sgm_jax.run import checkpoints, lock, parts, workdir
from sgm_jax.run.checkpoints import Checkpoints, DamagedError
from sgm_jax.run.files import LARGEST_BYTES, read_object
from sgm_jax.simulation.chunk import Chunk, load_chunk, save_chunk
from sgm_jax.simulation.dataset import count_images
from tests.hostile import bounded, edited, edits, harmless, read_or_refused

EXAMPLES = [60, pytest.param(250, marks=pytest.mark.slow)]
FIX = "restore it"
JSON = {
    "nesting": "[" * 50_000,
    "nested objects": '{"a":' * 50_000,
    "one name twice": '{"seed": 1, "data": {"std": 1, "std": 2}}',
    "a long number": f'{{"seed": {"9" * 5000}}}',
    "a list": "[1, 2]",
    "a number": "3",
    "nothing": "",
    "text of another alphabet": b"\xff\xfe{}",
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("name", JSON)
def test_what_is_no_object_is_refused_by_name(tmp_path, name):
    path = tmp_path / "config.json"
    content = JSON[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with (
        harmless(tmp_path, megabytes=20),
        pytest.raises(ValueError, match=r"json is damaged") as no,
    ):
        read_object(path, fix=FIX)
    assert FIX in str(no.value)


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with harmless(tmp_path, megabytes=1), pytest.raises(ValueError, match="at most 16777216"):
        read_object(tmp_path / "config.json", fix=FIX)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["seed", "data", "config", "train", "checkpoint_step", "a.b", "_fields", ""]
)
OBJECTS = VALUES | st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES))


def read_config(folder, path):
    shutil.copy(path, folder / "config.json")
    stored = workdir.read_config(folder)
    workdir.differences({"seed": 1, "data.std": 0.1}, stored)
    try:
        workdir.stored_std(folder, stored)
    except ValueError as error:
        assert f"{folder}/config.json is damaged" in str(error)


def read_data_note(folder, path):
    shutil.copy(path, folder / workdir.DATA_FILE)
    workdir.check_data(folder, "fingerprint")


def read_samples_recipe(folder, path):
    (folder / "parts").mkdir(exist_ok=True)
    shutil.copy(path, folder / "recipe.json")
    recipe = {"config": {"model.ema_rate": 0.9}, "seed": 1}
    parts.finished_count(folder / "recipe.json", recipe, name="num_samples", fix=sample.FIX)


def read_recipe(folder, path):
    parts.differences({"seed": 1, "simulation": {"a": 1}}, path, fix=FIX)


READERS = (read_config, read_data_note, read_samples_recipe, read_recipe)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("read", READERS, ids=lambda function: function.__name__)
def test_any_json_where_ours_is_expected_is_read_or_refused_by_name(tmp_path, read, examples):
    inner = tmp_path / "run"
    inner.mkdir()

    @bounded(examples)
    @given(content=OBJECTS, changes=st.just([]) | edits(2))
    def check(content, changes):
        path = tmp_path / "given.json"
        path.write_bytes(edited(json.dumps(content).encode(), changes))
        with read_or_refused(tmp_path):
            read(inner, path)

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_lock_or_a_list_of_hashes_of_any_content_is_read(tmp_path, examples):
    @bounded(examples)
    @given(content=OBJECTS, changes=st.just([]) | edits(2))
    def check(content, changes):
        written = edited(json.dumps(content).encode(), changes)
        (tmp_path / lock.HOLDER).write_bytes(written)
        assert lock._holder(tmp_path)
        text = written.decode(errors="replace")
        (tmp_path / checkpoints.DIGESTS).write_text(f'{text}\n{{"step": 1, "blake2b": "x"}}\n')
        assert checkpoints.expected(tmp_path)[1] == "x"

    check()
    (tmp_path / checkpoints.DIGESTS).write_text(
        f'{"[" * 50_000}\n{{"step": Infinity, "blake2b": 1}}\n'
    )
    assert checkpoints.expected(tmp_path) == {}


def state(value=1.0, size=3000):
    numbers = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    return {"step": np.int32(value), "params": {"w": numbers + np.float32(value)}}


def saved(folder, *states):
    store = Checkpoints(folder, keep_every=1000)
    for step, one in enumerate(states, start=1):
        store.save(step, one)
    store.close()
    return folder / "checkpoints"


@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_a_checkpoint_damaged_anywhere_is_the_one_saved_or_refused(tmp_path, examples):
    folder = saved(tmp_path, state())
    sound = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    @bounded(examples)
    @given(which=st.integers(0, len(sound) - 1), changes=edits(3), missing=st.booleans())
    def check(which, changes, missing):
        path = list(sound)[which]
        path.unlink()
        if not missing:
            path.write_bytes(edited(sound[path], changes))
        try:
            found = checkpoints.load(tmp_path, 1, state())
            np.testing.assert_array_equal(found["params"]["w"], state()["params"]["w"])
        except DamagedError as error:
            assert str(folder / "1") in str(error)
        finally:
            path.write_bytes(sound[path])

    check()


def test_a_checkpoint_of_giant_arrays_is_refused_before_they_are_read(tmp_path):
    saved(tmp_path, state() | {"params": {"w": np.zeros(10_000_000, np.float32)}})
    with (
        harmless(tmp_path, megabytes=20),
        pytest.raises(DamagedError, match=r"params\.w is \(10000000,\), the network has \(3000,\)"),
    ):
        checkpoints.load(tmp_path, 1, state())


def test_what_lies_beside_checkpoints_is_left_alone(tmp_path):
    folder = saved(tmp_path / "run", state(1), state(2))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    for name in ("link", "4.orbax-checkpoint-tmp", "notes"):
        (folder / name).symlink_to(outside)
    (folder / "-3").mkdir()
    (folder / "1" / "extra.pkl").write_bytes(b"\x80\x04c__builtin__\nexit\n.")
    with harmless(tmp_path, megabytes=50):
        store = Checkpoints(tmp_path / "run", keep_every=1000)
        assert store.restore_newest(state())["step"] == 2
        for step in (3, 4, 5):
            store.save(step, state(step))
        store.close()
    assert (outside / "precious").read_text() == "data"


def test_a_checkpoint_damaged_twice_is_set_aside_twice(tmp_path):
    for _ in range(2):
        folder = saved(tmp_path, state(1), state(2))
        (folder / "2" / "default" / "manifest.ocdbt").unlink()
        store = Checkpoints(tmp_path, keep_every=1000)
        assert store.restore_newest(state())["step"] == 1
        store.close()
    assert {path.name for path in folder.glob("*.damaged*")} == {"2.damaged", "2.damaged2"}


def test_a_chunk_of_a_simulation_damaged_anywhere_is_read_or_refused_by_name(tmp_path):
    path = tmp_path / "train-000000.npz"
    save_chunk(path, Chunk([b"one", b"two"], {"event_id": np.arange(2)}, {}))
    sound = path.read_bytes()
    assert load_chunk(path).pngs == [b"one", b"two"]

    @bounded(60)
    @given(changes=edits(3))
    def check(changes):
        path.write_bytes(edited(sound, changes))
        with harmless(tmp_path, megabytes=20), read_or_refused(path):
            load_chunk(path)

    check()


@pytest.mark.parametrize("content", [b"", b"no labels", None])
def test_damaged_labels_of_a_simulation_are_named(tmp_path, content):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["train"] = np.zeros(3)
    if content is not None:
        (tmp_path / "labels.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.h5 is damaged .* to simulate it again"):
        count_images(tmp_path)
