"""Configurations: every file is valid, and every bad value is refused with a fix."""

from pathlib import Path

import pytest
from ml_collections import config_dict

from sgm_jax.config import check, flatten, simulated_folder
from sgm_jax.generators.score import build
from sgm_jax.generators.score_config import (
    PROBES,
    check_new,
    free_fields,
    sampler_from_config,
)
from sgm_jax.run.experiment import overridden
from sgm_jax.run.workdir import differences
from sgm_jax.samplers import density
from sgm_jax.samplers.predictors import euler_maruyama
from sgm_jax.sde import SDES, sde_from_config
from tests.tiny_run import EDM, tiny_config

# The generator's; the evaluator's networks have their own.
CONFIGS = sorted({path.stem for path in Path("configs").glob("[a-z]*.py")} - {"ssnet"})


def _load(name):
    return __import__(f"configs.{name}", fromlist=["get_config"]).get_config()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_locked_and_valid(name):
    config = _load(name)
    check(config)
    with pytest.raises((AttributeError, KeyError)):
        config.training.batchsize = 1
    assert simulated_folder(config).parts[0] == "data"


def test_the_papers_configuration_has_the_values_of_its_run():
    config = _load("larcv_png64")
    assert (config.model.beta_min, config.model.beta_max) == (0.1, 20.0)
    assert (config.model.nf, config.model.ch_mult, config.model.num_res_blocks) == (
        128,
        (1, 2, 2, 2),
        4,
    )
    assert (config.training.batch_size, config.training.n_iters) == (128, 60_000)
    assert (config.training.reduce_mean, config.data.centered, config.data.num_channels) == (
        True,
        True,
        3,
    )
    assert (config.optim.lr, config.optim.warmup, config.optim.grad_clip) == (2e-4, 5000, 1.0)
    assert config.eval.num_samples == 391 * 128


def test_the_papers_sampler_is_one_flag_away():
    config = _load("larcv_png64")
    config.sampling.method = "pc"
    drawn_by = sampler_from_config(config, sde_from_config(config))
    assert drawn_by.predictor is euler_maruyama and drawn_by.corrector is None
    assert (drawn_by.nfe, drawn_by.eps, drawn_by.noise_removal) == (1000, 1e-3, True)


@pytest.mark.parametrize("sde", ["vpsde", "subvpsde", "vesde"])
def test_the_sampler_of_the_configuration_goes_with_every_sde(sde):
    config = _load("larcv_png64")
    config.training.sde = sde
    check(config)
    assert sampler_from_config(config, sde_from_config(config)).nfe == 20


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("training.sde", "vpsd", "can be: 'vpsde'"),
        ("training.objective", "score", "can be: 'noise', 'velocity', 'edm'"),
        ("training.batch_size", 0, "at least 1"),
        ("training.log_freq", 0, "at least 1"),
        ("sampling.method", "rk45", "can be: 'pc', 'heun', 'ddim'"),
        ("sampling.grid", "cosine", "can be: 'edm', 'log_snr'"),
        ("sampling.eta", 1.5, r"\[0, 1\]"),
        ("sampling.predictor", "euler", "euler_maruyama"),
        ("sampling.corrector", "leapfrog", "none"),
        ("training.sde", "ddpm", "vpsde"),
        ("sampling.snr", 0.0, "above 0"),
        ("sampling.n_steps_each", 0, "at least 1"),
        ("sampling.sigma_min", 100.0, "below --config.sampling.sigma_max, 50.0"),
        ("data.num_channels", 2, "1, 3"),
        ("data.scaling", "log", "config.data.scaling: .*per_image, quantile, fixed:FULL"),
        ("data.scaling", "fixed:0", "above 0"),
        ("data.planes", True, "num_channels=3"),
        ("model.beta_min", 20.0, "below --config.model.beta_max, 20.0"),
        ("model.ema_rate", 1.0, r"\[0, 1\)"),
        ("model.ema_rates", (0.5, 0.5), "all be different"),
        ("model.ema_rates", (0.9999,), "all be different"),
        ("model.ema_rates", (1.0,), r"\[0, 1\)"),
        ("training.time_sampling", "cosine", "'uniform', 'importance'"),
        ("sampling.ode_rtol", 0.0, "above 0"),
        ("eval.num_probes", 0, "at least 1"),
        ("eval.probe", "uniform", "'rademacher', 'gaussian'"),
        ("model.resblock_type", "resnet", "biggan"),
        ("model.progressive_input", "skip", "input_skip"),
        ("model.embedding_type", "sin", "fourier"),
        ("model.ch_mult", (1, 2, 2, 2, 2, 2), "multiple of 32"),
        ("optim.optimizer", "AdamW", "'Adam', 'Muon'"),
        ("data.transform", "cube", "'linear', 'sqrt'"),
        ("data.saturation", -0.2, r"\[0, 1\]"),
        ("generator", "gan2", "it can be: 'score'"),
        ("optim.lr", 0.0, "above 0"),
        ("seed", -1, "negative"),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_what_it_can_be(field, value, message, tmp_path):
    config = tiny_config(tmp_path, **{field: value})
    with pytest.raises(ValueError, match=message) as refusal:
        check(config)
    assert repr(value) in str(refusal.value) or "multiple" in message


