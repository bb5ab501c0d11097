"""Checkpoints of score_sde_pytorch, as nested arrays, to the state of a run and back.

Such a checkpoint holds ``model`` (named tensors), ``ema`` (its shadow parameters: a list without
names, trainable ones only), ``optimizer`` (Adam's moments by number) and ``step``. Files that were
stripped of all but the weights are read, too.
"""

import functools
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from sgm_jax.generators.score_config import ncsnpp_from_config
from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.run.log import LOGGER
from sgm_jax.run.workdir import flatten
from sgm_jax.step import TrainState, optimizer_from_config

PREFIX = "module."
# What data-parallel training and torch.compile put before the names of tensors, or between them.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod)\.")
# Fields of which score_sde has one value only.
CONVERTIBLE = {
    "generator": "score",
    "training.objective": "noise",
    "model.space_to_depth": 1,
    "model.overview": 0,
    "model.condition": [],
    "model.momentum_map": False,
    "data.transform": "linear",
    "data.saturation": 0.0,
    "optim.optimizer": "Adam",
}
_MOMENTS = {"mu": "exp_avg", "nu": "exp_avg_sq"}
# Layers of a block in the order in which PyTorch registers them.
_ORDER = ("GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", "Conv_2", "Conv2d_0")
_ORDER += ("NIN_0", "NIN_1", "NIN_2", "NIN_3")
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "W": "W"}


