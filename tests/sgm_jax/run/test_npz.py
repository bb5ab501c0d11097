"""Long arrays written a block at a time."""

import numpy as np
import pytest

from sgm_jax.run.npz import npz_writer


def test_blocks_come_back_as_one_array(tmp_path):
    rows = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    with npz_writer(tmp_path / "a.npz") as writer:
        with writer.array("rows", rows.shape, np.float32) as append:
            append(rows[:4])
            append(rows[4:])
        with writer.array("count", (2,), np.uint8) as append:
            append(np.array([1, 2], np.uint8))
    with np.load(tmp_path / "a.npz") as stack:
        np.testing.assert_array_equal(stack["rows"], rows)
        np.testing.assert_array_equal(stack["count"], [1, 2])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((5, 2), np.uint8), "rows takes float32"),
        (np.zeros((5, 3), np.float32), "rows takes float32"),
        (np.zeros((4, 2), np.float32), "was to have 5 rows and got 4"),
    ],
)
def test_a_wrong_block_leaves_no_file(tmp_path, block, message):
    with (
        pytest.raises(ValueError, match=message),
        npz_writer(tmp_path / "a.npz") as writer,
        writer.array("rows", (5, 2), np.float32) as append,
    ):
        append(block)
    assert list(tmp_path.iterdir()) == []
