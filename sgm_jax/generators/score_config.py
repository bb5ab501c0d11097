"""From a configuration to the parts of the score family, or a refusal at the door.

Field names are those of the original.
"""

import math
from typing import Any

import jax.numpy as jnp
import ml_collections

from sgm_jax.config import Rules, flatten
from sgm_jax.losses import TIMES, WEIGHTS
from sgm_jax.models.ncsnpp import OPTIONS, NCSNpp, resolutions
from sgm_jax.samplers.base import Sampler
from sgm_jax.samplers.correctors import CORRECTORS
from sgm_jax.samplers.grids import GRIDS
from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.samplers.predictors import PREDICTORS, check_predictor
from sgm_jax.samplers.solvers import SOLVERS, NoiseLevelSampler
from sgm_jax.sde import SDE, SDES, VESDE, sde_from_config

# Added noise over removed noise, above which grain shows: 2.7 does (250 steps), 1.7 does not (500).
GRAIN = 2.0
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Those of sgm_jax.samplers.density, which takes half a second to import.
PROBES = ("rademacher", "gaussian")

RULES = Rules(
    choices={
        "training.sde": tuple(SDES),
        "training.continuous": (True, False),
        "training.objective": ("noise", "velocity", "edm"),
        "training.weighting": (*WEIGHTS, "balanced"),
        "training.time_sampling": tuple(TIMES),
        "training.low_discrepancy": (True, False),
        "training.dtype": tuple(DTYPES),
        "sampling.method": ("pc", *SOLVERS, "ode"),
        "sampling.grid": tuple(GRIDS),
        "sampling.predictor": tuple(PREDICTORS),
        "sampling.corrector": ("none", *CORRECTORS),
        "eval.probe": PROBES,
    },
    at_least_one=(
        "sampling.num_steps",
        "sampling.n_steps_each",
        "sampling.ode_batch",
        "eval.num_probes",
        "model.num_scales",
    ),
    positive=(
        "training.p_std",
        "sampling.sigma_min",
        "sampling.rho",
        "sampling.gain",
        "sampling.snr",
        "sampling.ode_rtol",
        "sampling.ode_atol",
        "model.beta_min",
    ),
    fractions=("model.dropout",),
    lists=(
        "model.ch_mult",
        "model.attn_resolutions",
        "model.fir_kernel",
        "sampling.guidance_interval",
        "sampling.gain_interval",
    ),
    shares=("sampling.eta",),
    ascending=(
        ("model.beta_min", "model.beta_max"),
        ("model.sigma_min", "model.sigma_max"),
        ("sampling.sigma_min", "sampling.sigma_max"),
    ),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration of the score family with values that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    RULES.check(fields)
    _check_objective(fields)
    _check_times(fields)
    _check_guidance(fields)
    _check_gain(fields)
    check_predictor(
        PREDICTORS[fields["sampling.predictor"]],
        SDES[fields["training.sde"]],
        probability_flow=fields["sampling.probability_flow"],
    )
    _check_grid(fields)
    ncsnpp_from_config(config)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse attention on levels that the network does not have, where a run begins.

    Runs that began before this was asked go on as they are.

    Raises:
        ValueError: with the levels that there are, and the fix.
    """
    net = ncsnpp_from_config(config)
    levels = resolutions(net)
    idle = [side for side in net.attn_resolutions if side not in levels]
    if not idle:
        return
    near = {min(levels, key=lambda level: abs(math.log(level / max(side, 1)))) for side in idle}
    fit = sorted({*near, *net.attn_resolutions} - set(idle), reverse=True)
    folded = f" and model.space_to_depth={net.space_to_depth}" if net.space_to_depth > 1 else ""
    raise ValueError(
        f"--config.model.attn_resolutions={tuple(net.attn_resolutions)}: no level of the network "
        f"is {' or '.join(map(str, idle))} pixels wide. With --config.data.image_size="
        f"{net.image_size}{folded} its levels are {', '.join(map(str, levels))} wide; "
        f'set --config.model.attn_resolutions="{tuple(fit)}", or "()" for none but the middle\'s'
    )


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that may change between two starts of a run, beside the general ones.

    A network that sees continuous time does not know how many steps a sampler makes.
    """
    continuous = config.training.continuous and not config.model.scale_by_sigma
    return ("model.num_scales",) if continuous else ()


def doubts(config: ml_collections.ConfigDict) -> list[str]:
    """Return what is known to give bad images, each with the fix as it is typed."""
    method, steps = config.sampling.method, config.sampling.num_steps
    if method == "pc":
        return _grain(config)
    if method == "dpm_solver" and config.sampling.grid == "time":
        return [
            "--config.sampling.method=dpm_solver on the grid 'time' is worse than 'ddim' with any "
            "number of steps (docs/samplers/README.md): take --config.sampling.grid=edm"
        ]
    if method == "heun" and steps < 5:
        return [
            f"--config.sampling.num_steps={steps} is too few for 'heun' and leaves noise: take 10, "
            "or --config.sampling.method=dpm_solver"
        ]
    return []


def _grain(config: ml_collections.ConfigDict) -> list[str]:
    """Tell whether predictor-corrector steps end with more noise than the network takes away.

    Before the last time the predictor adds noise for a whole step, and there the network sees and
    removes that of the last time only.
    """
    sde = sde_from_config(config)
    sampler = sampler_from_config(config, sde)
    step = (1 - sampler.eps) / max(sampler.num_steps - 1, 1)
    before = jnp.full(1, sampler.eps + step)
    added = float(sde.sde(jnp.zeros((1, 1, 1, 1)), before)[1][0]) * step**0.5
    removed = float(sde.std(jnp.full(1, sampler.eps))[0])
    if added <= GRAIN * removed or config.sampling.probability_flow:
        return []
    return [
        f"--config.sampling.method=pc with --config.model.num_scales={sampler.num_steps} leaves "
        f"grain on images: its last steps add noise of {added:.2g}, and the network removes "
        f"{removed:.2g}. Take --config.model.num_scales=1000, or "
        "--config.sampling.method=dpm_solver --config.sampling.num_steps=20"
    ]


def _check_objective(fields: dict[str, Any]) -> None:
    if not fields["training.continuous"]:
        _check_chain(fields)
    _check_weighting(fields)
    if fields["training.objective"] != "edm":
        return
    if fields["data.centered"]:
        raise ValueError(
            "--config.training.objective 'edm' needs a background of exactly 0, which "
            "--config.data.centered=True puts at -1; set --config.data.centered=False"
        )
    if fields["model.scale_by_sigma"]:
        raise ValueError(
            "--config.training.objective 'edm' scales the network's output itself; "
            "set --config.model.scale_by_sigma=False"
        )


def _check_weighting(fields: dict[str, Any]) -> None:
    weighting, edm = fields["training.weighting"], fields["training.objective"] == "edm"
    if weighting == "balanced":
        if not edm:
            raise ValueError(
                "--config.training.weighting 'balanced' is for --config.training.objective='edm'; "
                "set it to 'noise'"
            )
        return
    weightable = fields["training.continuous"] and not edm
    if weighting != "noise" and (not weightable or fields["training.likelihood_weighting"]):
        raise ValueError(
            f"--config.training.weighting={weighting} is for the continuous objectives 'noise' and "
            "'velocity' without likelihood_weighting; set it to 'noise'"
        )


def _check_chain(fields: dict[str, Any]) -> None:
    """DDPM and SMLD are chains of the VP and the VE SDE, with one weight."""
    for name, bad, fix in (
        ("training.objective", "edm", "'noise'"),
        ("training.objective", "velocity", "'noise'"),
        ("training.sde", "subvpsde", "'vpsde' or 'vesde'"),
        ("training.likelihood_weighting", True, "False"),
        ("training.time_sampling", "importance", "'uniform'"),
        ("training.low_discrepancy", True, "False"),
    ):
        if fields[name] == bad:
            raise ValueError(
                f"--config.training.continuous=False does not go with --config.{name}={bad!r}; "
                f"set that to {fix}"
            )


def _check_times(fields: dict[str, Any]) -> None:
    if fields["training.objective"] == "edm" and fields["training.time_sampling"] != "uniform":
        raise ValueError(
            f"--config.training.time_sampling {fields['training.time_sampling']!r} does not go "
            "with --config.training.objective=edm, whose noise levels p_mean and p_std set; set it "
            "to 'uniform'"
        )


def _check_guidance(fields: dict[str, Any]) -> None:
    interval = fields["sampling.guidance_interval"]
    for name, meaning in (
        ("guidance", "more follows the condition more strictly, 0 ignores it"),
        ("autoguidance", "more leads away from what the network of sampling.weaker draws"),
    ):
        weight = fields[f"sampling.{name}"]
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight < math.inf:
            raise ValueError(
                f"--config.sampling.{name} is {weight!r}; it must be a number: 1 draws what was "
                f"learnt, {meaning}"
            )
    if interval:
        _check_interval("guidance_interval", interval, ', or "()" for all of them')


def _check_gain(fields: dict[str, Any]) -> None:
    _check_interval("gain_interval", fields["sampling.gain_interval"], "")
    if fields["sampling.gain"] != 1 and fields["data.centered"]:
        raise ValueError(
            f"--config.sampling.gain={fields['sampling.gain']:g} makes lit pixels brighter where "
            "dark ones are 0, and with --config.data.centered=True they are -1; set it to 1"
        )


def _check_interval(name: str, interval: tuple[float, ...], otherwise: str) -> None:
    if len(interval) != 2 or not 0 <= interval[0] < interval[1]:
        raise ValueError(
            f"--config.sampling.{name} is {tuple(interval)}; give the lowest and the highest noise "
            f'level, such as "(0.1, 5.0)"{otherwise}'
        )


def _check_grid(fields: dict[str, Any]) -> None:
    """DDPM's steps keep the share 1 - beta of the variance, with beta up to beta_max / N."""
    stepwise = (
        not fields["training.continuous"]
        or fields["sampling.predictor"] in ("reverse_diffusion", "ancestral_sampling")
        or fields["sampling.corrector"] != "none"
    )
    steps, beta_max = fields["model.num_scales"], fields["model.beta_max"]
    if stepwise and fields["training.sde"] != "vesde" and steps <= beta_max:
        raise ValueError(
            f"--config.model.num_scales {steps} makes steps of beta {beta_max / steps:.3g}, which "
            f"must be below 1; take more than --config.model.beta_max, {beta_max}"
        )


def sampler_from_config(config: ml_collections.ConfigDict, sde: SDE) -> Sampler:
    """Return the sampler that ``config.sampling`` names."""
    sampling = config.sampling
    if sampling.method == "ode":
        # Its solver takes half a second to import, which the other methods do without.
        from sgm_jax.samplers.ode import ProbabilityFlow

        return ProbabilityFlow(
            sde,
            rtol=sampling.ode_rtol,
            atol=sampling.ode_atol,
            noise_removal=sampling.noise_removal,
        )
    if sampling.method != "pc":
        return NoiseLevelSampler(
            sde,
            sampling.num_steps,
            solver=SOLVERS[sampling.method],
            grid=GRIDS[sampling.grid],
            eta=sampling.eta,
            sigma_min=sampling.sigma_min,
            sigma_max=sampling.sigma_max,
            rho=sampling.rho,
        )
    return PredictorCorrector(
        sde,
        config.model.num_scales,
        predictor=PREDICTORS[sampling.predictor],
        corrector=CORRECTORS.get(sampling.corrector),
        corrector_steps=sampling.n_steps_each,
        snr=sampling.snr,
        # The original's last times: below them the scores of VP and sub-VP diverge.
        eps=1e-5 if isinstance(sde, VESDE) else 1e-3,
        noise_removal=sampling.noise_removal,
        probability_flow=sampling.probability_flow,
    )


def ncsnpp_from_config(config: ml_collections.ConfigDict) -> NCSNpp:
    """Build the network that ``config.model``, ``data`` and ``training.dtype`` describe.

    Raises:
        ValueError: if an option is unknown, the sizes do not fit or the channels do not divide into
            groups, naming the fix; nothing is compiled.
    """
    model, data = config.model, config.data
    dtype = config.get("training", {}).get("dtype", "float32")
    if dtype not in DTYPES:
        raise ValueError(
            f"--config.training.dtype={dtype!r} is unknown; known: {', '.join(DTYPES)}"
        )
    return NCSNpp(
        image_size=data.image_size,
        num_channels=data.num_channels,
        centered=data.centered,
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        attn_resolutions=tuple(model.attn_resolutions),
        dropout=model.dropout,
        fir=model.fir,
        fir_kernel=tuple(model.fir_kernel),
        resamp_with_conv=model.resamp_with_conv,
        skip_rescale=model.skip_rescale,
        fourier_scale=model.fourier_scale,
        conditional=model.conditional,
        init_scale=model.init_scale,
        scale_by_sigma=model.scale_by_sigma,
        sigma_min=model.sigma_min,
        sigma_max=model.sigma_max,
        num_scales=model.num_scales,
        space_to_depth=model.get("space_to_depth", 1),
        overview=model.get("overview", 0),
        condition=tuple(model.get("condition", ())),
        num_particles=len(data.get("particles", ())),
        momentum_scale=model.get("momentum_scale", 1.0),
        momentum_map=model.get("momentum_map", False),
        dtype=DTYPES[dtype],
        **{field: getattr(model, field).lower() for field in OPTIONS},
    )
