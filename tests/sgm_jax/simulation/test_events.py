import numpy as np
import pytest

from sgm_jax.simulation.particles import MASS_MEV, Events, Primaries, draw_events, draw_primaries

COUNT = 4000


@pytest.fixture
def events(config):
    config.particles_per_event = (1, 4)
    return draw_events(np.random.default_rng(1), COUNT, config)


def test_the_number_of_particles_is_uniform_within_its_bounds(events):
    found = np.bincount(events.num_particles, minlength=6)
    assert found[[0, 5]].tolist() == [0, 0]
    np.testing.assert_allclose(found[1:5] / COUNT, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / COUNT))


def test_the_particles_of_an_event_share_a_vertex_and_events_do_not(events):
    place = events.primaries.position_cm
    first = np.flatnonzero(np.diff(events.event, prepend=-1))
    assert np.array_equal(place, place[first][events.event])
    assert len(np.unique(place[:, 0])) == COUNT


def test_the_particles_of_an_event_differ_in_all_else(events):
    momentum = events.primaries.momentum_mev
    assert len(np.unique(momentum[:, 0])) == events.event.size > COUNT


def test_single_particles_are_drawn_as_without_events(config):
    events = draw_events(np.random.default_rng(2), 50, config)
    alone = draw_primaries(np.random.default_rng(2), 50, config)
    for field in ("kind", "pdg", "momentum_mev", "position_cm"):
        assert np.array_equal(getattr(events.primaries, field), getattr(alone, field))
    assert events.event.tolist() == list(range(50)) == events.leading().tolist()


def test_the_leading_particle_has_the_most_kinetic_energy_not_momentum():
    # A proton of 500 MeV/c has 125 MeV, a muon of 300 MeV/c has 212 MeV.
    kind = np.array([4, 2, 0])
    momentum = np.array([[500.0, 0, 0], [0, 300.0, 0], [0, 0, 10.0]])
    events = Events(Primaries(kind, kind, momentum, np.zeros((3, 3))), np.array([0, 0, 1]))
    assert events.leading().tolist() == [1, 2]
    assert events.primaries.kinetic_mev[0] == pytest.approx(
        np.hypot(500.0, MASS_MEV[4]) - MASS_MEV[4]
    )


def test_leading_agrees_with_a_search_event_by_event(events):
    kinetic = events.primaries.kinetic_mev
    for event, row in enumerate(events.leading()[:200]):
        rows = np.flatnonzero(events.event == event)
        assert row == rows[kinetic[rows].argmax()]
