"""The programs of training and sampling, lowered for devices that need not be here."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions
from sgm_jax.drawer import ADVANCE_AXES, device_functions
from sgm_jax.run import parallel

# In a run it is measured on the training images. The program does not depend on it.
_ANY_STD = 0.1


def lower_train(
    config: ml_collections.ConfigDict, devices: Sequence[jax.Device], *, images_per_device: int
) -> jax.stages.Lowered:
    """Lower one update of the network, optimiser and averages."""
    config = known_std(config)
    generator = contract.build(config)
    state = jax.eval_shape(generator.initial_state, _key())
    shape = (len(devices), 1, images_per_device)
    size, channels = config.data.image_size, config.data.num_channels
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, size, size, channels), jnp.float32),
        "index": jax.ShapeDtypeStruct(shape, jnp.int32),
    }
    return parallel.mapped_step(generator.train_step, devices=devices).lower(state, _key(), batch)


def lower_sample(
    config: ml_collections.ConfigDict, devices: Sequence[jax.Device], *, images_per_device: int
) -> jax.stages.Lowered:
    """Lower the loop over a sampler's steps, of which the compiler's analysis counts one."""
    config = known_std(config)
    generator = contract.build(config)
    drawing = generator.drawing(Conditions(generator.image_shape[:2]))
    start, advance, _ = device_functions(drawing, generator.image_shape, seed=config.seed)
    index = jax.ShapeDtypeStruct((len(devices), images_per_device), jnp.int32)
    state = jax.eval_shape(jax.vmap(start), index, {})
    variables = jax.eval_shape(lambda key: generator.initial_state(key).averaged, _key())
    number = jax.ShapeDtypeStruct((), jnp.int32)
    mapped = parallel.batch_function(advance, in_axes=ADVANCE_AXES, devices=devices)
    return mapped.lower(variables, state, index, {}, number, number)


def training_call(config: ml_collections.ConfigDict, count: int) -> Callable[[], None]:
    """Return a call that makes one update, in this process, with ``count`` images of noise."""
    config = known_std(config)
    generator = contract.build(config)
    update = parallel.train_function(generator.train_step)
    state = parallel.replicate(jax.jit(generator.initial_state)(jax.random.key(config.seed)))
    size, channels = config.data.image_size, config.data.num_channels
    images = np.random.default_rng(0).random((1, count, size, size, channels), np.float32)
    batch = {"image": images, "index": np.arange(count, dtype=np.int32)[None]}

    def call() -> None:
        nonlocal state
        state, metrics = update(state, jax.random.key(0), batch)
        jax.block_until_ready((state, metrics))

    return call


LOWER: dict[str, Callable[..., jax.stages.Lowered]] = {"train": lower_train, "sample": lower_sample}


def sampler_steps(config: ml_collections.ConfigDict) -> int:
    """Return the number of steps of an image.

    Raises:
        ValueError: if the number differs between images.
    """
    generator = contract.build(known_std(config))
    drawing = generator.drawing(Conditions(generator.image_shape[:2]))
    if drawing.nfe is None:
        raise ValueError(
            f"--config.sampling.method={config.sampling.method} chooses its steps for each image; "
            "plan with a fixed number of steps, as in --config.sampling.method=pc"
        )
    return drawing.num_steps


def known_std(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Return the configuration with a known spread of pixels, so that no images are needed."""
    config = config.copy_and_resolve_references()
    if config.data.std < 0:
        config.data.std = _ANY_STD
    return config


def _key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))