def check_convertible(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration of what score_sde does not have.

    Raises:
        ValueError: with the field and the value that it must have.
    """
    fields = flatten(config)
    for name, value in CONVERTIBLE.items():
        if fields[name] != value:
            raise ValueError(
                f"--config.{name} is {fields[name]!r}, which score_sde does not have; its "
                f"checkpoints need --config.{name}={value}"
            )


def state_from_checkpoint(content: Any, config: ml_collections.ConfigDict) -> TrainState:
    """Return the state of a run from the content of a checkpoint.

    Of a file without an average, the weights themselves are drawn with; without an optimiser, a
    training that goes on begins with fresh moments. Both are said.

    Args:
        content: arrays in place of tensors; or the tensors of ``model`` alone.
        config: that the network was trained with; :func:`check_convertible` accepts it.

    Raises:
        ValueError: if there are no weights, tensors do not fit or are not finite (all are listed),
            or the checkpoint was made with other settings.
    """
    content = _parts(content)
    if config.model.ema_rates:
        raise ValueError(
            f"it holds one average, and --config.model.ema_rates is {config.model.ema_rates}; set "
            "it to ()"
        )
    net = ncsnpp_from_config(config)
    params = from_torch(content["model"], net)
    _check_settings(content, config)
    counts, moments, ema_params = {}, {}, params
    if "step" in content:
        counts["step"] = int(content["step"])
    if "optimizer" in content:
        moments, counts["optimizer"] = _moments(content, net)
    else:
        LOGGER.warning("it has no optimiser: a training that goes on begins with fresh moments")
    if "ema" in content:
        ema_params = _average(content, net)
        counts["ema"] = int(content["ema"]["num_updates"])
    else:
        LOGGER.warning("it has no average: images are drawn with the weights themselves")
    step = next(iter(counts.values()), 0)
    if len(set(counts.values())) > 1:
        LOGGER.warning("its parts have different numbers of updates, %s: using %d", counts, step)
    opt_state = optax.tree_utils.tree_set(
        optimizer_from_config(config).init(params), count=jnp.int32(step), **moments
    )
    return TrainState(jnp.int32(step), params, ema_params, opt_state)


def _parts(content: Any) -> Mapping[str, Any]:
    """Return the parts of a checkpoint, of which the model alone must be there."""
    if isinstance(content, Mapping):
        if "model" in content:
            return content
        if content and all(isinstance(value, np.ndarray) for value in content.values()):
            return {"model": content}
    holds = sorted(map(str, content)) if isinstance(content, Mapping) else type(content)
    raise ValueError(
        f"no checkpoint of score_sde: it holds {holds}, not model (and optimizer, ema, step), nor "
        "the tensors of a model alone"
    )


def _average(content: Mapping, net: NCSNpp) -> dict:
    """Return the averaged parameters of a checkpoint."""
    names, shadow = torch_names(net), content["ema"]["shadow_params"]
    if len(shadow) != len(names):
        raise ValueError(
            f"the average holds {len(shadow)} tensors, and the network learns {len(names)}"
        )
    tensors = _frozen(content["model"], net) | dict(zip(names, shadow, strict=True))
    return from_torch(tensors, net, part="the average")


def checkpoint_from_state(state: TrainState, config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the content of a checkpoint that score_sde_pytorch restores, with numpy arrays.

    Of several averages, the one of ``model.ema_rate`` is written. Layers that the original has in
    an unconditional network, but never uses, become zeros.
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
    """Refuse weights that were stored with settings other than those of the configuration."""
    optim, pairs = config.optim, {}
    sigmas = np.asarray(_unprefixed(content["model"]).get("sigmas", _sigmas(config)), np.float64)
    # Settings of a part that the file does not have are those of the configuration.
    if "ema" in content:
        pairs["model.ema_rate"] = content["ema"]["decay"], config.model.ema_rate
    if "optimizer" in content:
        group = content["optimizer"]["param_groups"][0]
        pairs |= {
            "optim.beta1": (group["betas"][0], optim.beta1),
            "optim.beta2": (group["betas"][1], optim.beta2),
            "optim.eps": (group["eps"], optim.eps),
            "optim.weight_decay": (group["weight_decay"], optim.weight_decay),
        }
    pairs |= {
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
    # Nothing is stored for tensors that never had a gradient.
    of_name = dict(zip(names, (states.get(number) for number in numbers), strict=True))
    moments = {
        ours: from_torch(
            {
                name: np.zeros_like(model[name]) if adam is None else adam[theirs]
                for name, adam in of_name.items()
            },
            net,
            part=f"the optimiser's {theirs}",
        )
        for ours, theirs in _MOMENTS.items()
    }
    counts = {int(adam["step"]) for adam in of_name.values() if adam is not None} or {0}
    if len(counts) > 1:
        raise ValueError(f"the optimiser's tensors had different numbers of updates: {counts}")
    return moments, counts.pop()


def _unprefixed(model: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors under the names that the network itself gives them."""
    return {_WRAPPERS.sub("", name): tensor for name, tensor in model.items()}


def _frozen(model: Mapping[str, np.ndarray], net: NCSNpp) -> dict[str, np.ndarray]:
    """Return the tensors that are never trained: the frequencies of a Fourier embedding."""
    names = set(torch_names(net, frozen=True)) - set(torch_names(net))
    return {name: tensor for name, tensor in _unprefixed(model).items() if name in names}


def _unused(params: Mapping, net: NCSNpp) -> dict[str, np.ndarray]:
    """Return zeros for the tensors that only the original has: they embed no time."""
    tensors = to_torch(params)
    zeros = {}
    for name in set(torch_names(net)) - set(tensors):
        features = len(tensors[name.rsplit(".", 2)[0] + ".Conv_0.bias"])
        shape = (features, 4 * net.nf) if name.endswith("weight") else (features,)
        zeros[name] = np.zeros(shape, np.float32)
    return zeros


def _sigmas(config: ml_collections.ConfigDict) -> np.ndarray:
    """Return the noise levels, largest first, which the original keeps with its weights."""
    model = config.model
    ends = np.log(model.sigma_max), np.log(model.sigma_min)
    return np.exp(np.linspace(*ends, model.num_scales))


# Tracing a network takes a second, and every function here asks for it.
@functools.lru_cache(maxsize=8)
def _abstract_params(net: NCSNpp) -> dict:
    """Return the parameter tree of the network with shapes in place of arrays."""
    image = jnp.zeros((1, net.image_size, net.image_size, net.num_channels))
    return jax.eval_shape(net.init, jax.random.key(0), image, jnp.ones((1,)))["params"]


def _rank(path: tuple[str, ...]) -> tuple[int, int, bool]:
    """Sort a parameter as PyTorch lists it: by layer, by layer of the block, weight before bias."""
    inner = _ORDER.index(path[1]) if len(path) == 3 else 0
    return int(path[0][:3]), inner, path[-1] == "bias"


def _torch_name(path: tuple[str, ...]) -> str:
    leaf = _LEAVES[path[-1]]
    if path[-2].startswith("NIN"):
        leaf = {"weight": "W", "bias": "b"}[leaf]
    return ".".join(["all_modules", str(int(path[0][:3])), *path[1:-1], leaf])


def _from_layout(path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
    """Turn ``OIHW`` into ``HWIO`` and dense ``[out, in]`` into ``[in, out]``; NIN keeps its own."""
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    if tensor.ndim == 2 and not path[-2].startswith("NIN"):
        return tensor.T
    return tensor


def _to_layout(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return _from_layout(path, array)


def _ordered(tree: Mapping) -> list[tuple[str, ...]]:
    return sorted(flatten_dict(tree), key=_rank)


def torch_names(net: NCSNpp, *, frozen: bool = False) -> list[str]:
    """Return the names of the trainable tensors in the order of PyTorch's ``parameters()``.

    The exponential moving average of a published checkpoint is a list in this order, without names.
    The frozen Fourier frequencies are absent unless asked for. An unconditional network lists the
    time-embedding layers that PyTorch registers in every block, and never uses.
    """
    names = []
    for path in _ordered(_abstract_params(net)):
        if path[-1] == "W" and not frozen:
            continue
        name = _torch_name(path)
        names.append(name)
        if not net.conditional and name.endswith("Conv_0.bias") and path[0].endswith("_block"):
            names += [name.replace("Conv_0.bias", f"Dense_0.{leaf}") for leaf in ("weight", "bias")]
    return names


def to_torch(params: Mapping) -> dict[str, np.ndarray]:
    """Return parameters (or their gradients) under PyTorch's names, layouts and order."""
    leaves = flatten_dict(params)
    return {
        _torch_name(path): _to_layout(path, np.asarray(leaves[path])) for path in _ordered(params)
    }


def from_torch(state: Mapping[str, np.ndarray], net: NCSNpp, *, part: str = "the weights") -> dict:
    """Return the parameters of ``net`` from the tensors of a score_sde state dictionary.

    Args:
        state: arrays named as in ``state_dict()``, with or without the ``module.`` that parallel
            training puts before names, and the ``_orig_mod.`` of ``torch.compile``; the buffer of
            noise levels is not needed and skipped.
        net: the network whose config the weights were trained with.
        part: what the tensors are, for messages.

    Raises:
        ValueError: naming every tensor that is missing, unexpected, of another shape, or that
            holds numbers that are not finite.
    """
    tensors = {name: np.asarray(value) for name, value in _unprefixed(state).items()}
    tensors.pop("sigmas", None)
    expected = flatten_dict(_abstract_params(net))
    unused = set(tensors) - {_torch_name(path) for path in expected} - set(torch_names(net))
    problems = [f"unexpected: {name} {tensors[name].shape}" for name in sorted(unused)]
    params = {}
    for path in sorted(expected, key=_rank):
        name, shape = _torch_name(path), expected[path].shape
        if name not in tensors:
            problems.append(f"missing: {name}")
            continue
        array = _from_layout(path, tensors[name])
        if array.shape != shape:
            problems.append(
                f"shape: {name} is {array.shape} in our layout, the network has {shape}"
            )
            continue
        params[path] = jnp.asarray(array, jnp.float32)
    if problems:
        raise ValueError(
            f"{part} do not fit the network; is it the config they were trained with?\n  "
            + "\n  ".join(problems)
        )
    broken = [
        f"{name} ({lost} of {tensors[name].size})"
        for name in map(_torch_name, sorted(expected, key=_rank))
        if (lost := np.count_nonzero(~np.isfinite(tensors[name])))
    ]
    if broken:
        raise ValueError(
            f"{part} hold numbers that are not finite: {', '.join(broken)}; take an earlier "
            "checkpoint"
        )
    return unflatten_dict(params)