def test_edm_wants_a_background_of_zero(tmp_path):
    with pytest.raises(ValueError, match=r"set --config\.data\.centered=False"):
        check(tiny_config(tmp_path, **EDM | {"data.centered": True}))


def test_edm_has_noise_levels_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="time_sampling 'importance' does not go with"):
        check(tiny_config(tmp_path, **EDM, **{"training.time_sampling": "importance"}))


@pytest.mark.parametrize(
    ("name", "fields", "fix"),
    [
        # The levels of 128 pixels, folded once, are 64, 32 and 16 wide.
        ("larcv_png64_cpu", {"data.image_size": 128}, 'attn_resolutions="(16,)"'),
        ("larcv_png64", {"data.image_size": 256}, 'attn_resolutions="(32,)"'),
        ("larcv_png64", {"model.attn_resolutions": (32, 12)}, 'attn_resolutions="(32, 16)"'),
    ],
)
def test_attention_that_no_level_has_is_refused_with_a_fix_that_works(name, fields, fix):
    config = _load(name)
    check_new(config)
    config.update_from_flattened_dict(fields)
    check(config)
    with pytest.raises(ValueError, match="no level of the network") as refusal:
        check_new(config)
    assert f"--config.model.{fix}" in str(refusal.value)
    check_new(overridden(config, [f"--config.model.{fix.replace(chr(34), '')}"]))


@pytest.mark.parametrize(
    ("size", "fixes"),
    [
        (100, ("data.image_size=96", "data.image_size=104", 'model.ch_mult="(1, 1)"')),
        (63, ("data.image_size=56", "data.image_size=64")),
        (4, ("data.image_size=8", 'model.ch_mult="(1, 1)"')),
    ],
)
def test_a_size_that_the_levels_do_not_divide_is_refused_with_fixes_that_work(size, fixes):
    config = _load("larcv_png64_cpu")
    config.data.image_size = size
    with pytest.raises(ValueError, match=f"--config.data.image_size={size} must be a mult") as said:
        check(config)
    for fix in fixes:
        assert f"--config.{fix}" in str(said.value)
        check(overridden(config, [f"--config.{fix.replace(chr(34), '')}"]))


def test_a_configuration_without_a_field_is_refused_with_its_name(tmp_path):
    config = tiny_config(tmp_path)
    with config.unlocked():
        del config.model.ema_rates
    with pytest.raises(ValueError, match="no --config.model.ema_rates; start from"):
        check(config)


def test_probes_and_tolerances_are_those_of_the_configuration(tmp_path):
    changes = {"sampling.method": "ode", "sampling.ode_rtol": 1e-3, "sampling.ode_atol": 1e-2}
    config = tiny_config(tmp_path, **changes)
    flow = sampler_from_config(config, build(config).sde)
    assert (flow.rtol, flow.atol) == (1e-3, 1e-2)
    assert tuple(density.PROBES) == PROBES


def test_steps_in_one_dispatch_must_end_where_something_happens(tmp_path):
    config = tiny_config(tmp_path, **{"training.n_jitted_steps": 2, "training.log_freq": 5})
    with pytest.raises(ValueError, match="log_freq 5 is not a multiple .* 2; try 4"):
        check(config)


def test_a_misspelt_override_is_an_error(tmp_path):
    with pytest.raises((KeyError, AttributeError)):
        tiny_config(tmp_path, **{"training.batch_sizes": 2})


@pytest.mark.parametrize(
    ("fields", "same"),
    [({}, True), ({"training.continuous": False}, False), ({"model.scale_by_sigma": True}, False)],
)
def test_the_number_of_scales_may_change_where_the_network_does_not_see_it(tmp_path, fields, same):
    config = tiny_config(tmp_path, **fields)
    ours, other = flatten(config), flatten(config) | {"model.num_scales": 50}
    assert (differences(other, ours, free=free_fields(config)) == []) is same


