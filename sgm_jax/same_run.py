"""Do two configurations belong to one run? What may change between two starts, and what not."""

from typing import Any

from sgm_jax.config import FREQUENCIES

# What may change between two starts of one run: how long and how closely it is watched.
FREE = (
    *FREQUENCIES,
    "training.n_jitted_steps",
    "training.snapshot_sampling",
    "training.tensorboard",
    "data.train_path",
    "data.test_path",
)
FREE_SECTIONS = ("sampling", "eval", "simulation")
# Fields that were added after runs had been started, with the value that those runs had.
ADDED = {
    "training.weighting": "noise",
    "training.time_sampling": "uniform",
    "training.low_discrepancy": False,
    "training.dtype": "float32",
    "optim.schedule": "constant",
    "model.ema_rates": [],
    "data.transform": "linear",
    "optim.adam_lr": 1e-3,
    "optim.decay_fraction": 0.4,
    "sampling.ode_rtol": 1e-5,
    "sampling.ode_atol": 1e-5,
}


def is_free(name: str) -> bool:
    """Tell whether a field may change without making another network."""
    return name in FREE or name.split(".")[0] in FREE_SECTIONS


def differences(ours: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Return which fields stop two flattened configurations from being one run, as text."""
    stored = added(ours, stored) | stored
    found = []
    for name in sorted(ours.keys() | stored.keys()):
        measured = name == "data.std" and ours.get(name) == -1
        # A falling learning rate depends on where it ends.
        schedule = name == "training.n_iters" and ours.get("optim.schedule") != "constant"
        steps = name == "model.num_scales" and _only_counts_steps(ours)
        free = measured or steps or (is_free(name) and not schedule)
        if not free and ours.get(name) != stored.get(name):
            found.append(f"{name}: {stored.get(name)!r} there, {ours.get(name)!r} here")
    return found


def _only_counts_steps(fields: dict[str, Any]) -> bool:
    """Tell whether the network sees continuous time, and num_scales is the sampler's alone."""
    return bool(fields.get("training.continuous")) and not fields.get("model.scale_by_sigma")


def added(ours: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a stored configuration is too old to have, as they were then."""
    return {name: value for name, value in ADDED.items() if name in ours and name not in stored}
