"""Images of ROOT files: larcv2 as ROOT writes it, and branches of numbers."""

import sys
from pathlib import Path

import awkward
import numpy as np
import pytest
import uproot

from sgm_jax.data import open_images
from sgm_jax.data.root import read_root
from tests.image_files import COLOUR, GREY, everything, read_grey

LARCV2 = Path(__file__).parents[2] / "fixtures/larcv/larcv2_image2d.root"
EVENT, PLANE, ROW, COLUMN = np.ogrid[:4, :3, :5, :7]
PIXELS = 1000 * EVENT + 100 * PLANE + 10 * ROW + COLUMN
JAGGED = awkward.from_regular(awkward.Array(GREY.reshape(12, 64).astype(np.float32)))
NESTED = awkward.from_regular(awkward.from_regular(awkward.Array(GREY), axis=1), axis=2)


def charges(path):
    """Return what a file holds, before it is scaled."""
    name, _, member = str(path).partition("::")
    return read_root(Path(name), member=member or None)


@pytest.mark.parametrize(
    "member",
    [
        "image2d_wire_tree/{}",
        "image2d_wire_tree/image2d_wire_branch/{}",
        "image2d_wire_tree/_image_v._img/{}",
        "/image2d_wire_tree/image2d_wire_branch/_image_v/_image_v._img/{}",
    ],
)
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_plane_of_larcv2_has_row_and_column_where_larcv2_has_them(member, plane):
    stored = charges(f"{LARCV2}::{member.format(plane)}")
    np.testing.assert_array_equal(stored, PIXELS[:, plane])


def test_all_planes_of_larcv2_are_read_as_channels():
    stored = charges(f"{LARCV2}::image2d_wire_tree")
    np.testing.assert_array_equal(stored, PIXELS)
    np.testing.assert_array_equal(charges(f"{LARCV2}::image2d_segment_tree"), PIXELS[:, 2])


def test_of_several_trees_none_is_taken_and_all_are_named():
    with pytest.raises(ValueError, match=r"image2d_wire_tree.*image2d_segment_tree"):
        open_images(LARCV2, num_channels=1, image_size=None)


def write_tree(path, branches, name="events", kind="mktree"):
    with uproot.recreate(path) as file:
        if kind == "mktree":
            types = {
                key: np.dtype((branch.dtype, branch.shape[1:]))
                if isinstance(branch, np.ndarray)
                else branch.type
                for key, branch in branches.items()
            }
            file.mktree(name, types).extend(branches)
        else:
            file.mkrntuple(name, branches)
    return path


@pytest.mark.parametrize("kind", ["mktree", "mkrntuple"])
@pytest.mark.parametrize(
    "branch",
    [
        GREY,
        GREY.astype(np.float32),
        GREY.astype(np.int16),
        GREY.reshape(12, 64),
        JAGGED,
    ],
    ids=["uint8", "float32", "int16", "flat", "jagged"],
)
def test_a_branch_of_numbers_is_a_set_of_images(tmp_path, kind, branch):
    path = write_tree(tmp_path / "set.root", {"run": np.arange(12), "adc": branch}, kind=kind)
    for member in ("", "::events", "::events/adc"):
        np.testing.assert_array_equal(everything(read_grey(f"{path}{member}"))[..., 0], GREY)


def test_vectors_of_vectors_are_rows_and_columns(tmp_path):
    path = write_tree(tmp_path / "set.root", {"adc": NESTED}, kind="mkrntuple")
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)


def test_a_tree_in_a_directory_is_named_by_its_path(tmp_path):
    path = write_tree(tmp_path / "set.root", {"adc": GREY}, name="analysis/events")
    np.testing.assert_array_equal(
        everything(read_grey(f"{path}::analysis/events/adc"))[..., 0], GREY
    )


def test_planes_of_a_branch_are_channels_and_one_can_be_named(tmp_path):
    planes = np.moveaxis(COLOUR, -1, 1)
    path = write_tree(tmp_path / "set.root", {"adc": np.ascontiguousarray(planes)})
    np.testing.assert_array_equal(charges(path), planes)
    np.testing.assert_array_equal(charges(f"{path}::events/adc/1"), planes[:, 1])


def test_a_set_larger_than_a_block_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("sgm_jax.data.root._BLOCK_BYTES", 5 * 64)
    path = write_tree(tmp_path / "set.root", {"adc": GREY})
    np.testing.assert_array_equal(everything(read_grey(path))[..., 0], GREY)
    np.testing.assert_array_equal(charges(f"{LARCV2}::image2d_wire_tree/1"), PIXELS[:, 1])


ODD = awkward.Array([list(range(n)) for n in (64, 64, 81)])


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (ODD, r"entry 2 holds 81 numbers and entry 0 64"),
        (np.zeros((3, 60)), r"60 numbers an entry are no square image"),
        (np.arange(3), r"no images but int64.*can be read: events/other \(8x8\)"),
        (GREY[:0], r"holds no entries"),
    ],
    ids=["sizes", "no square", "numbers", "empty"],
)
def test_what_is_no_set_of_images_says_what_is(tmp_path, branch, message):
    other = GREY[: len(branch)]
    path = write_tree(tmp_path / "set.root", {"adc": branch, "other": other})
    with pytest.raises(ValueError, match=message):
        read_grey(f"{path}::events/adc")


@pytest.mark.parametrize("member", ["nothing", "events/nothing", "nothing/adc", "events/adc/3"])
def test_a_name_that_is_not_there_lists_those_that_are(tmp_path, member):
    path = write_tree(tmp_path / "set.root", {"run": np.arange(12), "adc": GREY})
    with pytest.raises(ValueError, match=r"can be read: events/adc \(8x8\)"):
        read_grey(f"{path}::{member}")


def test_a_file_cut_short_is_refused_by_name(tmp_path):
    path = tmp_path / "set.root"
    path.write_bytes(LARCV2.read_bytes()[:5000])
    with pytest.raises(ValueError, match=str(path)):
        read_grey(f"{path}::image2d_wire_tree")


def test_without_uproot_the_extra_is_named_and_other_formats_are_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uproot", None)
    np.save(tmp_path / "set.npy", GREY)
    np.testing.assert_array_equal(everything(read_grey(tmp_path / "set.npy"))[..., 0], GREY)
    with pytest.raises(ModuleNotFoundError, match=r"pip install.*\[root\]"):
        open_images(LARCV2, num_channels=1, image_size=None)