def test_differences_are_those_that_change_what_is_trained(tmp_path):
    ours = flatten(tiny_config(tmp_path))
    watched = {"training.n_iters": 9, "training.log_freq": 3, "sampling.method": "heun"}
    assert differences(flatten(tiny_config(tmp_path, **watched)), ours) == []
    other = flatten(tiny_config(tmp_path, **{"optim.lr": 0.1}))
    assert differences(other, ours) == ["optim.lr: 0.0002 there, 0.1 here"]


def test_edm_network_does_not_shift_its_input_again(tmp_path):
    options = EDM | {"data.std": 0.1}
    assert build(tiny_config(tmp_path, **options)).net.centered
    assert not build(tiny_config(tmp_path, **{"data.centered": False})).net.centered


def test_paths_that_no_simulation_writes_need_a_workdir(tmp_path):
    with pytest.raises(ValueError, match="--workdir"):
        simulated_folder(tiny_config(tmp_path))


def test_flatten_is_what_json_gives_back(tmp_path):
    flat = flatten(tiny_config(tmp_path))
    assert flat["model.ch_mult"] == [1] and flat["seed"] == 42
    assert flat == flatten(config_dict.ConfigDict(tiny_config(tmp_path).to_dict()))


@pytest.mark.parametrize(
    ("sde", "flow", "message"),
    [("subvpsde", False, "not for SubVPSDE"), ("vpsde", True, "cannot follow")],
)
def test_ancestral_sampling_is_refused_where_it_is_not_defined(sde, flow, message, tmp_path):
    config = tiny_config(tmp_path)
    config.training.sde, config.sampling.probability_flow = sde, flow
    config.sampling.predictor = "ancestral_sampling"
    with pytest.raises(ValueError, match=message):
        check(config)


@pytest.mark.parametrize("name", SDES)
def test_the_sde_is_the_one_named_with_the_constants_of_the_model(name, tmp_path):
    config = tiny_config(tmp_path)
    config.training.sde = name
    config.model.update(beta_min=0.2, beta_max=15.0, sigma_min=0.03, sigma_max=40.0)
    check(config)
    sde = build(config).sde
    assert type(sde) is SDES[name] and sde.num_scales == config.model.num_scales
    given = {"beta_min": 0.2, "beta_max": 15.0, "sigma_min": 0.03, "sigma_max": 40.0}
    assert all(getattr(sde, field, value) == value for field, value in given.items())


@pytest.mark.parametrize(
    "changes",
    [
        EDM,
        {"training.objective": "velocity"},
        {"training.sde": "subvpsde"},
        {"training.likelihood_weighting": True},
        {"training.time_sampling": "importance"},
        {"training.low_discrepancy": True},
    ],
)
def test_a_chain_is_refused_with_what_it_does_not_know(changes, tmp_path):
    with pytest.raises(ValueError, match="continuous=False does not go with"):
        check(tiny_config(tmp_path, **{"training.continuous": False} | changes))


@pytest.mark.parametrize(
    "changes",
    [EDM, {"training.continuous": False}, {"training.likelihood_weighting": True}],
)
def test_a_weighting_is_refused_where_it_has_no_meaning(changes, tmp_path):
    with pytest.raises(ValueError, match="weighting=min_snr is for the continuous"):
        check(tiny_config(tmp_path, **{"training.weighting": "min_snr"} | changes))


def test_balancing_is_for_edm_only(tmp_path):
    balanced = {"training.weighting": "balanced"}
    check(tiny_config(tmp_path, **EDM | balanced))
    with pytest.raises(ValueError, match="'balanced' is for --config.training.objective='edm'"):
        check(tiny_config(tmp_path, **balanced))


def test_the_end_of_a_falling_rate_is_part_of_the_run(tmp_path):
    run, longer = (flatten(tiny_config(tmp_path, **{"training.n_iters": n})) for n in (4, 8))
    assert not differences(longer, run)
    falling = {"optim.schedule": "cosine"}
    assert "training.n_iters: 4 there, 8 here" in differences(longer | falling, run | falling)


@pytest.mark.parametrize(
    "changes",
    [
        {"training.continuous": False},
        {"sampling.predictor": "reverse_diffusion"},
        {"sampling.corrector": "langevin"},
    ],
)
def test_a_chain_needs_more_steps_than_its_largest_rate(changes, tmp_path):
    with pytest.raises(ValueError, match=r"num_scales 20 .* beta 1,.* more than .*20.0"):
        check(tiny_config(tmp_path, **{"model.num_scales": 20} | changes))
    check(tiny_config(tmp_path, **{"model.num_scales": 21} | changes))
