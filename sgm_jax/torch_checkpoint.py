"""Checkpoints of score_sde_pytorch, as nested arrays, to the state of a run and back.

Such a checkpoint holds ``model`` (named tensors), ``ema`` (its shadow parameters: a list without
names, trainable ones only), ``optimizer`` (Adam's moments by number) and ``step``.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from sgm_jax.convert import from_torch, to_torch, torch_names
from sgm_jax.log import LOGGER
from sgm_jax.models.from_config import ncsnpp_from_config
from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.objective import optimizer
from sgm_jax.step import TrainState

PARTS = ("optimizer", "model", "ema", "step")
PREFIX = "module."
_MOMENTS = {"mu": "exp_avg", "nu": "exp_avg_sq"}


def check_convertible(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration whose networks score_sde does not have.

    Raises:
        ValueError: with the field and the value that it must have.
    """
    for section, name, value in (
        ("training", "objective", "noise"),
        ("model", "space_to_depth", 1),
    ):
        given = config[section][name]
        if given != value:
            raise ValueError(
                f"config.{section}.{name} is {given!r}, which score_sde does not know; its "
                f"checkpoints go with {value!r} only"
            )


def state_from_checkpoint(content: Any, config: ml_collections.ConfigDict) -> TrainState:
    """Return the state of a run from the content of a checkpoint.

    Args:
        content: arrays in place of tensors.
        config: that the network was trained with; :func:`check_convertible` accepts it.

    Raises:
        ValueError: if parts are missing, tensors do not fit (all are listed), or the checkpoint
            was made with other settings.
    """
    if not isinstance(content, Mapping) or not set(PARTS) <= set(content):
        there = sorted(map(str, content)) if isinstance(content, Mapping) else type(content)
        raise ValueError(f"no checkpoint of score_sde: it holds {there}, not {', '.join(PARTS)}")
    if config.model.ema_rates:
        raise ValueError(
            f"it holds one average, and config.model.ema_rates is {config.model.ema_rates}; set it "
            "to ()"
        )
    net = ncsnpp_from_config(config)
    params = from_torch(content["model"], net)
    _check_settings(content, config)
    names, shadow = torch_names(net), content["ema"]["shadow_params"]
    if len(shadow) != len(names):
        raise ValueError(
            f"the average holds {len(shadow)} tensors, and the network learns {len(names)}"
        )
    frozen = _frozen(content["model"], net)
    ema_params = from_torch(frozen | dict(zip(names, shadow, strict=True)), net)
    moments, updates = _moments(content, net)
    step = int(content["step"])
    counts = {"step": step, "optimizer": updates, "ema": int(content["ema"]["num_updates"])}
    if len(set(counts.values())) > 1:
        LOGGER.warning("the updates of its parts differ, %s: taken as %d", counts, step)
    opt_state = optax.tree_utils.tree_set(
        optimizer(config).init(params), count=jnp.int32(step), **moments
    )
    return TrainState(jnp.int32(step), params, ema_params, opt_state)


