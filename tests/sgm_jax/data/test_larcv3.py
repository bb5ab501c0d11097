"""Events of larcv3 files: tables of hit pixels that become images."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from sgm_jax.data.hdf5 import read_hdf5
from tests.image_files import GREY, everything, read_grey
from tests.larcv3_files import write_larcv3

RNG = np.random.default_rng(5)
SPARSE = np.where(RNG.random((6, 3, 5, 7)) < 0.2, RNG.random((6, 3, 5, 7)), 0).astype(np.float32)
WRITTEN = Path(__file__).parents[2] / "fixtures/larcv/larcv3.h5"
PRODUCTS = ("sparse2d", "image2d", "tensor2d", "cluster2d")


def events(product, images):
    """Return images ``[N, planes, H, W]``, for clusters each as two that add to it."""
    if product != "cluster2d":
        return images
    odd = np.indices(images.shape).sum(0) % 2
    return np.stack([images * odd, images * (1 - odd)], axis=2)


def read(path, member=None):
    return read_hdf5(path, member=member)


@pytest.mark.parametrize("name", ["image2d_dense", "sparse2d_wire", "cluster2d_truth"])
def test_what_larcv3_itself_wrote_has_axes_and_pixels_as_it_wrote_them(name):
    event, plane, row, column = np.ogrid[:4, :3, :5, :7]
    pixels = 1000 * event + 100 * plane + 10 * row + column
    if name != "image2d_dense":
        pixels = pixels * ((9 * row + column + event + plane) % 5 == 0)
    np.testing.assert_array_equal(read(WRITTEN, name)[:], pixels)
    for k in range(3):
        np.testing.assert_array_equal(read(WRITTEN, f"{name}/{k}")[:], pixels[:, k])


@pytest.mark.parametrize("product", PRODUCTS)
def test_all_products_give_the_images_that_were_written(tmp_path, product):
    path = write_larcv3(tmp_path / "set.h5", product, events(product, SPARSE))
    stored = read(path)
    assert stored.shape == (6, 3, 5, 7) and len(stored) == 6 and stored.dtype == np.float32
    np.testing.assert_array_equal(stored[:], SPARSE)
    rows = np.array([4, 0, 0, 5])
    np.testing.assert_array_equal(stored[rows], SPARSE[rows])
    np.testing.assert_array_equal(stored[4:1:-2], SPARSE[4:1:-2])
    assert stored[:0].shape == (0, 3, 5, 7)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("plane", [0, 2])
@pytest.mark.parametrize("name", ["{}_wire/{}", "{}_wire_group/{}", "Data/{}_wire_group/{}", "{1}"])
def test_one_plane_can_be_named(tmp_path, product, plane, name):
    path = write_larcv3(tmp_path / "set.h5", product, events(product, SPARSE))
    stored = read(path, name.format(product, plane))
    np.testing.assert_array_equal(stored[:], SPARSE[:, plane])


def test_clusters_that_share_a_pixel_add_their_charges(tmp_path):
    path = write_larcv3(
        tmp_path / "set.h5", "cluster2d", [[[a, 2 * a, 0 * a]] for a in SPARSE[:, 0]]
    )
    np.testing.assert_allclose(read(path)[:], 3 * SPARSE[:, 0], rtol=1e-6)


def test_events_without_charge_are_empty_images(tmp_path):
    images = SPARSE[:, :1] * (np.arange(6) % 2)[:, None, None, None]
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", images)
    np.testing.assert_array_equal(read(path)[:], images[:, 0])


def test_projections_of_no_size_are_left_out(tmp_path):
    """larcv3 writes such ones before the plane that was filled."""
    nothing = np.zeros((0, 0))
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", [[nothing, e[1]] for e in SPARSE])
    np.testing.assert_array_equal(read(path)[:], SPARSE[:, 1])


def test_of_several_groups_none_is_taken_and_all_are_named(tmp_path):
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", SPARSE)
    write_larcv3(path, "cluster2d", events("cluster2d", SPARSE), producer="truth")
    for member in (None, "sparse2d_wires", "cluster2d_wire"):
        with pytest.raises(ValueError, match=r"sparse2d_wire, cluster2d_truth|cluster2d_truth, sp"):
            read(path, member)
    np.testing.assert_array_equal(read(path, "sparse2d_wire/1")[:], SPARSE[:, 1])
    np.testing.assert_allclose(read(path, "cluster2d_truth/1")[:], SPARSE[:, 1])


def other_size(tables):
    tables["image_meta"]["number_of_voxels"][4] = (7, 5)


def ends_early(tables):
    tables["voxels"] = tables["voxels"][:-3]


def no_field(tables):
    tables["extents"] = tables["extents"]["first"].copy()


def outside(tables):
    tables["voxels"]["id"][2] = 35


def no_projections(tables):
    tables["extents"]["N"][3] = 0


def no_events(tables):
    tables["extents"] = tables["extents"][:0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_size, "5x7, 7x5"),
        (ends_early, "ends too early"),
        (no_field, "not the tables that larcv3 writes"),
        (outside, "voxel 35 lies outside an image of 5x7"),
        (no_projections, "event 3 has 0 projections and event 0 has 1"),
        (no_events, "holds no events"),
    ],
)
def test_tables_that_are_no_images_are_refused(tmp_path, change, message):
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", SPARSE[:, :1], change=change)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read(path)[:]


def test_two_planes_are_no_image(tmp_path):
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", SPARSE[:, :2])
    with pytest.raises(ValueError, match="2 planes an event; name one, as in ::sparse2d_wire/0"):
        read(path)
    with pytest.raises(ValueError, match=r"planes 0\.\.1 only"):
        read(path, "sparse2d_wire/2")


def test_events_in_three_dimensions_are_no_images(tmp_path):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for table in ("extents", "voxel_extents", "image_meta", "voxels"):
            file[f"Data/sparse3d_charge_group/{table}"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"three dimensions \(sparse3d_charge_group\)"):
        read(tmp_path / "set.h5")


def test_an_array_beside_the_events_is_read_by_its_name(tmp_path):
    path = write_larcv3(tmp_path / "set.h5", "sparse2d", SPARSE)
    with h5py.File(path, "a") as file:
        file["plain/images"] = GREY
    np.testing.assert_array_equal(everything(read_grey(f"{path}::plain/images"))[..., 0], GREY)
