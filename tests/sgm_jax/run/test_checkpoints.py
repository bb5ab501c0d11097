import json

import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.run import checkpoints
from sgm_jax.run.checkpoints import Checkpoints, DamagedError


def state_of(step):
    # Large and without pattern, so that it is stored in a file of its own and not compressed away.
    numbers = np.random.default_rng(step).standard_normal(20_000).astype(np.float32)
    return {"step": jnp.asarray(step, jnp.int32), "params": {"w": jnp.asarray(numbers)}}


def run_with(workdir, *steps):
    store = Checkpoints(workdir, keep_every=100)
    for step in steps:
        store.save(step, state_of(step))
    store.close()
    return workdir / "checkpoints"


def largest_file(folder):
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_newest_state_comes_back_unchanged(tmp_path):
    run_with(tmp_path, 1, 2)
    state = Checkpoints(tmp_path, keep_every=100).restore_newest(state_of(0))
    assert state["step"] == 2
    np.testing.assert_array_equal(state["params"]["w"], state_of(2)["params"]["w"])


def test_a_workdir_without_checkpoints_has_no_newest_state(tmp_path):
    assert Checkpoints(tmp_path, keep_every=100).restore_newest(state_of(0)) is None


def test_the_newest_two_and_every_hundredth_are_kept(tmp_path):
    run_with(tmp_path, 100, 120, 140, 160)
    assert checkpoints.steps(tmp_path) == [100, 140, 160]


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lambda path: path.unlink()])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(tmp_path, caplog, damage):
    folder = run_with(tmp_path, 1, 2)
    damage(largest_file(folder / "2"))
    store = Checkpoints(tmp_path, keep_every=100)
    state = store.restore_newest(state_of(0))
    assert state["step"] == 1
    np.testing.assert_array_equal(state["params"]["w"], state_of(1)["params"]["w"])
    assert str(folder / "2") in caplog.text and "going on from the one before" in caplog.text
    assert (folder / "2.damaged").is_dir()
    # The steps that were lost are made and saved again.
    store.save(2, state_of(2))
    store.close()
    assert checkpoints.steps(tmp_path) == [1, 2]
    assert checkpoints.load(tmp_path, 2, state_of(0))["step"] == 2


def test_if_all_checkpoints_are_damaged_nothing_is_thrown_away(tmp_path):
    folder = run_with(tmp_path, 1, 2)
    for step in ("1", "2"):
        flip_a_bit(largest_file(folder / step))
    with pytest.raises(DamagedError, match="2 is damaged"):
        Checkpoints(tmp_path, keep_every=100).restore_newest(state_of(0))
    assert checkpoints.steps(tmp_path) == [1, 2]


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    run_with(tmp_path, 1)
    other = {"step": jnp.zeros((), jnp.int32), "params": {"v": jnp.zeros(3)}}
    with pytest.raises(DamagedError, match="not of this config's network"):
        checkpoints.load(tmp_path, 1, other)


def test_a_checkpoint_whose_hash_was_not_written_is_read(tmp_path):
    folder = run_with(tmp_path, 1)
    (folder / checkpoints.DIGESTS).unlink()
    assert checkpoints.load(tmp_path, 1, state_of(0))["step"] == 1


def test_a_missing_step_is_refused_with_those_there(tmp_path):
    run_with(tmp_path, 1, 2)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 7; there are: 1, 2"):
        checkpoints.load(tmp_path, 7, state_of(0))


def test_the_hash_sees_numbers_types_shapes_and_names():
    zero = np.zeros(4, np.float32)
    trees = [
        {"a": zero},
        {"b": zero},
        {"a": -zero},
        {"a": zero.reshape(2, 2)},
        {"a": zero.view(np.int32)},
    ]
    assert len({checkpoints.digest(tree) for tree in trees}) == len(trees)
    assert checkpoints.digest({"a": zero}) == checkpoints.digest({"a": jnp.zeros(4)})


def test_the_last_hash_of_a_step_counts_and_a_line_cut_short_is_skipped(tmp_path):
    lines = [json.dumps({"step": 5, "blake2b": name}) for name in ("old", "new")]
    (tmp_path / checkpoints.DIGESTS).write_text("\n".join([*lines, '{"step": 6, "bla']))
    assert checkpoints.expected(tmp_path) == {5: "new"}
