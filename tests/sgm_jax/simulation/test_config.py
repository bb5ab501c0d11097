import pytest

from sgm_jax.simulation.config import KIND_NAMES, check
from sgm_jax.simulation.particles import ParticleKind


def test_defaults_pass(config):
    check(config)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_train", -1, "num_train = -1"),
        ("num_workers", 0, "num_workers = 0"),
        ("pixel_mm", 0.0, "pixel_mm = 0.0"),
        ("diffusion_scale", -0.1, "diffusion_scale = -0.1"),
        ("scaling", "log", "'log'"),
        ("min_lit_fraction", 0.0, "min_lit_fraction = 0.0"),
        ("recombination", "box", "recombination = 'box' must be one of"),
        ("field_kv_per_cm", 0.0, "field_kv_per_cm = 0.0"),
        ("electron_lifetime_ms", -1.0, "electron_lifetime_ms = -1.0"),
        ("electron_lifetime_ms", float("nan"), "electron_lifetime_ms = nan"),
        ("noise_mev", -0.1, "noise_mev = -0.1"),
        ("crop", "centre", "crop = 'centre' must be one of"),
        ("particles_per_event", (0, 2), r"particles_per_event = \(0, 2\)"),
        ("particles_per_event", (3, 2), r"particles_per_event = \(3, 2\)"),
        ("particles_per_event", (1, 2.5), "two rising whole numbers"),
        ("image_size", 63, "63"),
        ("image_size", 256, "image_size = 256 < view_size = 256"),
        ("view_size", 1024, "1024 <= volume_pixels = 768"),
    ],
)
def test_bad_settings_are_refused_with_their_value(config, name, value, message):
    with config.ignore_type():
        config[name] = value
    with pytest.raises(ValueError, match=message):
        check(config)


def test_asking_for_no_image_at_all_is_refused(config):
    config.num_train = config.num_test = 0
    with pytest.raises(ValueError, match="at least one"):
        check(config)


@pytest.mark.parametrize("bounds", [(500.0, 100.0), (0.0, 100.0), (1.0, 2.0, 3.0)])
def test_bad_momentum_bounds_are_refused(config, bounds):
    config.momentum_mev.muon = bounds
    with pytest.raises(ValueError, match=rf"muon = \({bounds[0]}, {bounds[1]}"):
        check(config)


def test_every_kind_has_its_momentum_bounds_under_its_own_name(config):
    assert [kind.name.lower() for kind in ParticleKind] == list(KIND_NAMES)
    assert sorted(config.momentum_mev) == sorted(KIND_NAMES)


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_image_sizes_up_to_512_work_in_a_larger_view(config, size):
    config.image_size, config.view_size = size, 768
    check(config)


def test_too_small_a_view_is_refused_with_the_fix(config):
    config.image_size = 512
    with pytest.raises(ValueError, match=r"512 < view_size = 256 .* enlarge the right-hand ones"):
        check(config)
