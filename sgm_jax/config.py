"""Is a configuration one that can run? Checked before anything is touched.

The configurations themselves are files under ``configs/``; field names are those of the original.
"""

import json
import math
from pathlib import Path
from typing import Any

import ml_collections

from sgm_jax.data.normalise import TRANSFORMS
from sgm_jax.generators.score import DTYPES, ncsnpp_from_config
from sgm_jax.losses import TIMES, WEIGHTS
from sgm_jax.samplers.correctors import CORRECTORS
from sgm_jax.samplers.grids import GRIDS
from sgm_jax.samplers.predictors import PREDICTORS, check_predictor
from sgm_jax.samplers.solvers import SOLVERS
from sgm_jax.sde import SDES

# Those of sgm_jax.samplers.density, which takes half a second to import.
PROBES = ("rademacher", "gaussian")
CHOICES: dict[str, tuple] = {
    "training.sde": tuple(SDES),
    "training.continuous": (True, False),
    "training.objective": ("noise", "velocity", "edm"),
    "training.weighting": tuple(WEIGHTS),
    "training.time_sampling": tuple(TIMES),
    "training.low_discrepancy": (True, False),
    "training.dtype": tuple(DTYPES),
    "optim.schedule": ("constant", "cosine", "linear"),
    "sampling.method": ("pc", *SOLVERS, "ode"),
    "sampling.grid": tuple(GRIDS),
    "sampling.predictor": tuple(PREDICTORS),
    "sampling.corrector": ("none", *CORRECTORS),
    "data.num_channels": (1, 3),
    "data.transform": tuple(TRANSFORMS),
    "data.scaling": ("none", "per_image"),
    "data.uniform_dequantization": (False,),
    "eval.probe": PROBES,
    "optim.optimizer": ("Adam", "Muon"),
}
FREQUENCIES = (
    "training.n_iters",
    "training.log_freq",
    "training.eval_freq",
    "training.snapshot_freq",
    "training.snapshot_freq_for_preemption",
)
AT_LEAST_ONE = (
    *FREQUENCIES,
    "training.batch_size",
    "training.n_jitted_steps",
    "sampling.num_steps",
    "sampling.n_steps_each",
    "eval.batch_size",
    "eval.num_samples",
    "eval.num_images",
    "eval.num_probes",
    "model.num_scales",
)
POSITIVE = (
    "training.p_std",
    "sampling.sigma_min",
    "sampling.rho",
    "sampling.snr",
    "sampling.ode_rtol",
    "sampling.ode_atol",
    "model.beta_min",
    "optim.lr",
    "optim.adam_lr",
    "optim.eps",
)
FRACTIONS = (
    "optim.decay_fraction",
    "model.dropout",
    "model.ema_rate",
    "optim.beta1",
    "optim.beta2",
)
ASCENDING = (
    ("model.beta_min", "model.beta_max"),
    ("model.sigma_min", "model.sigma_max"),
    ("sampling.sigma_min", "sampling.sigma_max"),
)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with a value that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    fields = flatten(config)
    _check_complete(fields)
    for name, choices in CHOICES.items():
        if fields[name] not in choices:
            known = ", ".join(map(repr, choices))
            raise ValueError(f"config.{name} is {fields[name]!r}; it can be: {known}")
    for name in AT_LEAST_ONE:
        _require(fields[name] >= 1, name, fields, "must be at least 1")
    for name in POSITIVE:
        _require(0 < fields[name] < math.inf, name, fields, "must be above 0")
    for name in FRACTIONS:
        _require(0 <= fields[name] < 1, name, fields, "must lie in [0, 1)")
    for low, high in ASCENDING:
        _require(
            fields[low] < fields[high], low, fields, f"must be below config.{high}, {fields[high]}"
        )
    _require(0 <= fields["sampling.eta"] <= 1, "sampling.eta", fields, "must lie in [0, 1]")
    _require(fields["seed"] >= 0, "seed", fields, "must not be negative")
    _check_averages(fields)
    _check_objective(fields)
    _check_times(fields)
    _check_steps(fields)
    check_predictor(
        PREDICTORS[fields["sampling.predictor"]],
        SDES[fields["training.sde"]],
        probability_flow=fields["sampling.probability_flow"],
    )
    _check_grid(fields)
    ncsnpp_from_config(config)


