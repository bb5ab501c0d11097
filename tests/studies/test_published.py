import numpy as np
import pytest

from sgm_jax.simulation.truth import PixelClass
from studies.published import (
    CONVENTIONS,
    TARGETS,
    ImageTable,
    Measured,
    figure_of_merit,
    is_track,
    length_peak_px,
    measure,
    neighbour_occupancy,
    relabel,
    weighted_mean,
)


def table(label_pixels, label_charge=None, **columns):
    pixels = np.array(label_pixels)
    count = len(pixels)
    values = {
        "event": np.arange(count),
        "kind": np.zeros(count, int),
        "momentum_mev": np.full(count, 500.0),
        "lit": pixels.sum(axis=1),
        "charge": 10.0 * pixels.sum(axis=1),
        "length_px": np.full(count, 30.0),
        "width_px": np.full(count, 4.0),
        "label_pixels": pixels,
        "label_charge": 10.0 * pixels if label_charge is None else np.array(label_charge),
    }
    return ImageTable(**values | {name: np.array(column) for name, column in columns.items()})


# Pixels of background, shower, track, Michel and delta.
MIXED = table(
    [[0, 10, 30, 0, 0], [0, 10, 30, 15, 15], [0, 20, 20, 0, 0], [0, 30, 10, 0, 0]],
    label_charge=[[0, 90, 10, 0, 0], [0, 1, 9, 1, 1], [0, 1, 2, 0, 0], [0, 2, 2, 0, 0]],
    kind=[2, 4, 1, 3],
)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("pixels", [True, False, False, False]),
        ("energy", [False, True, True, False]),
        ("pixels_michel_delta_track", [True, True, False, False]),
        ("kind", [True, True, False, True]),
    ],
)
def test_what_counts_as_track_follows_the_convention(convention, expected):
    assert is_track(MIXED, convention).tolist() == expected


def test_an_unknown_convention_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'colour' must be one of .*michel"):
        is_track(MIXED, "colour")
    assert len(CONVENTIONS) == 4 and len(PixelClass) == 5


def test_on_target_the_figure_of_merit_is_zero():
    perfect = {name: Measured(target.value, 0.0) for name, target in TARGETS.items()}
    assert figure_of_merit(perfect) == 0.0


@pytest.mark.parametrize("name", TARGETS)
def test_one_deviation_weighs_as_stated(name):
    off = {other: Measured(target.value, 0.0) for other, target in TARGETS.items()}
    off[name] = Measured(1.1 * TARGETS[name].value, 0.0)
    share = TARGETS[name].weight / sum(target.weight for target in TARGETS.values())
    assert figure_of_merit(off) == pytest.approx(0.1 * np.sqrt(share))
    only = {other: float(other == name) for other in TARGETS}
    assert figure_of_merit(off, only) == pytest.approx(0.1)


def test_the_error_of_independent_images_is_the_binomial_one():
    values = np.repeat([0.0, 1.0], [30, 70])
    found = weighted_mean(values, np.ones(100), np.arange(100))
    assert found.value == pytest.approx(0.7)
    assert found.error == pytest.approx(np.sqrt(0.7 * 0.3 / 100))


def test_three_equal_projections_of_an_event_count_once():
    values = np.random.default_rng(0).normal(size=50)
    once = weighted_mean(values, np.ones(50), np.arange(50))
    thrice = weighted_mean(np.repeat(values, 3), np.ones(150), np.repeat(np.arange(50), 3))
    assert thrice.error == pytest.approx(once.error)


def test_weights_repeat_images_and_no_weight_is_an_error():
    values, weight = np.array([1.0, 4.0, 9.0]), np.array([2.0, 1.0, 0.0])
    assert weighted_mean(values, weight, np.arange(3)).value == pytest.approx(2.0)
    with pytest.raises(ValueError, match="none of the 3 images"):
        weighted_mean(values, np.zeros(3), np.arange(3))


def test_the_stand_in_calls_the_lowest_showers_tracks_until_the_share_is_reached():
    track = np.array([True, False, False, False, False])
    order = np.array([0, 40, 10, 30, 20])
    assert relabel(track, np.ones(5), order, share=0.6).tolist() == [True, False, True, False, True]
    assert relabel(track, np.ones(5), order, share=0.1).tolist() == track.tolist()
    weight = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    changed = relabel(track, weight, order, share=0.5)
    assert changed.tolist() == [True, False, False, False, True]


def test_measures_of_a_known_table():
    known = table(
        [[0, 0, 41, 0, 0], [0, 0, 82, 0, 0], [0, 400, 0, 0, 0]],
        width_px=[5.0, 6.0, 9.0],
        length_px=[63.0, 63.5, 20.0],
    )
    found = measure(known, np.ones(3), is_track(known))
    assert {name: measured.value for name, measured in found.items()} == pytest.approx(
        {
            "track_share": 2 / 3,
            "shower_charge": 4000.0,
            "narrow_share": 0.5,
            "track_occupancy": 61.5 / 4096,
            "shower_occupancy": 400 / 4096,
        }
    )
    assert length_peak_px(known, np.ones(3), is_track(known)) == 62.0


def test_neighbours_leave_the_query_out():
    images = np.zeros((7, 64, 64), np.uint8)
    images[0, :32] = 1  # half full, far from the others
    for i in range(1, 7):
        images[i, 60, :i] = 1
    found = neighbour_occupancy(images, queries=1)
    assert found["median"] == pytest.approx(3.0 / 4096)  # the five nearest have 1 to 5 pixels
    assert found["all"] == pytest.approx((2048 + 21) / 7 / 4096)


def test_a_table_survives_its_file(tmp_path):
    MIXED.save(tmp_path / "table.npz")
    again = ImageTable.load(tmp_path / "table.npz")
    np.testing.assert_array_equal(again.label_charge, MIXED.label_charge)
    assert is_track(again).tolist() == is_track(MIXED).tolist()


def test_a_measurement_prints_as_many_digits_as_it_has():
    assert str(Measured(15134.2, 212.0)) == "15134 ± 212"
    assert str(Measured(0.53412, 0.0123)) == "0.534 ± 0.012"
    assert str(Measured(1.0, 0.0)) == "1.000 ± 0.000"
