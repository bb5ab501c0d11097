import numpy as np
import pytest

from sgm_jax.simulation.truth import PixelClass, deposit_classes

TRACK = np.dtype(
    [("event", "u8"), ("tid", "i4"), ("parent", "i4"), ("pid", "i4"), ("creator", "S16")]
)
DEPOSIT = np.dtype([("event", "u8"), ("tid", "i4"), ("energy", "f8")])
NO_POINTS = np.zeros(0, DEPOSIT)


def classes(tracks, deposits):
    tracks = np.array([(0, *t) for t in tracks], TRACK)
    lines = np.array([(0, *d) for d in deposits], DEPOSIT)
    return deposit_classes(tracks, lines, NO_POINTS, delta_min_mev=3.0).tolist()


@pytest.mark.parametrize("pdg", [13, -13, 211, -211, 2212, 1000180400])
def test_heavy_particles_make_tracks(pdg):
    assert classes([(1, 0, pdg, b"Primary")], [(1, 100.0)]) == [PixelClass.TRACK]


@pytest.mark.parametrize("pdg", [11, -11, 22])
def test_primary_electrons_and_photons_make_showers(pdg):
    assert classes([(1, 0, pdg, b"Primary")], [(1, 1.0)]) == [PixelClass.SHOWER]


@pytest.mark.parametrize(
    ("kinetic_mev", "expected"), [(2.9, PixelClass.TRACK), (3.0, PixelClass.SHOWER)]
)
def test_knock_on_electrons_belong_to_their_track_below_the_limit(kinetic_mev, expected):
    tracks = [(1, 0, 13, b"Primary"), (2, 1, 11, b"Ionisation")]
    assert classes(tracks, [(2, 0.5), (2, kinetic_mev), (1, 100.0)]) == [
        expected,
        expected,
        PixelClass.TRACK,
    ]


@pytest.mark.parametrize("creator", [b"Decay", b"Capture"])
def test_michel_electrons_make_showers_even_when_slow(creator):
    tracks = [(1, 0, 13, b"Primary"), (2, 1, 11, creator)]
    assert classes(tracks, [(2, 1.0)]) == [PixelClass.SHOWER]


def test_descendants_take_the_class_of_the_first_electron_or_photon_of_their_line():
    line = [(k, k - 1, 11 if k % 2 else 22, b"Bremsstrahlung") for k in range(3, 40)]
    small = [(1, 0, 2212, b"Primary"), (2, 1, 11, b"Ionisation"), *line]
    assert classes(small, [(2, 1.0), (39, 0.1)]) == [PixelClass.TRACK] * 2
    assert classes(small, [(2, 9.0), (39, 0.1)]) == [PixelClass.SHOWER] * 2


def test_a_proton_inside_a_shower_makes_a_track():
    tracks = [(1, 0, 22, b"Primary"), (2, 1, 2212, b"photonNuclear")]
    assert classes(tracks, [(2, 50.0)]) == [PixelClass.TRACK]


def test_events_do_not_mix_and_rows_may_come_in_any_order():
    rows = [(1, 2, 1, 11, b"Ionisation"), (0, 1, 0, 11, b"Primary"), (1, 1, 0, 13, b"Primary")]
    lines = np.array([(0, 1, 5.0), (1, 2, 1.0), (1, 1, 9.0)], DEPOSIT)
    points = np.array([(1, 2, 0.0), (0, 1, 0.0)], DEPOSIT)
    found = deposit_classes(np.array(rows, TRACK), lines, points, delta_min_mev=3.0)
    shower, track = PixelClass.SHOWER, PixelClass.TRACK
    assert found.tolist() == [shower, track, track, track, shower]
