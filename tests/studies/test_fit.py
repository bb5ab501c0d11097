import numpy as np
import pytest

from sgm_jax.simulation.config import default_simulation_config
from studies.fit import STAND_IN, TRACK_RANGES_MEV, TRUTH, Trial, best, ranges_of, refine
from studies.published import TARGETS, ImageTable, Measured
from studies.scan import WIDE_MEV, configure, range_weights


def trial(charge, labels=TRUTH):
    measured = {name: Measured(target.value, 0.0) for name, target in TARGETS.items()}
    measured["shower_charge"] = Measured(charge, 0.0)
    detector = {"diffusion_scale": 1.0, "threshold_mev": 0.05}
    return Trial(detector, "default", (35.0, 1000.0), labels, measured)


def test_the_best_trial_is_the_nearest_to_the_targets_among_its_labels():
    trials = [trial(12_000.0), trial(15_000.0), trial(15_134.0, STAND_IN), trial(16_000.0)]
    assert best(trials, TRUTH).measured["shower_charge"].value == 15_000.0
    assert best(trials, STAND_IN).merit() == 0.0


def test_refinement_steps_to_all_four_sides():
    settings = [(d["diffusion_scale"], d["threshold_mev"]) for d in refine(trial(0.0))]
    diffusion, threshold = np.array(settings).T
    assert sorted(diffusion)[0] < 1.0 < sorted(diffusion)[-1]
    assert sorted(threshold)[0] < 0.05 < sorted(threshold)[-1]


def test_the_default_track_ranges_are_those_of_the_simulation():
    config = default_simulation_config()
    for name, bounds in TRACK_RANGES_MEV["default"].items():
        assert tuple(config.momentum_mev[name]) == bounds


def test_a_narrow_range_keeps_the_kinds_equally_frequent():
    rng = np.random.default_rng(0)
    count = 40_000
    kind = rng.integers(0, 5, count)
    bounds = np.array(list(WIDE_MEV.values()))[kind]
    columns = dict.fromkeys(("lit", "charge", "length_px", "width_px"), np.ones(count))
    wide = ImageTable(
        event=np.arange(count),
        kind=kind,
        momentum_mev=rng.uniform(bounds[:, 0], bounds[:, 1]),
        label_pixels=np.ones((count, 5)),
        label_charge=np.ones((count, 5)),
        **columns,
    )
    weight = range_weights(wide, WIDE_MEV, ranges_of("slow", (35.0, 500.0)))
    share = np.bincount(kind, weight) / weight.sum()
    np.testing.assert_allclose(share, 0.2, atol=0.015)
    assert np.all(weight[(kind == 0) & (wide.momentum_mev > 500.0)] == 0.0)
    assert np.all(range_weights(wide, WIDE_MEV, WIDE_MEV) == 1.0)


def test_a_range_wider_than_simulated_is_refused():
    empty = ImageTable(*(np.zeros(0) for _ in range(9)))
    with pytest.raises(ValueError, match=r"electron: momenta 10.0 to 500.0 .* 35.0 to 1600.0"):
        range_weights(empty, WIDE_MEV, ranges_of("default", (10.0, 500.0)))


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="no setting 'difusion_scale'"):
        configure({"difusion_scale": 1.0}, WIDE_MEV)
    config = configure({"threshold_mev": 0.03}, ranges_of("slow", (35.0, 500.0)))
    assert config.threshold_mev == 0.03 and config.momentum_mev.muon == (90.0, 500.0)
