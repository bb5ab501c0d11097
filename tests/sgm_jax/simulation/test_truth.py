import numpy as np
import pytest

from sgm_jax.simulation.truth import PixelClass, fold_to_ssnet, label_deposits

TRACK = np.dtype(
    [("event", "u8"), ("tid", "i4"), ("parent", "i4"), ("pid", "i4"), ("creator", "S16")]
)
DEPOSIT = np.dtype([("event", "u8"), ("tid", "i4"), ("energy", "f8")])
NO_POINTS = np.zeros(0, DEPOSIT)


def classes(tracks, deposits):
    tracks = np.array([(0, *t) for t in tracks], TRACK)
    lines = np.array([(0, *d) for d in deposits], DEPOSIT)
    return label_deposits(tracks, lines, NO_POINTS, delta_min_mev=3.0)[0].tolist()


@pytest.mark.parametrize("pdg", [13, -13, 211, -211, 2212, 1000180400])
def test_heavy_particles_make_tracks(pdg):
    assert classes([(1, 0, pdg, b"Primary")], [(1, 100.0)]) == [PixelClass.TRACK]


@pytest.mark.parametrize("pdg", [11, -11, 22])
def test_primary_electrons_and_photons_make_showers(pdg):
    assert classes([(1, 0, pdg, b"Primary")], [(1, 1.0)]) == [PixelClass.SHOWER]


@pytest.mark.parametrize(
    ("kinetic_mev", "expected"), [(2.9, PixelClass.TRACK), (3.0, PixelClass.DELTA)]
)
def test_knock_on_electrons_belong_to_their_track_below_the_limit_and_are_deltas_above(
    kinetic_mev, expected
):
    tracks = [(1, 0, 13, b"Primary"), (2, 1, 11, b"Ionisation")]
    assert classes(tracks, [(2, 0.5), (2, kinetic_mev), (1, 100.0)]) == [
        expected,
        expected,
        PixelClass.TRACK,
    ]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_electron_from_the_decay_of_a_muon_is_a_michel_even_when_slow(sign):
    tracks = [(1, 0, 13 * sign, b"Primary"), (2, 1, 11 * sign, b"Decay"), (3, 2, 22, b"Annihil")]
    assert classes(tracks, [(2, 1.0), (3, 0.5)]) == [PixelClass.MICHEL] * 2


def test_of_the_electrons_of_a_captured_muon_that_decays_the_fastest_is_the_michel():
    auger = [(2, 1, 11, b"Capture"), (5, 1, 11, b"Capture"), (6, 1, 22, b"Capture")]
    decay = [(3, 1, 11, b"Capture"), (4, 1, -12, b"Capture")]
    tracks = [(1, 0, 13, b"Primary"), *auger, *decay]
    deposits = [(2, 0.1), (3, 40.0), (5, 0.2), (6, 0.0), (1, 9.0)]
    shower, michel = PixelClass.SHOWER, PixelClass.MICHEL
    assert classes(tracks, deposits) == [shower, michel, shower, shower, PixelClass.TRACK]


def test_a_muon_captured_by_the_nucleus_has_no_michel():
    tracks = [(1, 0, 13, b"Primary"), (2, 1, 11, b"Capture"), (3, 1, 14, b"Capture")]
    assert classes(tracks, [(2, 0.1)]) == [PixelClass.SHOWER]


def test_an_electron_from_the_decay_of_a_pion_is_no_michel():
    tracks = [(1, 0, 211, b"Primary"), (2, 1, -11, b"Decay"), (3, 1, 12, b"Decay")]
    assert classes(tracks, [(2, 69.0)]) == [PixelClass.SHOWER]


def test_each_muon_of_an_event_has_its_own_michel():
    pair = [(1, 0, 13, b"Primary"), (2, 0, 13, b"Primary")]
    first = [(3, 1, 11, b"Capture"), (4, 1, -12, b"Capture")]
    second = [(5, 2, 11, b"Capture"), (6, 2, 11, b"Capture"), (7, 2, -12, b"Capture")]
    deposits = [(3, 20.0), (5, 0.1), (6, 30.0)]
    shower, michel = PixelClass.SHOWER, PixelClass.MICHEL
    assert classes([*pair, *first, *second], deposits) == [michel, shower, michel]


def test_ssnet_knows_michels_and_deltas_as_showers():
    labels = np.array([[0, 1, 2], [3, 4, 2]], np.uint8)
    folded = fold_to_ssnet(labels)
    assert folded.tolist() == [[0, 1, 2], [1, 1, 2]] and folded.dtype == np.uint8


def test_descendants_take_the_class_of_the_first_electron_or_photon_of_their_line():
    line = [(k, k - 1, 11 if k % 2 else 22, b"Bremsstrahlung") for k in range(3, 40)]
    small = [(1, 0, 2212, b"Primary"), (2, 1, 11, b"Ionisation"), *line]
    assert classes(small, [(2, 1.0), (39, 0.1)]) == [PixelClass.TRACK] * 2
    assert classes(small, [(2, 9.0), (39, 0.1)]) == [PixelClass.DELTA] * 2


def test_a_proton_inside_a_shower_makes_a_track():
    tracks = [(1, 0, 22, b"Primary"), (2, 1, 2212, b"photonNuclear")]
    assert classes(tracks, [(2, 50.0)]) == [PixelClass.TRACK]


def test_events_do_not_mix_and_rows_may_come_in_any_order():
    rows = [(1, 2, 1, 11, b"Ionisation"), (0, 1, 0, 11, b"Primary"), (1, 1, 0, 13, b"Primary")]
    lines = np.array([(0, 1, 5.0), (1, 2, 1.0), (1, 1, 9.0)], DEPOSIT)
    points = np.array([(1, 2, 0.0), (0, 1, 0.0)], DEPOSIT)
    found, track_row = label_deposits(np.array(rows, TRACK), lines, points, delta_min_mev=3.0)
    assert track_row.tolist() == [1, 0, 2, 0, 1]
    shower, track = PixelClass.SHOWER, PixelClass.TRACK
    assert found.tolist() == [shower, track, track, track, shower]
