import numpy as np
import pytest

from sgm_jax.simulation import argon_data
from sgm_jax.simulation.argon_electromagnetic import ATOMIC_NUMBER, ELECTRON_MASS_MEV
from sgm_jax.simulation.argon_nuclear import (
    capture_barn,
    elastic_barn,
    giant_dipole_mb,
    inelastic_barn,
    mass_number,
    quasi_deuteron_mb,
)
from sgm_jax.simulation.physics_vector import read_physics_vector, write_physics_vector

RADIATION_LENGTH_G_CM2 = 19.55  # PDG, argon; 14.0 cm of liquid
ATOMS_PER_G = 6.02214076e23 / 39.948


def read_bremsstrahlung(path):
    words = np.array(path.read_text().split(), dtype=float)
    num_fraction, num_energy = int(words[1]), int(words[2])
    fraction, log_energy, values = np.split(words[3:], [num_fraction, num_fraction + num_energy])
    return fraction, np.exp(log_energy), values.reshape(num_energy, num_fraction)


@pytest.fixture(scope="module")
def bremsstrahlung(argon_folder):
    return read_bremsstrahlung(argon_folder / "G4EMLOW8.8/brem_SB/br18")


def radiated_over_energy(bremsstrahlung, kinetic_mev):
    fraction, energies, values = bremsstrahlung
    row = values[np.argmin(np.abs(energies - kinetic_mev))]
    total = kinetic_mev + ELECTRON_MASS_MEV
    beta2 = 1.0 - (ELECTRON_MASS_MEV / total) ** 2
    mb = np.trapezoid(row, fraction) * kinetic_mev * ATOMIC_NUMBER**2 / beta2
    return mb * 1e-27 * ATOMS_PER_G * RADIATION_LENGTH_G_CM2 / total


@pytest.mark.parametrize(("kinetic_mev", "low", "high"), [(1000, 0.98, 1.01), (100, 0.88, 0.94)])
def test_electrons_radiate_their_energy_in_one_radiation_length(
    bremsstrahlung, kinetic_mev, low, high
):
    assert low < radiated_over_energy(bremsstrahlung, kinetic_mev) < high


def test_the_radiated_share_rises_with_energy(bremsstrahlung):
    shares = [radiated_over_energy(bremsstrahlung, e) for e in (2, 5, 10, 30, 100, 300, 1000)]
    assert np.all(np.diff(shares) > 0.0)


def test_bremsstrahlung_is_positive_and_falls_with_photon_energy(bremsstrahlung):
    fraction, energies, values = bremsstrahlung
    assert np.all(values > 0.0)
    # Complete screening goes as 4/3 - 4/3 k + k^2: it falls up to k = 2/3 and turns up after it.
    assert np.all(np.diff(values[:, fraction <= 0.65], axis=1) < 0.0)
    assert fraction[-1] == 1.0 and energies[0] == pytest.approx(1e-3)
    assert energies[-1] >= 1e4


def test_photoelectric_effect_agrees_with_nist_and_jumps_at_the_k_edge(argon_folder):
    energy, scaled = read_physics_vector(argon_folder / "G4EMLOW8.8/epics2017/phot/pe-cs-18.dat")
    cm2_per_g = scaled / energy**3 * 1e-24 * ATOMS_PER_G
    # NIST (XAAMDI): 63.2 cm2/g in all at 10 keV, nearly all of it photoelectric.
    assert np.interp(1e-2, energy, cm2_per_g) == pytest.approx(62.0, rel=0.04)
    edge_mev = 3.206e-3
    below, above = np.interp([edge_mev * 0.999, edge_mev * 1.001], energy, cm2_per_g)
    assert above > 8.0 * below
    assert np.all(np.diff(cm2_per_g[energy > 3.3e-3]) < 0.0)


@pytest.mark.parametrize("name", ["pe-high-18.dat", "pe-low-18.dat"])
def test_photoelectric_parametrisations_are_switched_off_in_favour_of_the_table(argon_folder, name):
    words = (argon_folder / "G4EMLOW8.8/epics2017/phot" / name).read_text().split()
    assert [int(w) for w in words[:2]] == [1, 1] and float(words[2]) > 1e6
    assert float(words[3]) == pytest.approx(15.76e-6)


def test_rayleigh_scattering_falls_with_energy_and_starts_near_its_thomson_limit(argon_folder):
    energy, scaled = read_physics_vector(argon_folder / "G4EMLOW8.8/epics2017/rayl/re-cs-18.dat")
    barn = scaled / energy**2 / 1e-22
    assert np.all(np.diff(barn[energy > 1e-3]) < 0.0)
    # All 18 electrons in phase: Z^2 times the Thomson cross section, 0.665 barn.
    assert 0.5 < np.interp(1e-3, energy, barn) / (18**2 * 0.665) < 1.0


def test_neutron_files_cover_every_element_and_are_positive(argon_folder):
    folder = argon_folder / "G4PARTICLEXS4.2/neutron"
    for element in range(1, 93):
        for name in ("inel", "el", "cap"):
            energy, values = read_physics_vector(folder / f"{name}{element}")
            assert np.all(values > 0.0) and energy[-1] == pytest.approx(2e4)


