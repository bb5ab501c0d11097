"""Autoregressive generators small enough for a test."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import sarm64
from sgm_jax.config import check
from sgm_jax.generators.autoregressive import build

SMALL = {
    "training.batch_size": 8,
    "training.n_iters": 4,
    "training.log_freq": 1,
    "training.eval_freq": 2,
    "training.snapshot_freq": 2,
    "training.snapshot_freq_for_preemption": 1,
    "training.snapshot_sampling": False,
    "data.image_size": 6,
    "data.random_flip": False,
    "optim.warmup": 0,
    "model.channels": 8,
    "model.width": 4,
    "model.first_kernel": 5,
    "model.dilations": (1, 2),
    "model.heads": 2,
    "model.hidden": 40,
    "model.layers": 1,
    "model.inner": 3,
    "model.asked_features": 4,
    "model.window": 2,
    "model.block": 2,
    "model.components": 2,
    "sampling.at_once": 4,
    "eval.batch_size": 8,
    "eval.num_images": 8,
    "eval.num_samples": 8,
}
# Two pixels high and wide, with the levels 0 to 3: 256 images.
FOUR_LEVELS = {"data.image_size": 2, "model.threshold": 0, "model.last_level": 3}
FOUR_LEVELS |= {"model.window": 1, "model.dilations": (1,), "model.first_kernel": 3}


def sarm_config(folder=None, **overrides):
    """Return a checked configuration, of images in a folder if one is given."""
    config = sarm64.get_config()
    fields = SMALL | overrides
    if folder is not None:
        fields |= {f"data.{name}_path": str(folder / f"{name}.npy") for name in ("train", "test")}
    config.update_from_flattened_dict(fields)
    check(config)
    return config


def random_parameters(init, *arguments):
    """Return parameters of the shapes that ``init(key, ...)`` gives, all random, also biases."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(init, jax.random.key(0), *arguments)

    def leaf(shape):
        sizes = 0.7 / max(shape.shape[0], 1) ** 0.5 if len(shape.shape) == 2 else 0.4
        return jnp.asarray(rng.normal(0, sizes, shape.shape), jnp.float32)

    return jax.tree.map(leaf, shapes)


def random_generator(**overrides):
    """Return a generator and random parameters of it, with gates that are often open."""
    generator = build(sarm_config(**overrides))
    params = random_parameters(lambda key: generator.initial_state(key).params)

    def opened(place, leaf):
        # The first feature of a pixel is its gate, and that of a block that it is empty.
        name = jax.tree_util.keystr(place)
        is_gate = name.endswith(("['last']['bias']", "['bias_shared']"))
        closed = "blocks']['last" in name or overrides.get("model.head") == "ungated"
        return leaf.at[0].add(3.0) if is_gate and not closed else leaf

    return generator, jax.tree_util.tree_map_with_path(opened, params)
