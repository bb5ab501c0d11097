import numpy as np
import pytest

from sgm_jax.simulation.config import KIND_NAMES
from sgm_jax.simulation.particles import ParticleKind, draw_primaries

COUNT = 20_000


@pytest.fixture
def primaries(config):
    return draw_primaries(np.random.default_rng(1), COUNT, config)


def test_the_five_kinds_come_equally_often(primaries):
    assert np.bincount(primaries.kind).tolist() == [COUNT // 5] * 5


def test_codes_follow_the_particle_data_group_and_pions_come_in_both_charges(primaries):
    codes = {k: set(primaries.pdg[primaries.kind == k].tolist()) for k in ParticleKind}
    assert codes == {0: {11}, 1: {22}, 2: {13}, 3: {211, -211}, 4: {2212}}


@pytest.mark.parametrize("kind", ParticleKind)
def test_momenta_are_uniform_within_their_bounds(primaries, config, kind):
    low, high = config.momentum_mev[KIND_NAMES[kind]]
    size = np.linalg.norm(primaries.momentum_mev[primaries.kind == kind], axis=1)
    assert low <= size.min() and size.max() <= high
    assert size.mean() == pytest.approx(
        (low + high) / 2, abs=4.0 * (high - low) / np.sqrt(12 * 4000)
    )


def test_directions_are_isotropic(primaries):
    unit = primaries.momentum_mev / np.linalg.norm(primaries.momentum_mev, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.mean(axis=0), 0.0, atol=4.0 / np.sqrt(3 * COUNT))
    np.testing.assert_allclose((unit**2).mean(axis=0), 1.0 / 3.0, atol=0.01)


def test_vertices_fill_the_argon(primaries, config):
    half_cm = config.volume_pixels * config.pixel_mm / 20.0
    assert np.abs(primaries.position_cm).max() <= half_cm
    assert primaries.position_cm.std() == pytest.approx(half_cm / np.sqrt(3.0), rel=0.02)


def test_crops_around_the_vertex_lie_in_the_argon(config):
    before = draw_primaries(np.random.default_rng(1), COUNT, config)
    config.crop = "start"
    primaries = draw_primaries(np.random.default_rng(1), COUNT, config)
    half_cm = (config.volume_pixels - config.image_size) * config.pixel_mm / 20.0
    assert 0.999 * half_cm < np.abs(primaries.position_cm).max() <= half_cm
    assert np.array_equal(primaries.momentum_mev, before.momentum_mev)


def test_kinetic_energy_obeys_the_mass_shell(primaries):
    proton = primaries.kind == ParticleKind.PROTON
    momentum = np.linalg.norm(primaries.momentum_mev[proton], axis=1)
    energy = primaries.kinetic_mev[proton] + 938.27209
    np.testing.assert_allclose(energy**2 - momentum**2, 938.27209**2, rtol=1e-9)