def _require(holds: bool, name: str, fields: dict[str, Any], what: str) -> None:
    if not holds:
        raise ValueError(f"config.{name} is {fields[name]!r}; it {what}")


def _check_complete(fields: dict[str, Any]) -> None:
    """A configuration built from nothing may lack what later versions ask for."""
    needed = (*CHOICES, *AT_LEAST_ONE, *POSITIVE, *FRACTIONS, "model.ema_rates", "sampling.eta")
    missing = [name for name in needed if name not in fields]
    if missing:
        raise ValueError(
            f"the configuration has no config.{', config.'.join(missing)}; start from "
            "configs/larcv_png64.py, which has every field"
        )


def _check_averages(fields: dict[str, Any]) -> None:
    main, others = fields["model.ema_rate"], fields["model.ema_rates"]
    if len({main, *others}) <= len(others) or not all(0 <= rate < 1 for rate in others):
        raise ValueError(
            f"config.model.ema_rates is {tuple(others)}; these averages are kept beside that of "
            f"config.model.ema_rate {main}: they must lie in [0, 1), and all be different"
        )


def _check_objective(fields: dict[str, Any]) -> None:
    if not fields["training.continuous"]:
        _check_chain(fields)
    weighting = fields["training.weighting"]
    weightable = fields["training.continuous"] and fields["training.objective"] != "edm"
    if weighting != "noise" and (not weightable or fields["training.likelihood_weighting"]):
        raise ValueError(
            f"config.training.weighting {weighting!r} is for the continuous objectives 'noise' and "
            "'velocity' without likelihood_weighting; set it to 'noise'"
        )
    if fields["training.objective"] != "edm":
        return
    if fields["data.centered"]:
        raise ValueError(
            "config.training.objective 'edm' needs a background of exactly 0, which "
            "config.data.centered=True puts at -1; set config.data.centered=False"
        )
    if fields["model.scale_by_sigma"]:
        raise ValueError(
            "config.training.objective 'edm' scales the network's output itself; "
            "set config.model.scale_by_sigma=False"
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
                f"config.training.continuous=False does not go with config.{name}={bad!r}; "
                f"set that to {fix}"
            )


def _check_times(fields: dict[str, Any]) -> None:
    if fields["training.objective"] == "edm" and fields["training.time_sampling"] != "uniform":
        raise ValueError(
            f"config.training.time_sampling {fields['training.time_sampling']!r} does not go with "
            "the objective 'edm', whose noise levels config.training.p_mean and p_std set; set it "
            "to 'uniform'"
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
            f"config.model.num_scales {steps} makes steps of beta {beta_max / steps:.3g}, which "
            f"must be below 1; take more than config.model.beta_max, {beta_max}"
        )


def _check_steps(fields: dict[str, Any]) -> None:
    """Several steps in one dispatch must end where something is to happen."""
    steps = fields["training.n_jitted_steps"]
    for name in FREQUENCIES:
        value = fields[name]
        if value % steps:
            raise ValueError(
                f"config.{name} {value} is not a multiple of "
                f"config.training.n_jitted_steps {steps}; try {max(value // steps, 1) * steps}"
            )


def simulated_folder(config: ml_collections.ConfigDict) -> Path:
    """Return the folder whose ``train`` and ``test`` parts the configuration trains on.

    Raises:
        ValueError: if the two paths do not look like what the simulation writes.
    """
    train, test = Path(config.data.train_path), Path(config.data.test_path)
    folder = train.parent.parent
    if (train.parent.name, test.parent.name) != ("train", "test") or folder != test.parent.parent:
        raise ValueError(
            f"config.data.train_path {train} and test_path {test} are not parts of one simulated "
            "set; say where to with --workdir"
        )
    return folder


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the fields as ``{"section.field": value}``, tuples as lists, as JSON would."""
    nested = json.loads(json.dumps(config.to_dict()))
    flat = {}
    for section, value in nested.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{name}": item for name, item in value.items()}
        else:
            flat[section] = value
    return flat