def checkpoint_from_state(state: TrainState, config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the content of a checkpoint that score_sde_pytorch restores, with numpy arrays.

    Of several averages that of ``model.ema_rate`` is taken. Layers that an unconditional network of
    the original has and never uses become zeros.
    """
    net = ncsnpp_from_config(config)
    step, optim = int(state.step), config.optim
    frozen, unused = _frozen(to_torch(state.params), net), _unused(state.params, net)
    named = {
        name: {**to_torch(tree), **unused}
        for name, tree in (("params", state.params), ("ema", state.ema_params))
    }
    moments = {
        theirs: to_torch(optax.tree_utils.tree_get(state.opt_state, ours))
        for ours, theirs in _MOMENTS.items()
    }
    learnt, every = torch_names(net), torch_names(net, frozen=True)
    model = {"sigmas": _sigmas(config)} | {name: named["params"][name] for name in every}
    used = [i for i, name in enumerate(every) if name not in {**frozen, **unused}]
    adam = {
        i: {"step": np.asarray(step, np.float32)}
        | {name: tensors[every[i]] for name, tensors in moments.items()}
        for i in (used if step else [])
    }
    # What the last update was made with.
    risen = min(max(step - 1, 0) / optim.warmup, 1.0) if optim.warmup > 0 else 1.0
    group = {
        "lr": optim.lr * risen,
        "betas": (optim.beta1, optim.beta2),
        "eps": optim.eps,
        "weight_decay": optim.weight_decay,
        "amsgrad": False,
        "params": list(range(len(every))),
    }
    return {
        "optimizer": {"state": adam, "param_groups": [group]},
        "model": OrderedDict((PREFIX + name, tensor) for name, tensor in model.items()),
        "ema": {
            "decay": config.model.ema_rate,
            "num_updates": step,
            "shadow_params": [named["ema"][name] for name in learnt],
        },
        "step": step,
    }


def _check_settings(content: Mapping, config: ml_collections.ConfigDict) -> None:
    """Refuse settings, stored with the weights, that are not those of the configuration."""
    group, optim = content["optimizer"]["param_groups"][0], config.optim
    sigmas = np.asarray(_unprefixed(content["model"]).get("sigmas", _sigmas(config)))
    pairs = {
        "model.ema_rate": (content["ema"]["decay"], config.model.ema_rate),
        "optim.beta1": (group["betas"][0], optim.beta1),
        "optim.beta2": (group["betas"][1], optim.beta2),
        "optim.eps": (group["eps"], optim.eps),
        "optim.weight_decay": (group["weight_decay"], optim.weight_decay),
        "model.num_scales": (sigmas.size, config.model.num_scales),
        "model.sigma_max": (sigmas[0].round(6), config.model.sigma_max),
        "model.sigma_min": (sigmas[-1].round(6), config.model.sigma_min),
    }
    other = [
        f"--config.{name}={theirs:g} (here {ours:g})"
        for name, (theirs, ours) in pairs.items()
        if not np.isclose(float(theirs), float(ours), rtol=1e-6, atol=0)
    ]
    if other:
        raise ValueError(f"the checkpoint was made with {', '.join(other)}")


def _moments(content: Mapping, net: NCSNpp) -> tuple[dict[str, dict], int]:
    """Return Adam's two moments as parameter trees, and its number of updates."""
    names = torch_names(net, frozen=True)
    numbers = content["optimizer"]["param_groups"][0]["params"]
    states = content["optimizer"]["state"]
    if len(numbers) != len(names):
        raise ValueError(
            f"the optimiser moves {len(numbers)} tensors, and the network has {len(names)}"
        )
    model = _unprefixed(content["model"])
    # Nothing is stored of tensors that never had a gradient.
    of_name = dict(zip(names, (states.get(number) for number in numbers), strict=True))
    moments = {
        ours: from_torch(
            {
                name: np.zeros_like(model[name]) if adam is None else adam[theirs]
                for name, adam in of_name.items()
            },
            net,
        )
        for ours, theirs in _MOMENTS.items()
    }
    counts = {int(adam["step"]) for adam in of_name.values() if adam is not None} or {0}
    if len(counts) > 1:
        raise ValueError(f"the optimiser's tensors had different numbers of updates: {counts}")
    return moments, counts.pop()


def _unprefixed(model: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(PREFIX): tensor for name, tensor in model.items()}


def _frozen(model: Mapping[str, np.ndarray], net: NCSNpp) -> dict[str, np.ndarray]:
    """Return the tensors that are never trained: the frequencies of a Fourier embedding."""
    names = set(torch_names(net, frozen=True)) - set(torch_names(net))
    return {name: tensor for name, tensor in _unprefixed(model).items() if name in names}


def _unused(params: Mapping, net: NCSNpp) -> dict[str, np.ndarray]:
    """Return zeros for the tensors that only the original has: they embed no time."""
    tensors = to_torch(params)
    found = {}
    for name in set(torch_names(net)) - set(tensors):
        features = len(tensors[name.rsplit(".", 2)[0] + ".Conv_0.bias"])
        shape = (features, 4 * net.nf) if name.endswith("weight") else (features,)
        found[name] = np.zeros(shape, np.float32)
    return found


def _sigmas(config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the noise levels, largest first, which the original keeps with its weights."""
    model = config.model
    ends = np.log(model.sigma_max), np.log(model.sigma_min)
    return np.exp(np.linspace(*ends, model.num_scales))
