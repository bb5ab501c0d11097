"""Lists of particles: from tables, and from what a simulation writes."""

import h5py
import numpy as np
import pytest

from sgm_jax.data.events import read_events

KINDS = ("electron", "photon", "muon", "pion", "proton")


def read(path, canvas=(40, 60), particles=KINDS):
    return read_events(str(path), particles=particles, canvas=canvas)


def test_a_table_is_grouped_by_events_in_its_own_order(tmp_path):
    (tmp_path / "list.csv").write_text(
        "px,py,pz,particle,event,row,column\n"
        "0,1,2,muon,7,3,4\n0,3,4,proton,2,39,59\n5,6,7,pion,7,3,4\n"
    )
    events = read(tmp_path / "list.csv")
    np.testing.assert_array_equal(events.event, [2, 7, 7])
    np.testing.assert_array_equal(events.number, [0, 0, 1])
    np.testing.assert_array_equal(events.particle, [4, 2, 3])
    np.testing.assert_array_equal(events.momentum, [[0, 3, 4], [0, 1, 2], [5, 6, 7]])
    np.testing.assert_array_equal(events.vertex, [[39, 59], [3, 4], [3, 4]])
    np.testing.assert_array_equal(events.ids, [2, 7])
    np.testing.assert_array_equal(events.take([7]), [1, 2])


def test_without_a_vertex_events_begin_in_the_middle(tmp_path):
    (tmp_path / "list.csv").write_text("event,particle,px,py,pz\n0,muon,0,0,300\n")
    np.testing.assert_array_equal(read(tmp_path / "list.csv").vertex, [[20, 30]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("particle,px,py,pz\nmuon,0,0,3", "must have 'event' once"),
        ("event,particle,px,py\n0,muon,0,0", "must have 'pz' once"),
        ("event,particle,px,py,pz,row\n0,muon,0,0,3,1", "event and row alone"),
        ("event,particle,px,py,pz\n1.5,muon,0,0,3", "row 0 has the event '1.5'"),
        ("event,particle,px,py,pz,row,column\n0,muon,0,0,3,-1,2", "row 0 has the row '-1'"),
        ("event,particle,px,py,pz,row,column\n0,muon,0,0,3,1,60", "1, 60, outside"),
    ],
)
def test_a_table_that_says_something_else_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "list.csv")


def labels(path, *, primaries):
    """Write the truth of three images: two of event 8, one of event 5."""
    with h5py.File(path, "w") as file:
        file["test/event_id"] = np.array([5, 8, 8])
        file["test/projection"] = np.array([0, 1, 2], np.uint8)
        file["test/start_px"] = np.array([[20.2, 30.9], [20.0, 30.1], [21.0, 30.5]], np.float32)
        file["test/particle"] = np.array([2, 4, 4], np.uint8)
        file["test/momentum_mev"] = np.array([[1, 2, 3], [4, 5, 6], [4, 5, 6]], np.float32)
        if primaries:
            file["primaries/test/event_id"] = np.array([5, 8, 8])
            file["primaries/test/particle"] = np.array([2, 0, 4], np.uint8)
            momenta = [[1, 2, 3], [7, 8, 9], [4, 5, 6]]
            file["primaries/test/momentum_mev"] = np.array(momenta, np.float32)


def test_each_image_of_a_simulation_is_an_event_as_it_is_seen(tmp_path):
    labels(tmp_path / "labels.h5", primaries=True)
    events = read(f"{tmp_path}/labels.h5::test")
    np.testing.assert_array_equal(events.event, [0, 1, 1, 2, 2])
    np.testing.assert_array_equal(events.particle, [2, 0, 4, 0, 4])
    # The line of sight comes first, then the other two axes.
    seen = [[1, 2, 3], [8, 7, 9], [5, 4, 6], [9, 7, 8], [6, 4, 5]]
    np.testing.assert_array_equal(events.momentum, seen)
    np.testing.assert_array_equal(events.vertex[[0, 1, 3]], [[20, 30], [20, 30], [21, 30]])


def test_single_particles_of_a_simulation_are_events_of_one(tmp_path):
    labels(tmp_path / "labels.h5", primaries=False)
    events = read(f"{tmp_path}/labels.h5::test")
    np.testing.assert_array_equal(events.event, [0, 1, 2])
    np.testing.assert_array_equal(events.momentum, [[1, 2, 3], [5, 4, 6], [6, 4, 5]])
    with pytest.raises(ValueError, match="no train/"):
        read(f"{tmp_path}/labels.h5::train")
    with pytest.raises(ValueError, match=r"labels.h5::test"):
        read(tmp_path / "labels.h5")
    with pytest.raises(ValueError, match="unknown particle 'electron'"):
        labels(tmp_path / "other.h5", primaries=True)
        read(f"{tmp_path}/other.h5::test", particles=("muon", "proton"))