def test_neutron_inelastic_reaches_letaws_plateau_and_stops_below_the_first_level(argon_folder):
    energy, mm2 = read_physics_vector(argon_folder / "G4PARTICLEXS4.2/neutron/inel18")
    plateau_barn = 45e-3 * 40**0.7 * (1.0 + 0.016 * np.sin(5.3 - 2.63 * np.log(40.0)))
    assert np.interp(2000.0, energy, mm2) / 1e-22 == pytest.approx(plateau_barn, rel=0.01)
    assert np.all(mm2[energy < 1.4] <= 1e-12 * 1e-22)


def test_slow_neutrons_follow_the_one_over_v_law_from_argons_thermal_value():
    assert capture_barn(np.array([2.53e-8]))[0] == pytest.approx(0.66)
    slow, fast = capture_barn(np.array([1e-6, 4e-6]))
    assert slow == pytest.approx(2.0 * fast)


def test_total_neutron_cross_section_is_a_few_barn_at_20_mev():
    energy = np.array([20.0])
    total = inelastic_barn(40, energy) + elastic_barn(40, energy)
    assert 1.5 < total[0] < 3.5


@pytest.mark.parametrize(("element", "mass"), [(1, 1), (6, 12), (18, 40), (26, 56), (92, 238)])
def test_mass_numbers_lie_near_the_valley_of_stability(element, mass):
    assert mass_number(element) == pytest.approx(mass, rel=0.05)


def test_photonuclear_files_cover_every_element_and_are_positive(argon_folder):
    for element in range(1, 101):
        _, values = read_physics_vector(argon_folder / f"G4PARTICLEXS4.2/gamma/inel{element}")
        assert np.all(values > 0.0)


def test_giant_dipole_exhausts_the_enhanced_sum_rule():
    energy = np.linspace(8.001, 2000.0, 400_000)
    area = np.trapezoid(giant_dipole_mb(18, 40, energy), energy)
    assert area / (60.0 * 22 * 18 / 40) == pytest.approx(1.25, rel=0.03)
    assert 17.0 < energy[np.argmax(giant_dipole_mb(18, 40, energy))] < 21.0


def test_quasi_deuterons_take_over_above_the_resonance():
    energy = np.array([19.0, 80.0])
    dipole, deuteron = giant_dipole_mb(18, 40, energy), quasi_deuteron_mb(18, 40, energy)
    assert dipole[0] > 10.0 * deuteron[0] and deuteron[1] > dipole[1]


def test_nuclide_table_holds_the_stable_ground_state_of_argon_40(argon_folder):
    words = (argon_folder / "G4ENSDFSTATE3.0/ENSDFSTATE.dat").read_text().split()
    assert words[:3] == ["18", "40", "0.0"] and float(words[4]) == -1.0


def test_physics_vectors_come_back_as_written(tmp_path):
    energy, values = np.geomspace(1e-5, 1e4, 50), np.linspace(1.0, 2.0, 50)
    write_physics_vector(tmp_path / "table", energy, values)
    read_energy, read_values = read_physics_vector(tmp_path / "table")
    np.testing.assert_allclose(read_energy, energy, rtol=1e-11)
    np.testing.assert_allclose(read_values, values, rtol=1e-11)


@pytest.mark.parametrize(
    ("energy", "values", "message"),
    [
        ([1.0, 2.0], [1.0], "same length"),
        ([2.0, 1.0], [1.0, 1.0], "rise"),
        ([1.0, 2.0], [1.0, np.nan], "1 of 2"),
    ],
)
def test_bad_physics_vectors_are_refused(tmp_path, energy, values, message):
    with pytest.raises(ValueError, match=message):
        write_physics_vector(tmp_path / "table", np.array(energy), np.array(values))


def test_a_truncated_physics_vector_is_refused(tmp_path):
    (tmp_path / "table").write_text("1 2 3\n3\n1 1\n2 2\n")
    with pytest.raises(ValueError, match="found 2"):
        read_physics_vector(tmp_path / "table")


def test_data_are_written_once_and_found_again(tmp_path, monkeypatch, argon_folder):
    monkeypatch.delenv("GEANT4_DATA_DIR", raising=False)
    cache = tmp_path / "cache" / "geant4"
    first = argon_data.find_or_write_data(cache)
    stamp = (cache / "G4EMLOW8.8/brem_SB/br18").stat().st_mtime_ns
    assert argon_data.find_or_write_data(cache) == first
    assert (cache / "G4EMLOW8.8/brem_SB/br18").stat().st_mtime_ns == stamp
    assert first.kind == argon_data.APPROXIMATED
    assert [p.name for p in cache.parent.iterdir()] == ["geant4"]
    files = sorted(p.relative_to(cache) for p in cache.rglob("*") if p.is_file())
    assert all((cache / f).read_bytes() == (argon_folder / f).read_bytes() for f in files)


def test_an_interrupted_writing_leaves_no_data(tmp_path, monkeypatch):
    def full_disk(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("GEANT4_DATA_DIR", raising=False)
    monkeypatch.setattr(argon_data, "write_neutrons", full_disk)
    pytest.importorskip("xraydb")
    with pytest.raises(OSError, match="No space"):
        argon_data.find_or_write_data(tmp_path / "geant4")
    assert list(tmp_path.iterdir()) == []


def test_official_data_are_used_where_the_variable_points(tmp_path, monkeypatch):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path))
    data = argon_data.find_or_write_data(tmp_path / "unused")
    assert (data.folder, data.kind) == (tmp_path, argon_data.OFFICIAL)
    assert not (tmp_path / "unused").exists()


def test_a_variable_that_points_nowhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="GEANT4_DATA_DIR"):
        argon_data.find_or_write_data()
